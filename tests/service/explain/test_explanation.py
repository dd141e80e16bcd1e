"""From a photo to a picture and its numbers, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import home_at
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.images import read_image
from handful.service.classifier import Classifier
from handful.service.cli import explain as command
from handful.service.explain.explanation import explain_photo
from handful.service.explain.picture import explain_image
from handful.service.explain.stability import measure_stability, views
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from PIL import Image
from tiny_networks import TINY, save_network


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    return Classifier.load(artifact)


@pytest.fixture
def photo(photos: Path) -> Path:
    return photos / "red/00.jpg"


def test_the_command_writes_a_picture_and_prints_one_document(
    home: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_HOME", str(home))
    out = tmp_path / "why.png"
    done = CliRunner().invoke(command, [str(photo), "--out", str(out), "--shift", "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert {"label", "confidence", "unknown", "out", "model", "receptive_fields", "shift"} <= set(result)
    assert result["predictions"][0]["label"] == "red"
    assert result["map"]["kind"] == "CAM"
    assert [field["stage"] for field in result["receptive_fields"]] == ["act1", *(f"layer{n}" for n in (1, 2, 3, 4))]
    assert [field["pixels"] for field in result["receptive_fields"]] == [7, 27, 51, 99, 195]
    assert result["shift"]["photos"] == len(result["shift"]["answers"]) == 66
    assert read_image(out).width > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["why.png"]


def test_the_answer_is_the_one_that_classify_gives(classifier: Classifier, photo: Path) -> None:
    [(_, expected)] = classifier.classify([photo])
    assert explain_photo(classifier, photo).prediction == expected


@pytest.mark.parametrize(("size", "head"), [((28, 28), "linear"), ((300, 40), "hidden"), ((60, 500), "linear")])
@pytest.mark.slow
def test_odd_photos_and_label_names_can_be_drawn(
    tmp_path: Path, head: str, size: tuple[int, int], many: dict[str, Classifier]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "odd.png")
    result = explain_image(many[head], tmp_path / "odd.png", tmp_path / "why.png")
    assert result["map"]["kind"] == {"linear": "CAM", "hidden": "Grad-CAM"}[head]
    assert len(result["predictions"]) == 8
    assert read_image(tmp_path / "why.png").height > 1000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Classifier]:
    """Eight labels, with long names and with letters that fonts lack, under either head."""
    root = tmp_path_factory.mktemp("many")
    names = ["靴", "a very long name for a label that goes on", "$x$", "_b", "Sac à main", "f", "g", "h"]
    for label, name in enumerate(names):
        for number in range(6):
            noise = np.random.default_rng(10 * label + number).normal(30 * label, 20, (36, 40, 3)).clip(0, 255)
            path = root / f"photos/{name}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.astype(np.uint8)).save(path)
    backbone = str(save_network(root / "backbone", TINY))
    classifiers = {}
    for head in ("linear", "hidden"):
        settings = TrainSettings.model_validate({"name": head, "backbone": backbone, "head": head})
        with home_at(root / "home"):
            classifiers[head] = Classifier.load(Path(train_folder(root / "photos", settings)[0]["path"]))
    return classifiers


@pytest.mark.parametrize("name", ["why.jpg", "why", "nowhere/why.png"])
def test_an_out_that_cannot_be_written_is_refused(
    classifier: Classifier, photo: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="--out"):
        explain_image(classifier, photo, tmp_path / name)


def test_what_is_no_image_is_refused_by_name(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no image")
    for name in ("words.jpg", "gone.jpg"):
        with pytest.raises(ImageError, match=name):
            explain_image(classifier, tmp_path / name, tmp_path / "why.png")


def test_unchanged_views_are_the_photo_itself(classifier: Classifier, photo: Path) -> None:
    preprocessing = classifier.preprocessing
    image = preprocessing.read(photo)
    same = [view for view in views(preprocessing, image) if not view.is_changed]
    assert [view.kind for view in same] == ["shift across", "shift down", "scale"]
    for view in same:
        assert np.array_equal(np.asarray(view.pixels), np.asarray(preprocessing.pixels(image)))


def test_a_shift_moves_the_photo_by_its_pixels(classifier: Classifier, photo: Path) -> None:
    preprocessing = classifier.preprocessing
    image = preprocessing.read(photo)
    original = np.asarray(preprocessing.pixels(image))
    moved = {(view.kind, view.amount): np.asarray(view.pixels) for view in views(preprocessing, image)}
    assert np.array_equal(moved["shift across", 4][:, 4:], original[:, :-4])
    assert np.array_equal(moved["shift down", -4][:-4], original[4:])
    assert np.array_equal(moved["mirror", 1], original[:, ::-1])


def test_an_answer_from_colour_alone_is_stable(classifier: Classifier, photo: Path) -> None:
    stability = measure_stability(classifier, classifier.preprocessing.read(photo))
    assert stability.numbers()["same_label_share"] > 0.8
    assert stability.lowest.probability == min(each.probability for each in stability.changed)
