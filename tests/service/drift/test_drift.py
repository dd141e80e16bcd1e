"""`handful drift` on files of `handful classify`: what it compares with, what it says, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import handful
from conftest import COLOURS, home_at, write_photo
from handful.service.artifact.folder import open_artifact, read_card
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from PIL import Image

FIXTURES = Path(__file__).parents[2] / "fixtures"
PER_LABEL = 50


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Path:
    """A HANDFUL_HOME with `colours:1` of as many photos as a verdict needs."""
    home, photos = tmp_path_factory.mktemp("drift"), tmp_path_factory.mktemp("learned")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(PER_LABEL):
            write_photo(photos / name / f"{number}.png", colour, 1000 * label + number, side=24)
    with home_at(home):
        train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))
    return home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """Files of rows: `same` of photos like the learned ones in all formats, `other` of grey ramps."""
    folder = tmp_path_factory.mktemp("predictions")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(PER_LABEL):
            write_photo(folder / "same" / f"{name}-{number}.png", colour, 1000 * label + 500 + number, side=24)
    (folder / "same/broken.png").write_bytes(b"no image")
    (folder / "other").mkdir()
    for number in range(40):
        ramp = np.add.outer(np.arange(24), np.arange(24) * (1 + number % 3)).astype(np.uint8)
        Image.fromarray(np.rot90(ramp + number), "L").convert("RGB").save(folder / f"other/{number}.png")
    for kind in ("parquet", "csv", "jsonl"):
        assert handful(home, "classify", folder / "same", "--out", folder / f"same.{kind}").returncode == 1
    (folder / "same.json").write_text(handful(home, "classify", folder / "same", "--json").stdout)
    assert handful(home, "classify", folder / "other", "--out", folder / "other.parquet").returncode == 0
    return folder


def drift(home: Path, file: Path, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = handful(home, "drift", file, "--json", *arguments)
    assert done.returncode == status, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def refused(home: Path, file: Path, *arguments: str) -> str:
    done = handful(home, "drift", file, *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_photos_like_the_learned_ones_are_steady_in_every_format(home: Path, folder: Path) -> None:
    results = [drift(home, folder / f"same.{kind}") for kind in ("parquet", "csv", "jsonl", "json")]
    first = results[0]
    assert first["verdict"] == "steady"
    assert (first["images"], first["failed"], first["against_images"]) == (2 * PER_LABEL + 1, 1, 2 * PER_LABEL)
    assert set(first["scores"]) == {"unknown_score", "confidence"}
    for each in first["scores"].values():
        assert sum(part["share"] for part in each["bins"]) == pytest.approx(1)
        assert sum(part["against_share"] for part in each["bins"]) == pytest.approx(1)
    for other in results[1:3]:
        assert other | {"predictions": ""} == first | {"predictions": ""}
    assert results[3]["verdict"] == "steady"  # of other batches: digits may differ


def test_photos_of_other_things_are_far(home: Path, folder: Path) -> None:
    result = drift(home, folder / "other.parquet", status=1)
    assert result["verdict"] == "far"
    assert result["scores"]["unknown_score"]["verdict"] == "far"
    assert abs(result["scores"]["unknown_score"]["above"] - 0.5) > 0.2  # of a random network either way
    text = handful(home, "drift", folder / "other.parquet", "--model", "colours").stdout
    assert text.startswith("Far: these photos look to colours:1 very different")
    assert "far: they resemble its labels" in text
    assert "handful retrain FOLDER --model colours" in text


def test_a_handful_of_photos_is_no_reason_to_cry_wolf(home: Path, folder: Path, tmp_path: Path) -> None:
    lines = (folder / "same.csv").read_text().splitlines(keepends=True)
    (tmp_path / "few.csv").write_text("".join(lines[:5]))
    result = drift(home, tmp_path / "few.csv")
    assert (result["verdict"], result["images"]) == ("too_few", 4)
    text = handful(home, "drift", tmp_path / "few.csv").stdout
    assert text.startswith("Too few photos to tell")
    assert f"About {result['images_to_tell']} photos would tell." in text
    (tmp_path / "none.csv").write_text("".join([lines[0], *(line for line in lines if line.startswith("broken"))]))
    nothing = drift(home, tmp_path / "none.csv")
    assert (nothing["verdict"], nothing["scores"]["confidence"]["psi"]) == ("too_few", None)
    assert "0 photos against" in handful(home, "drift", tmp_path / "none.csv").stdout


def test_an_earlier_file_says_which_labels_come_more_often(home: Path, folder: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader((folder / "same.csv").open()))
    reds, blues = ([row for row in rows if row["label"] == label] for label in ("red", "blue"))
    for name, some in (("before", reds[:30] + blues[:30]), ("now", reds + blues[:8])):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(some)
    result = drift(home, tmp_path / "before.csv", "--against", str(folder / "same.csv"))
    assert result["verdict"] == "steady"
    assert not any(each["changed"] for each in result["labels"])
    done = handful(home, "drift", tmp_path / "now.csv", "--against", tmp_path / "before.csv")
    assert f"those of {tmp_path / 'before.csv'}" in done.stdout
    assert "Answered more often: red " in done.stdout
    assert "Answered less often: blue " in done.stdout
    assert "(before 50%)" in done.stdout


def test_the_card_keeps_scores_of_photos_that_the_model_had_not_seen(home: Path) -> None:
    card = open_artifact(home / "models/colours/1").card
    assert card.training_scores
    assert card.training_scores.unknown_score.images == 2 * PER_LABEL
    assert card.training_scores.confidence
    above = card.training_scores.unknown_score.edges[-1] > card.unknown.threshold
    assert not above or card.cross_validation.unknown_rate >= 0.1  # the same scores as the threshold's


def test_a_model_of_an_earlier_release_says_what_to_do(tmp_path: Path) -> None:
    """Two fixtures have no scores; a file of their labels is refused in one sentence."""
    shutil.copytree(FIXTURES / "artifact-2", tmp_path / "models/old/1")
    (tmp_path / "models/old/champion").write_text("1\n")
    labels = read_card(tmp_path / "models/old/1").labels
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["path", "label", "confidence", "unknown", "error", *(f"probability_{each}" for each in labels)]
        )
        writer.writerow(["a.jpg", labels[0], 0.9, False, "", *([1 / len(labels)] * len(labels))])
    message = refused(tmp_path, tmp_path / "rows.csv")
    assert "made by an earlier release" in message
    assert "--against" in message


def test_a_file_of_an_earlier_release_is_compared_by_confidence(home: Path, folder: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((folder / "same.csv").open()))
    assert rows[0][-1] == "unknown_score"
    with (tmp_path / "old.csv").open("w", newline="") as file:
        csv.writer(file).writerows(row[:-1] for row in rows)
    assert set(drift(home, tmp_path / "old.csv")["scores"]) == {"confidence"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, "is not there"),
        ("empty.csv", b"", "is empty"),
        ("a.csv", b"path,label\nx.jpg,red\n", "no column 'confidence'"),
        ("a.jsonl", b'{"path": "a"}\n{', "line 2 is not a whole JSON object"),
        ("a.json", b"{", "is not whole JSON"),
        ("a.json", b'{"rows": 3}', "has no rows"),
        ("a.parquet", b"PAR1 and nothing more", "is a damaged Parquet file"),
        (
            "a.csv",
            b"label,confidence,unknown,error,probability_blue,probability_red\nred,x,no,,0,1\n",
            "'no' in the colu",
        ),
        (
            "a.csv",
            b"label,confidence,unknown,error,probability_blue,probability_red\nred,x,0,,0,1\n",
            "'x' in the column",
        ),
        (
            "a.csv",
            b"label,confidence,unknown,error,probability_cat\ncat,1,0,,1\n",
            "has the labels cat; colours:1 answ",
        ),
    ],
)
def test_other_files_are_refused_in_one_sentence(
    home: Path, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert words in refused(home, tmp_path / name)


def test_answers_of_another_model_are_refused(home: Path, folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "same.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(document | {"model": "colours:7"}))
    message = refused(home, tmp_path / "a.json", "--model", "colours")
    assert "holds answers of colours:7, not of colours:1" in message


def test_answers_from_ten_views_are_compared_by_the_unknown_score(home: Path, folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "same.json").read_text())
    (tmp_path / "ten.json").write_text(json.dumps(document | {"tta": True}))
    assert set(drift(home, tmp_path / "ten.json")["scores"]) == {"unknown_score"}
    assert "from ten views" in refused(home, tmp_path / "ten.json", "--against", str(folder / "same.json"))
