"""An artifact that an older release wrote: this release loads it, answers the same and retrains from it.

fixtures/artifact-1 has card format 1. It was trained on conftest's `photos` with a random ResNet; its report was left
out. fixtures/artifact-1.json holds the probabilities that the same release gave for the pictures generated here.
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
ARTIFACT = FIXTURES / "artifact-1"
EXPECTED = json.loads((FIXTURES / "artifact-1.json").read_text(encoding="utf-8"))


def picture(number: int) -> bytes:
    """A PNG of stripes, made of whole numbers alone, so that it is the same everywhere."""
    y, x = np.mgrid[:40, : 50 + number]
    channels = [(x * (number + 3) + y * (5 * channel + 2) + 60 * channel * number) % 256 for channel in range(3)]
    file = io.BytesIO()
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_its_format_is_still_the_present_one_or_has_a_fixture_of_its_own() -> None:
    assert (FIXTURES / f"artifact-{FORMAT_VERSION}").is_dir()


def test_it_loads_whole() -> None:
    artifact = open_artifact(ARTIFACT)
    assert artifact.card.model == "colours:1"
    assert {"embeddings", "labels", "hashes", "folds"} <= artifact.embeddings().keys()


@pytest.mark.parametrize("number", range(len(EXPECTED["probabilities"])))
def test_it_answers_as_the_release_that_wrote_it(number: int) -> None:
    classifier = Classifier.load(ARTIFACT)
    (prediction,) = classifier.predict(classifier.read(picture(number))[None])
    assert prediction.probabilities == pytest.approx(EXPECTED["probabilities"][number], rel=0, abs=0.02)
    assert prediction.unknown == EXPECTED["unknown"][number]


def test_it_can_be_retrained_from(tmp_path: Path) -> None:
    shutil.copytree(ARTIFACT, tmp_path / "home/models/colours/1")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(6):
            write_photo(tmp_path / "new" / name / f"{number}.png", colour, 5000 + 100 * label + number)
    done = handful(tmp_path / "home", "retrain", tmp_path / "new", "--json")
    assert done.returncode in {0, 1}, done.stderr  # 1: of near-duplicates, which a random network sees
    result = json.loads(done.stdout)
    assert (result["model"], result["previous"], result["new"]) == ("colours:2", "colours:1", 12)
    assert result["images"]["used"] == 36
