"""What a comparison can be told, and the names of the rungs. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from handful.service.artifact.errors import UsageError
from pydantic import BaseModel, ConfigDict, Field

TITLES = {  # of the rungs, lowest first; the names are for --rungs
    "majority": "the most frequent label",
    "pixels": "pixels, logistic regression",
    "hog": "HOG, linear",
    "dense": "dense, one hidden layer",
    "lenet5": "LeNet-5",
    "alexnet": "AlexNet from scratch",
    "cnn": "small CNN from scratch",
    "linear": "frozen backbone, linear",
    "hidden": "frozen backbone, hidden layer",
    "finetuned": "fine-tuned end to end",
}
ON_BACKBONE = ("linear", "hidden", "finetuned")  # the rungs that use the pretrained network


class LadderSettings(BaseModel):
    """Everything a person decides about a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rungs: tuple[str, ...] = Field((), description="names of rungs; all if none is given")
    backbone: str = Field(description="ORG/NAME[@REVISION], a local folder, builtin or builtin-resnet")
    seed: int = Field(0, ge=0)

    @property
    def on_backbone(self) -> bool:
        """Whether a chosen rung uses the pretrained network."""
        return any(name in ON_BACKBONE for name in chosen_names(self.rungs))


def chosen_names(names: Sequence[str]) -> tuple[str, ...]:
    """The named rungs in the ladder's order, or all; `UsageError` where a name is not one of them."""
    unknown = [name for name in names if name not in TITLES]
    if unknown:
        raise UsageError(f"There is no rung {', '.join(map(repr, unknown))}; allowed are {', '.join(TITLES)}.")
    return tuple(name for name in TITLES if name in names or not names)


def stage_texts(names: Sequence[str]) -> list[str]:
    """What a bar says while each rung is trained."""
    return [f"{number}/{len(names)} {TITLES[name]}" for number, name in enumerate(names, start=1)]
