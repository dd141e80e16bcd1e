"""`import handful` does what the commands do, and says the same."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import handful as command
from conftest import COLOURS, home_at, write_photo
from handful.training.settings import RetrainSettings, TrainSettings
from PIL import Image

import handful
from handful.options import RetrainOptions, TrainOptions

HEAVY = {"torch", "timm", "numpy", "PIL", "bentoml", "sklearn", "pyarrow", "huggingface_hub", "rich", "pydantic"}


@pytest.fixture
def model(home: Path, monkeypatch: pytest.MonkeyPatch) -> handful.Model:
    monkeypatch.setenv("HANDFUL_HOME", str(home))
    return handful.load("colours")


@pytest.fixture
def store(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store that a test may change."""
    shutil.copytree(home / "models", tmp_path / "home/models")
    monkeypatch.setenv("HANDFUL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(home: Path, *words: str | Path) -> Any:
    done = command(home, *words, "--json")
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


def test_the_import_does_no_work() -> None:
    code = "import sys, handful; print(*sys.modules); assert 'train' in dir(handful); handful.HandfulError"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not HEAVY & loaded
    assert not {name for name in loaded if name.startswith("handful.")}


def test_every_public_name_is_there_and_documented() -> None:
    for name in handful.__all__:
        assert getattr(handful, name).__doc__, name
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        handful.nothing_of_the_kind  # noqa: B018 - it raises


def test_the_keywords_are_the_fields_of_the_commands_settings() -> None:
    assert set(TrainOptions.__annotations__) == set(TrainSettings.model_fields)
    assert set(RetrainOptions.__annotations__) == set(RetrainSettings.model_fields) - {"model"}


def test_classify_gives_the_rows_of_the_command(model: handful.Model, home: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    shutil.copytree(photos / "red", folder / "red")
    (folder / "broken.jpg").write_bytes(b"no image")
    predictions = model.classify(folder)
    assert predictions.rows == said(home, "classify", folder)["rows"]
    assert [each.photo for each in predictions if each.error] == ["broken.jpg"]
    assert model.classify([folder / "red", folder / "broken.jpg"]).rows[-1]["error"].startswith("not_an_image")


def test_one_photo_is_answered_alike_in_every_form(model: handful.Model, home: Path, photos: Path) -> None:
    path = min(photos.rglob("*.png"))  # of a JPEG a path is decoded smaller than a picture that is open already
    one = model(path)
    with Image.open(path) as picture:
        array = np.asarray(picture.convert("RGB"))
        answers = model([str(path), path.read_bytes(), picture, array])
    assert all(dict(each.probabilities) == pytest.approx(dict(one.probabilities), abs=1e-6) for each in answers)
    assert [each.photo for each in answers] == [str(path), "photo 2", "photo 3", "photo 4"]
    said_text = command(home, "classify", path).stdout
    assert str(one) in said_text
    assert one.unknown or one.label == next(iter(one.probabilities))
    assert one.confidence == max(one.probabilities.values())
    assert one.embedding is not None
    assert model([]) == []


def test_a_turned_photo_is_answered_upright_when_it_is_open_already(model: handful.Model, tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png", COLOURS["red"], 0)
    with Image.open(path) as picture:
        grey = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1)))
        picture.paste(grey.convert("RGB"))
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        file = io.BytesIO()
        picture.save(file, "PNG", exif=exif)
    with Image.open(io.BytesIO(file.getvalue())) as turned:
        answers = model([file.getvalue(), turned, picture])
    assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-6)
    assert answers[0].probabilities != pytest.approx(answers[2].probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("photo", "told"),
    [
        ("nothing.jpg", "is not there"),
        (".", "is a folder"),
        (7, "type int"),
        (None, "type NoneType"),
        ([b"x", 7], "type int"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((2, 4, 4, 3), np.uint8), "2 × 4 × 4 × 3"),
        (np.zeros((0, 4), np.uint8), "no pixels"),
    ],
)
def test_what_is_no_photo_is_a_sentence(model: handful.Model, photo: Any, told: str) -> None:
    with pytest.raises(handful.UsageError, match=told):
        model(photo)


def test_a_photo_that_cannot_be_read_is_named(model: handful.Model, photos: Path) -> None:
    with pytest.raises(handful.ImageError, match=r"^photo 2: "):
        model([min(photos.rglob("*.jpg")), b"no image"])
    with pytest.raises(handful.ImageError, match=r"^photo: .*0 . 4 pixels|^photo: "):
        model(Image.new("RGB", (0, 4)))


def test_evaluate_measures_what_the_command_measures(
    model: handful.Model, home: Path, photos: Path, tmp_path: Path
) -> None:
    evaluation = model.evaluate(photos, report=tmp_path / "report")
    expected = said(home, "evaluate", photos, "--model", "colours", "--report", tmp_path / "report")
    assert evaluation.result == expected
    assert evaluation.report.is_file()
    assert evaluation.accuracy == expected["accuracy"]


def test_explain_tells_what_the_command_tells(model: handful.Model, home: Path, photos: Path, tmp_path: Path) -> None:
    photo = min(photos.rglob("*.png"))
    explained = model.explain(photo, short=True)
    expected = said(home, "explain", photo, "--short", "--out", tmp_path / "why.png")
    assert explained.result == {key: value for key, value in expected.items() if key != "out"}
    assert explained.save(tmp_path / "here.png").read_bytes() == (tmp_path / "why.png").read_bytes()
    with Image.open(photo) as picture:
        assert model.explain(picture, short=True).result["label"] == explained.result["label"]


def test_train_makes_the_model_that_the_command_makes(
    model: handful.Model, backbone: Path, photos: Path, tmp_path: Path
) -> None:
    with home_at(tmp_path / "new"):
        trained = handful.train(photos, name="colours", backbone=backbone)
        assert trained.card.files == model.card.files
        assert trained.path == handful.load("colours:1").path == tmp_path / "new/models/colours/1"
    assert trained.result["labels"] == list(trained.labels) == ["blue", "red"]
    assert trained.accuracy == trained.result["cv"]["accuracy"]


def test_retrain_gives_the_new_version_and_this_one_stays(store: Path, tmp_path: Path) -> None:
    for number in range(6):
        write_photo(tmp_path / f"more/green/{number}.png", (40, 200, 60), 900 + number)
    model = handful.load("colours")
    new = model.retrain(tmp_path / "more", promote="always")
    assert (model.labels, new.labels) == (("blue", "red"), ("blue", "red", "green"))
    assert new.result["promoted"]
    assert handful.load("colours").version == new.version == "2"
    assert (store / "models/colours/2").is_dir()
    with pytest.raises(handful.UsageError, match="not the version in use"):
        model.retrain(tmp_path / "more")


def test_a_folder_is_loaded_and_cannot_learn_more(artifact: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact, tmp_path / "bags")
    model = handful.load(tmp_path / "bags")
    assert model.name == "colours"
    with pytest.raises(handful.UsageError, match="outside the store"):
        model.retrain(photos)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nothing", handful.ModelNotFound),
        ("colours:9", handful.ModelNotFound),
        ("./nothing", handful.UsageError),
        ("a/b/c", handful.UsageError),
        (Path("nothing"), handful.UsageError),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_model_that_is_not_there_is_a_sentence(name: str | Path, error: type[handful.HandfulError]) -> None:
    with pytest.raises(error, match=r"\.$"):
        handful.load(name)


@pytest.mark.parametrize("options", [{"seed": -1}, {"sed": 1}, {"head": "round"}, {"finetune": {"layers": 3}}])
def test_a_wrong_option_is_a_sentence(options: Any, photos: Path) -> None:
    with pytest.raises(handful.UsageError, match=next(iter(options))):
        handful.train(photos, **options)


def test_a_notebook_shows_tables_with_pictures(model: handful.Model, photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<script>.png"
    shutil.copy(min(photos.rglob("*.png")), odd)
    for shown in (model, model(odd), model([odd, odd.read_bytes()]), model.classify([odd, photos])):
        html = shown._repr_html_()
        assert "<table>" in html
        assert "data:image/jpeg;base64," in html
        assert "<script>" not in html
    assert model.explain(odd, short=True)._repr_png_().startswith(b"\x89PNG")
