"""The flags of a command are made from the fields of its settings class."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import click
import pytest
from click.testing import CliRunner
from handful.training.cli import retrain, train
from handful.training.finetune.settings import FineTuneSettings
from handful.training.options import settings_options
from handful.training.settings import Flag, RetrainSettings, TrainSettings
from pydantic import BaseModel, Field, field_validator


class OneMore(TrainSettings):
    """`train` with one more setting, as somebody would add it."""

    sharpen: float = Field(0.5, ge=0, le=1, description="How much each photo is sharpened.")


class EveryKind(BaseModel):
    """One field of each kind."""

    count: int = Field(3, ge=1)
    kind: Literal["plain", "odd"] = "plain"
    fast: bool = False
    keep_all: bool = True
    part: Annotated[FineTuneSettings | None, Flag(fields={"epochs": Flag("--part-epochs", minimum=1)})] = None
    rename: Annotated[dict[str, str], Flag(metavar="OLD=NEW")] = Field({})
    old: Annotated[tuple[Path, ...], Flag("--with")] = ()
    needed: str

    @field_validator("needed")
    @classmethod
    def _lower_case(cls, value: str) -> str:
        if value != value.lower():
            raise ValueError("lower case is expected")
        return value


Settings = TypeVar("Settings", bound=BaseModel)


def read(settings: type[Settings], *arguments: str) -> Settings:
    """What a command with these flags receives."""
    received: list[Settings] = []

    @click.command()
    @settings_options(settings)
    def command(*, settings: Settings) -> None:
        received.append(settings)

    command.main(list(arguments), standalone_mode=False)
    return received[0]


def test_one_more_field_is_one_more_flag_with_its_help_default_and_range() -> None:
    assert read(OneMore, "--sharpen", "0.75").sharpen == 0.75
    assert read(OneMore) == OneMore()
    with pytest.raises(click.BadParameter, match=r"2\.0 is not in the range 0<=x<=1"):
        read(OneMore, "--sharpen", "2")
    text = CliRunner().invoke(click.command()(settings_options(OneMore)(lambda **_: None)), ["--help"]).output
    assert "--sharpen FLOAT RANGE" in text
    assert "How much each photo is sharpened." in " ".join(text.split())
    assert "[default: 0.5; 0<=x<=1]" in " ".join(text.split())


def test_each_kind_of_field_is_read() -> None:
    everything = ["--count", "5", "--kind", "odd", "--fast", "--no-keep-all", "--part-epochs", "4"]
    several = ["--rename", "a=b", "--rename", "c=d=e", "--with", "x", "--with", "y", "--needed", "it"]
    settings = read(EveryKind, *everything, *several)
    assert (settings.count, settings.kind, settings.fast, settings.keep_all) == (5, "odd", True, False)
    assert settings.part == FineTuneSettings(epochs=4)
    assert (settings.rename, settings.old) == ({"a": "b", "c": "d=e"}, (Path("x"), Path("y")))
    assert read(EveryKind, "--needed", "it") == EveryKind(needed="it")
    assert read(EveryKind, "--part", "--needed", "it").part == FineTuneSettings()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--needed'"),
        (["--needed", "it", "--count", "0"], "0 is not in the range x>=1"),
        (["--needed", "it", "--part-epochs", "0"], "0 is not in the range x>=1"),
        (["--needed", "it", "--kind", "even"], "'even' is not one of 'plain', 'odd'"),
        (["--needed", "it", "--rename", "red"], "'red' is not OLD=NEW."),
        (["--needed", "IT"], "needed: Value error, lower case is expected."),
    ],
)
def test_a_value_that_is_not_allowed_is_wrong_use(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        read(EveryKind, *arguments)
    assert message in raised.value.format_message()


def flags(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_every_setting_of_train_and_retrain_is_a_flag() -> None:
    shared = {"--head", "--finetune", "--json", "--other", "--path-column", "--label-column"}
    shared |= {"--max-megapixels", "--max-megabytes"}
    own = {"--name", "--backbone", "--finetune-from", "--finetune-epochs", "--int8", "--seed", "--no-keep-embeddings"}
    assert flags(train) == shared | own
    assert flags(retrain) == shared | {"--model", "--name", "--drop", "--rename", "--promote", "--with"}
    given: dict[str, Any] = {"finetune": FineTuneSettings(layer="layer4"), "int8": True, "keep_embeddings": False}
    assert read(TrainSettings, "--finetune-from", "layer4", "--int8", "--no-keep-embeddings") == TrainSettings(**given)
    assert read(RetrainSettings) == RetrainSettings()


def test_the_settings_load_nothing_heavy() -> None:
    code = "import sys, handful.training.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "scipy", "timm"} & set(loaded)
