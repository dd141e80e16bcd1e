"""An artifact of each format: this release loads it, answers as the release that wrote it and retrains from it.

fixtures/artifact-N has card format N. It was trained on conftest's `photos` with a random ResNet; its report was left
out. fixtures/artifact-N.json holds the probabilities that the same release gave for the pictures generated here.
Format 2 added the verdict and the thumbnails.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import handful
from conftest import COLOURS, write_photo
from handful.service.artifact.card import FORMAT_VERSION
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from PIL import Image

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = range(1, FORMAT_VERSION + 1)
ANSWERS = {n: json.loads((FIXTURES / f"artifact-{n}.json").read_text(encoding="utf-8")) for n in FORMATS}
CASES = [(n, number) for n, answers in ANSWERS.items() for number in range(len(answers["unknown"]))]


def picture(number: int) -> bytes:
    """A PNG of stripes, made of whole numbers alone, so that it is the same everywhere."""
    y, x = np.mgrid[:40, : 50 + number]
    channels = [(x * (number + 3) + y * (5 * channel + 2) + 60 * channel * number) % 256 for channel in range(3)]
    file = io.BytesIO()
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def fixture(number: int) -> Path:
    return FIXTURES / f"artifact-{number}"


@pytest.mark.parametrize("number", FORMATS)
def test_it_loads_whole(number: int) -> None:
    assert json.loads((fixture(number) / "card.json").read_text(encoding="utf-8"))["format_version"] == number
    artifact = open_artifact(fixture(number))
    assert artifact.card.model == "colours:1"
    assert {"embeddings", "labels", "hashes", "folds"} <= artifact.embeddings().keys()
    assert len(artifact.thumbnails()) == (0 if number == 1 else 24)
    assert artifact.card.verdict.level == "not_yet"  # 24 photos are too few to be sure


@pytest.mark.parametrize(("number", "row"), CASES)
def test_it_answers_as_the_release_that_wrote_it(number: int, row: int) -> None:
    classifier, expected = Classifier.load(fixture(number)), ANSWERS[number]
    (prediction,) = classifier.predict(classifier.read(picture(row))[None])
    assert prediction.probabilities == pytest.approx(expected["probabilities"][row], rel=0, abs=0.02)
    assert prediction.unknown == expected["unknown"][row]


@pytest.mark.parametrize("number", FORMATS)
def test_it_can_be_retrained_from(tmp_path: Path, number: int) -> None:
    """The new version keeps what there is to see of the old photos; of format 1 that is nothing."""
    shutil.copytree(fixture(number), tmp_path / "home/models/colours/1")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for photo in range(6):
            write_photo(tmp_path / "new" / name / f"{photo}.png", colour, 5000 + 100 * label + photo)
    done = handful(tmp_path / "home", "retrain", tmp_path / "new", "--json")
    assert done.returncode in {0, 1}, done.stderr  # 1: of near-duplicates, which a random network sees
    result = json.loads(done.stdout)
    assert (result["model"], result["previous"], result["new"]) == ("colours:2", "colours:1", 12)
    assert result["images"]["used"] == 36
    kept = open_artifact(Path(result["path"])).thumbnails()
    assert kept[23].name == ("" if number == 1 else "red/11.webp")
    assert {each.name for each in kept[24:30]} == {f"blue/{photo}.png" for photo in range(6)}
    assert [bool(each.jpeg) for each in kept[23:25]] == [number > 1, True]
