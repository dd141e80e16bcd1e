"""Everything that a person decides about a run of `train` or `retrain`; each field is a flag (see options.py).

Only pydantic is imported here: the command line reads these classes before any command runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from handful.service.artifact.label_names import normal_label
from handful.training.finetune.settings import FineTuneSettings
from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from handful.service.artifact.sources.columns import ColumnNames

DEFAULT_BACKBONE = "timm/resnet34.tv_in1k"

OTHER_HELP = "Photos of no label, as those in a folder other/: answered with unknown; may be given again."

HeadChoice = Literal["same", "auto", "linear", "hidden"]


@dataclass(frozen=True)
class Flag:
    """What the command line adds to a field. Name, type, default, range and help come from the field itself."""

    name: str | None = None  # such as --with; None: made from the field's name
    former_name: str | None = None  # which still works
    metavar: str | None = None
    minimum: int | None = None  # None: the field's own
    help: str | None = None  # None: the field's description
    fields: Mapping[str, Flag] = field(default_factory=dict)  # of nested settings: those that are flags too


class SourceSettings(BaseModel):
    """How a source of photos is read, where it is a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path_column: Annotated[str | None, Flag(metavar="NAME")] = Field(
        None, description="Of a table: the column of paths; default: found by its usual name."
    )
    label_column: Annotated[str | None, Flag(metavar="NAME")] = Field(
        None, description="Of a table: the column of labels; default: found by its usual name."
    )

    @property
    def columns(self) -> ColumnNames:
        from handful.service.artifact.sources.columns import ColumnNames  # with it numpy, when a command runs

        return ColumnNames(self.path_column, self.label_column)


class TrainSettings(SourceSettings):
    """A training run."""

    name: str | None = Field(None, description="The model's name; default: the folder's name.")
    backbone: Annotated[str, Flag(metavar="REF")] = Field(
        DEFAULT_BACKBONE,
        description="ORG/NAME[@REVISION] on the Hugging Face Hub, a local folder, builtin, builtin-resnet, or"
        " auto[:REF,REF]: the best on these photos of those two and others.",
    )
    other: Annotated[tuple[Path, ...], Flag(metavar="FOLDER")] = Field((), description=OTHER_HELP)
    head: Literal["auto", "linear", "hidden"] = Field(
        "auto", description="The kind of head; auto: the one with the better cross-validated answers."
    )
    finetune: Annotated[
        FineTuneSettings | None,
        Flag(
            fields={
                "layer": Flag(
                    "--finetune-from", metavar="LAYER", help="The same, from this layer upward, such as layer4."
                ),
                "epochs": Flag("--finetune-epochs", metavar="N", minimum=1, help="At most so many epochs."),
            }
        ),
    ] = Field(None, description="Then train the whole network too; it is kept where that is better beyond noise.")
    int8: bool = Field(
        default=False,
        description="Compute in 8-bit integers on a CPU; kept where 1 % of the answers change at most.",
    )
    seed: int = Field(0, ge=0, description="Of everything random: the same seed gives the same result.")
    keep_embeddings: bool = Field(
        default=True, description="Keep nothing of single photos in the artifact; retrain needs it."
    )  # the description is that of the flag, --no-keep-embeddings


class RetrainSettings(SourceSettings):
    """A retraining run."""

    model: Annotated[str | None, Flag(metavar="NAME[:VERSION]", former_name="--name")] = Field(
        None, description="The model; default: the only model, if there is just one."
    )
    other: Annotated[tuple[Path, ...], Flag(metavar="FOLDER")] = Field((), description=OTHER_HELP)
    drop: Annotated[tuple[str, ...], Flag(metavar="LABEL")] = Field(
        (), description="Unlearn a label; may be given again."
    )
    rename: Annotated[dict[str, str], Flag(metavar="OLD=NEW")] = Field(
        {}, description="Rename a known label; may be given again."
    )
    promote: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether it becomes champion; auto: if it is not worse and its labels can be believed.",
    )
    head: HeadChoice = Field("same", description="same: of the champion's kind.")
    finetune: FineTuneSettings | None = Field(
        None, description="Train the whole network again, from its pretrained weights."
    )
    old: Annotated[tuple[Path, ...], Flag("--with", metavar="FOLDER")] = Field(
        (), description="The photos learned before, which --finetune needs; may be given again."
    )

    @field_validator("drop", "rename", mode="after")
    @classmethod
    def _in_one_form(cls, value: Any) -> Any:
        """Labels are text: typed on a Mac they have other bytes."""
        if isinstance(value, dict):
            return {normal_label(old): normal_label(new) for old, new in value.items()}
        return tuple(map(normal_label, value))

    @property
    def changes_labels(self) -> bool:
        return bool(self.drop or self.rename)
