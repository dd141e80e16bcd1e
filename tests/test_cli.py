"""The command line: one JSON document, one sentence for what is wrong, the right exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from commands import handful
from conftest import COLOURS, write_photo

from handful.__main__ import ORDER


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
        (["explain", "gone.jpg", "--out", "a.png"], "gone.jpg is not there; one photo is expected"),
        (["explain", ".", "--out", "a.png"], ". is a folder; one photo is expected"),
        (["models", "list", "other"], "models here: colours"),
        (["models", "rollback", "colours"], "no champion before colours:1"),
        (["models", "delete", "other", "--yes"], "models here: colours"),
        (["models", "delete"], "Which model? NAME[:VERSION] is expected"),
        (["models", "delete", "colours", "--model", "colours"], "one of them is enough"),
        (["models", "push", "a", "b", "c/d"], "NAME[:VERSION] ORG/REPO|URL is expected"),
        (["models", "rollback", "--model", "colours:1"], "so NAME is expected: colours"),
        (["retrain", "--drop", "red", "--model", "other"], "models here: colours"),
        (["retrain", "--drop", "red", "--name", "other"], "models here: colours"),
        (["retrain", "nowhere"], "nowhere is not there"),
        (["serve", "--model", "other"], "models here: colours"),
        (["serve", "--name", "other"], "models here: colours"),
        (["classify", ".", "--resume"], "add --out FILE"),
        (["compare", "nowhere"], "nowhere is not there"),
        (["compare", ".", "--rungs", "pixels,resnet"], "no rung 'resnet'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["tran", "x"], "did you mean"),
        (["models", "promot"], "did you mean promote?"),
        (["train", "x", "--bakbone", "builtin"], "Did you mean '--backbone'"),
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


SLIPS = [
    "train nowhere",
    "train photos --name ?",
    "train photos --backbone ./nowhere",
    "train photos --backbone resnet34",
    "train photos/red",
    "check nowhere",
    "check photos --backbone ./nowhere",
    "retrain nowhere",
    "retrain photos --model other",
    "retrain photos --finetune",
    "evaluate nowhere",
    "evaluate photos --model other",
    "evaluate photos --report models",
    "compare nowhere",
    "compare photos --rungs resnet",
    "classify nowhere",
    "classify photos --model other",
    "explain photos --out a.png",
    "explain photos/red/00.jpg --out a.png --model other",
    "serve --model other",
    "models promote other:1",
    "models push other ORG/REPO",
    "models pull other",
    "models bento other",
]
SLIP_BY_SLIP = """
import json, pathlib, sys
from handful.__main__ import handful
said = []
for slip in sys.argv[1:]:
    try:
        handful(slip.split(), standalone_mode=False)
        raised = ""
    except Exception as e:
        raised = type(e).__name__
    said.append((slip, raised, "torch" in sys.modules))
pathlib.Path("said.json").write_text(json.dumps(said))
"""


def test_a_slip_of_the_hand_is_answered_before_torch_is_loaded(tmp_path: Path, home: Path, photos: Path) -> None:
    """A process of its own: in those of `handful` torch is loaded."""
    (tmp_path / "photos").symlink_to(photos)
    (tmp_path / "models").symlink_to(home / "models")
    subprocess.run(
        [sys.executable, "-c", SLIP_BY_SLIP, *SLIPS],
        cwd=tmp_path,
        env={**os.environ, "HANDFUL_HOME": str(tmp_path)},
        check=True,
    )
    said = json.loads((tmp_path / "said.json").read_text())
    assert [slip for slip, _, _ in said] == SLIPS
    assert [slip for slip, raised, _ in said if not raised.endswith(("Error", "NotFound"))] == []
    assert [slip for slip, _, torch_is_loaded in said if torch_is_loaded] == []  # the first of them has loaded it


def test_the_first_words_come_before_torch(tmp_path: Path, home: Path, photos: Path) -> None:
    """`-X importtime` writes a line to stderr for each module once it is imported."""
    photo = min(photos.rglob("*.jpg"))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "handful", "classify", photo],
        cwd=tmp_path,
        env={**os.environ, "HANDFUL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    words = lines.index(f"Classifying {photo} with colours:1.")
    imported = [line.rpartition("|")[2].strip() for line in lines]
    assert not {"torch", "timm", "numpy", "PIL", "rich"} & set(imported[:words])
    assert "torch" in imported[words:]


def test_one_photo_is_answered_with_a_sentence_and_several_with_a_table_whose_counts_add_up(
    tmp_path: Path, home: Path, photos: Path
) -> None:
    photo = photos / "red/00.jpg"
    one = handful(home, "classify", photo)
    assert one.stdout.startswith(f"{photo}: ")
    result = document(handful(home, "classify", photo, "--json"))
    [row] = result["rows"]
    assert (row["path"], result["images"]) == (str(photo), 1)
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:300])
    done = handful(home, "classify", photos / "red", tmp_path / "cut.jpg")
    assert done.returncode == 1
    *rows, _, counts = done.stdout.partition("\n\nNext:")[0].splitlines()
    assert len(rows) == 13
    assert counts.startswith("13 photos with colours:1: ")
    numbers = [int(part.rpartition(" ")[2]) for part in counts.partition("1: ")[2].split(", ")]
    assert sum(numbers) == 13
    assert "not readable 1" in counts


def test_a_training_ends_with_commands_that_run(tmp_path: Path, photos: Path, backbone: Path) -> None:
    first = handful(tmp_path, "train", photos, "--backbone", backbone, "--name", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stderr.splitlines() == [
        f"Learning from the photos in {photos}; the model is called two words.",
        "read as: one folder per label, 24 photos, 2 labels",
    ]
    commands = [line.strip() for line in first.stdout.splitlines() if line.startswith("    handful ")]
    explain = next(shlex.split(command) for command in commands if " explain " in command)
    assert handful(tmp_path, *explain[1:], cwd=tmp_path).returncode == 0
    assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")
    second = handful(tmp_path, "train", photos, "--backbone", backbone, "--name", "two words")
    assert "two words:1 stays the version in use" in second.stdout
    assert "handful models promote 'two words:2'" in second.stdout


def test_problems_that_leave_nothing_out_are_listed_apart(tmp_path: Path, photos: Path, backbone: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.copy(folder / "red/00.jpg", folder / "red/copy.jpg")
    (folder / "notes.txt").write_text("stray")
    done = handful(tmp_path, "check", folder, "--backbone", backbone)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1] == "1 file was left out:"
    assert lines[2].startswith("  red/copy.jpg: It is the same picture as red/00.jpg")
    assert lines[3].endswith("to look at, with nothing left out:")
    assert any(line.startswith("  notes.txt: ") for line in lines[4:])


def test_the_help_lists_the_commands_in_the_order_of_use_with_whole_sentences(home: Path) -> None:
    for arguments in ([], ["--help"]):
        done = handful(home, *arguments, COLUMNS="80")
        assert (done.returncode, done.stderr) == (0, "")
        listed = done.stdout.partition("Commands:\n")[2].splitlines()
        assert [line.split()[0] for line in listed] == list(ORDER)
        assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    listed = handful(home, "models", COLUMNS="80").stdout.partition("Commands:\n")[2].splitlines()
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_a_former_flag_still_works_and_is_not_shown(home: Path) -> None:
    for command in ("retrain", "serve"):
        shown = handful(home, command, "--help").stdout
        assert "--model" in shown
        assert "--name" not in shown


@pytest.mark.parametrize("columns", [80, 50])
def test_a_list_with_twelve_long_labels_fits_a_terminal(tmp_path: Path, artifact: Path, columns: int) -> None:
    shutil.copytree(artifact, tmp_path / "models/colours/1")
    path = tmp_path / "models/colours/1/card.json"
    labels = [f"a label with a long name, number {number}" for number in range(12)]
    card = json.loads(path.read_text())
    card["labels"] = labels
    card["cross_validation"]["confusion"] = [[0] * 12] * 12
    card["data"]["per_label"] = dict.fromkeys(labels, 1)
    path.write_text(json.dumps(card))
    lines = on_terminal(columns, tmp_path, "models", "list")
    assert max(map(len, lines)) <= columns
    assert all(any(f"number {number}" in line for line in lines) for number in range(12))


def on_terminal(columns: int, home: Path, *arguments: str) -> list[str]:
    """The lines that a command writes to a terminal of this width."""
    own, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "handful", *arguments],
        env={**environment, "HANDFUL_HOME": str(home), "TERM": "xterm"},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    with suppress(OSError):  # Linux' way to say that the other side has closed
        while part := os.read(own, 4096):
            written += part
    os.close(own)
    assert process.wait() == 0, written.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize("watched", [False, True])
def test_a_command_ends_with_what_is_registered_for_the_end_and_without_taking_the_interpreter_apart(
    tmp_path: Path, *, watched: bool
) -> None:
    """Watched by a program that registered its own end before, it ends as any other."""
    code = (
        "import atexit, sys\n"
        f"{'atexit.register(print, end=chr(10))' if watched else ''}\n"
        "from handful.__main__ import main\n"
        "class Part:\n"
        "    def __del__(self): print('taken apart', file=sys.stderr)\n"
        "part = Part()\n"
        "sys.argv = ['handful', 'check', 'nowhere']\n"
        "try: main()\n"
        "finally: atexit.register(print, 'cleaned up', end='')\n"
    )
    environ = {**os.environ, "HANDFUL_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "cleaned up\n" if watched else "cleaned up")
    assert "nowhere" in done.stderr
    assert ("taken apart" in done.stderr) is watched


def test_a_command_without_a_place_to_write_to_says_nothing() -> None:
    command = [sys.executable, "-m", "handful", "--version"]
    shell = f"{shlex.join(command)} >&-"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)  # noqa: S602 - ours
    assert (done.stdout, done.stderr) == ("", "")
