"""A folder with a single label: this or unknown, from training to classifying, and on to a second label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import handful
from conftest import COLOURS, write_photo
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.training.head.folds import Folds
from handful.training.head.unknown import refused_by_others


@pytest.fixture(scope="module")
def only_red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("only")
    for number in range(14):
        write_photo(folder / "red" / f"{number}.png", COLOURS["red"], number)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, backbone: Path, only_red: Path) -> tuple[Path, str]:
    """A HANDFUL_HOME with the model, and what was printed."""
    home = tmp_path_factory.mktemp("home")
    done = handful(home, "train", only_red, "--name", "red", "--backbone", backbone)
    assert done.returncode == 0, done.stderr
    return home, done.stdout


def test_what_is_measured_is_said_and_no_accuracy_is_claimed(trained: tuple[Path, str]) -> None:
    home, printed = trained
    card = open_artifact(home / "models/red/1").card
    recognised = card.cross_validation.accuracy
    assert recognised == pytest.approx(1 - card.cross_validation.unknown_rate)
    assert f"it recognises about {100 * recognised:.0f}, and calls the others unknown" in printed
    assert "With one label there is no accuracy" in printed
    assert (card.labels, card.verdict.level) == (("red",), "not_yet")
    report = (home / "models/red/1/report/report.html").read_text(encoding="utf-8")
    assert "Label by label" not in report
    assert "recognised, and not called unknown" in report
    assert "Answers *red* or *unknown*" in (home / "models/red/1/README.md").read_text(encoding="utf-8")


def test_it_answers_this_or_unknown(trained: tuple[Path, str], only_red: Path, tmp_path: Path) -> None:
    home = trained[0]
    classifier = Classifier.load(home / "models/red/1")
    answers = [answer for _, answer in classifier.classify(sorted((only_red / "red").iterdir()))]
    assert {getattr(answer, "label", "") for answer in answers} <= {"red", None}
    done = handful(home, "classify", only_red / "red")
    assert "100.0%" not in done.stdout
    assert "red 1" in done.stdout
    mixed = tmp_path / "mixed"
    for number in range(4):
        write_photo(mixed / "red" / f"{number}.png", COLOURS["red"], 500 + number)
        write_photo(mixed / "blue" / f"{number}.png", COLOURS["blue"], 600 + number)
    result = json.loads(handful(home, "evaluate", mixed, "--json").stdout)
    assert result["foreign"]["images"] == 4
    assert result["accuracy"] == pytest.approx(1 - result["unknown_rate"])


def test_it_learns_more_of_its_label_and_then_a_second_one(trained: tuple[Path, str], tmp_path: Path) -> None:
    home, new, blue = trained[0], tmp_path / "new", tmp_path / "blue"
    for number in range(6):
        write_photo(new / "red" / f"{number}.png", COLOURS["red"], 700 + number)
        write_photo(blue / "blue" / f"{number}.png", COLOURS["blue"], 800 + number)
    more = json.loads(handful(home, "retrain", new, "--json").stdout)
    assert more["images"]["per_label"] == {"red": 20}
    known = more["champion"]["known"]
    assert known["images"] == 14
    second = json.loads(handful(home, "retrain", blue, "--promote", "always", "--json").stdout)
    assert second["images"]["per_label"] == {"red": 20, "blue": 6}


def test_fine_tuning_needs_something_to_tell_apart(tmp_path: Path, backbone: Path, only_red: Path) -> None:
    done = handful(tmp_path, "train", only_red, "--backbone", backbone, "--finetune")
    assert done.returncode == 2
    assert "--finetune learns to tell labels apart, and there is only one" in done.stderr


def test_a_label_that_was_lost_is_not_left_out_silently(tmp_path: Path, backbone: Path, only_red: Path) -> None:
    folder = tmp_path / "two"
    (folder / "red").parent.mkdir()
    (folder / "red").symlink_to(only_red / "red")
    write_photo(folder / "blue" / "0.png", COLOURS["blue"], 1)
    done = handful(tmp_path, "train", folder, "--backbone", backbone)
    assert done.returncode == 2
    assert "At least two labels" in done.stderr


def test_refusals_are_counted_at_thresholds_that_the_photo_did_not_set() -> None:
    """One photo far out would set its own line; the lines of the other folds refuse it."""
    scores = np.concatenate([np.linspace(0.10, 0.12, 39), [0.9]]).astype(np.float32)
    refused = refused_by_others(scores, Folds.make(np.zeros(40, np.int64), np.arange(40), 0))
    assert refused[-1]
    assert refused.mean() < 0.2
