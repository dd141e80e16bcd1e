"""The command line: one JSON document, one sentence for what is wrong, the right exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import handful
from conftest import COLOURS, write_photo


def document(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_from_a_folder_to_predictions(tmp_path: Path, photos: Path, backbone: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    (folder / "red/cut.jpg").write_bytes((folder / "red/00.jpg").read_bytes()[:300])
    trained = handful(tmp_path, "train", folder, "--backbone", backbone, "--json")
    assert trained.returncode == 1, trained.stderr
    assert document(trained)["images"]["skipped"] == 1
    classified = handful(tmp_path, "classify", folder, "--out", tmp_path / "out.jsonl", "--json")
    assert classified.returncode == 1
    assert {"images", "failed", "seconds", "images_per_second", "out"} <= set(document(classified))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {row["path"] for row in rows if row["error"]} == {"red/cut.jpg"}
    answered = [row["path"].startswith(row["label"]) for row in rows if row["label"]]
    assert sum(answered) >= 0.8 * len(answered) > 0  # a random network's embeddings separate most, not all


def test_a_model_no_better_than_guessing_says_so_everywhere_and_exits_with_1(tmp_path: Path, backbone: Path) -> None:
    """Four labels of one colour: nothing tells them apart."""
    for number in range(32):
        write_photo(tmp_path / f"same/{'abcd'[number % 4]}/{number}.png", COLOURS["red"], number)
    trained = handful(tmp_path, "train", tmp_path / "same", "--backbone", backbone, "--json")
    result = document(trained)
    assert result["verdict"]["level"] == "guessing"
    assert (trained.returncode, result["images"]["skipped"]) == (1, 0)
    shown = document(handful(tmp_path, "models", "show", "--json"))
    assert shown["verdict"] == result["verdict"]
    listed = document(handful(tmp_path, "models", "list", "--json"))
    assert listed[0]["verdict"] == result["verdict"]
    folder = Path(result["path"])
    assert "**No better than guessing.**" in (folder / "README.md").read_text(encoding="utf-8")
    report = (folder / "report/report.html").read_text(encoding="utf-8")
    assert "<strong>No better than guessing</strong>" in report
    assert "Is the folder right?" not in report


def test_evaluate_measures_a_folder_and_counts_foreign_labels_apart(tmp_path: Path, home: Path) -> None:
    for label, (name, colour) in enumerate([*COLOURS.items(), ("green", (30, 200, 40))]):
        for number in range(4):
            write_photo(tmp_path / f"data/{name}/{number}.png", colour, 700 + 10 * label + number)
    done = handful(home, "evaluate", tmp_path / "data", "--tta", "--json")
    assert done.returncode == 0, done.stderr
    result = document(done)
    assert result["tta"] is True
    assert result["images"] == 8
    assert result["accuracy"] >= 0.75
    assert result["foreign"]["images"] == 4
    assert {"accuracy_ci95", "macro_f1", "log_loss", "ece", "unknown_rate", "confusion"} <= set(result)


def test_models_are_listed_shown_and_promoted(home: Path) -> None:
    [card] = document(handful(home, "models", "list", "--json"))
    assert (card["name"], card["version"], card["champion"]) == ("colours", "1", True)
    assert document(handful(home, "models", "show"))["labels"] == ["blue", "red"]
    [heading, row] = handful(home, "models", "list").stdout.splitlines()
    assert heading.split()[:2] == ["model", "accuracy"]
    assert row.split()[:2] == ["*", "colours:1"]
    assert "blue, red" in row
    assert document(handful(home, "models", "promote", "colours:1", "--json"))["model"] == "colours:1"


def test_a_broken_version_and_a_missing_champion_do_not_end_the_list(tmp_path: Path, artifact: Path) -> None:
    for version in ("1", "2", "4"):
        shutil.copytree(artifact, tmp_path / "models/colours" / version)
    (tmp_path / "models/colours/2/card.json").write_text("{")
    (tmp_path / "models/colours/champion").write_text("3\n")
    words, listed = handful(tmp_path, "models", "list"), handful(tmp_path, "models", "list", "--json")
    assert (words.returncode, listed.returncode) == (1, 1)
    assert ["broken" in card for card in document(listed)] == [False, True, False]
    assert "colours:2 is broken:" in words.stdout
    assert "The champion of colours is version 3, which no longer exists" in words.stdout


def test_everything_of_a_name_is_deleted_only_when_told_so(tmp_path: Path, artifact: Path) -> None:
    shutil.copytree(artifact, tmp_path / "models/colours/1")
    refused = handful(tmp_path, "models", "delete", "colours")
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert document(handful(tmp_path, "models", "delete", "colours", "--yes", "--json")) == {"deleted": ["colours:1"]}
    assert "no model yet" in handful(tmp_path, "models", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nowhere", "--backbone", "builtin"], "nowhere is not there"),
        (["train", ".", "--head", "deep"], "'deep' is not one of"),
        (["train"], "Missing argument 'DATA'"),
        (["classify", "nowhere", "--out", "a.csv"], "nowhere is not there"),
        (["classify", ".", "--out", "a.txt"], ".csv, .jsonl or .parquet is allowed"),
        (["classify", ".", "--out", "a.csv", "--model", "other"], "models here: colours"),
        (["evaluate", ".", "--model", "colours:9"], "versions of colours: 1"),
        (["explain", "a.jpg", "--out", "a.jpg"], ".png is allowed"),
        (["explain", "gone.jpg", "--out", "a.png"], "gone.jpg: The file cannot be opened"),
        (["models", "list", "other"], "models here: colours"),
        (["models", "rollback", "colours"], "no champion before colours:1"),
        (["models", "delete", "other", "--yes"], "models here: colours"),
        (["models", "pull", "colours"], "ORG/NAME[@REVISION]"),
        (["nonsense"], "No such command 'nonsense'"),
        (["sample", "x", "--per-label", "0"], "0 is not in the range"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_two(home: Path, arguments: list[str], words: str) -> None:
    done = handful(home, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("handful: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["classify", "explain"])
def test_paths_are_checked_before_torch_is_loaded(command: str) -> None:
    code = (
        f"import sys; from handful.service.cli import {command} as command\n"
        "try: command(['nowhere', '--out', 'nowhere/a.csv'], standalone_mode=False)\n"
        "except Exception as e: print(type(e).__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["UsageError", "False"]
