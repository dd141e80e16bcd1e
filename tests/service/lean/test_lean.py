"""An exported file answers without torch, on either runtime, and the commands take it in place of a model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import handful
from handful.service.artifact.errors import ArtifactError, ImageError, UsageError
from handful.service.classifier import Classifier
from handful.service.lean.classifier import OnnxClassifier
from handful.service.lean.onnx_file import installed_runtimes
from PIL import Image
from without_torch import WITHOUT_TORCH

import handful as interface


def without_torch(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_classify_answers_without_torch_as_with_it(exported: Path, home: Path, photos: Path) -> None:
    lean = without_torch("classify", photos, "--onnx", exported, "--json")
    assert lean.returncode == 0, lean.stderr
    torch = handful(home, "classify", photos, "--json")
    ours, theirs = json.loads(lean.stdout), json.loads(torch.stdout)
    assert ours["engine"] == "onnxruntime-fp32"
    assert ours["model"] == "colours:1"
    assert [each["path"] for each in ours["rows"]] == [each["path"] for each in theirs["rows"]]
    for one, other in zip(ours["rows"], theirs["rows"], strict=True):
        assert one["label"] == other["label"]
        assert abs(one["probability_red"] - other["probability_red"]) < 0.02  # bfloat16 rounds


def test_what_needs_torch_says_so(photos: Path) -> None:
    done = without_torch("train", photos, "--name", "never")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("handful: This needs torch, which is not installed; `pip install")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_both_runtimes_answer_as_the_model_does(exported: Path, artifact: Path, photos: Path, runtime: str) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    classifier, lean = Classifier.load(artifact), OnnxClassifier.load(exported, runtime)
    assert lean.engine_label == f"{runtime}-fp32"
    assert lean.card == classifier.card
    paths = sorted(photos.rglob("*.*"))
    answers = dict(lean.classify(paths))
    assert list(answers) == paths
    for path, answer in answers.items():
        exact = classifier.network.embed_float32(classifier.read(path)[None])
        (expected,) = classifier.predict_embeddings(exact)
        assert not isinstance(answer, ImageError)
        assert answer.label == expected.label
        assert np.abs(np.array(answer.probabilities) - expected.probabilities).max() < 1e-4
        assert abs(answer.unknown_score - expected.unknown_score) < 1e-5


def test_whole_photos_and_resized_ones_get_the_same_answer(exported: Path) -> None:
    """`read` cuts off what lies outside the crop: on odd sizes, too, the same pixels remain."""
    lean = OnnxClassifier.load(exported)
    for height, width in ((33, 50), (51, 34), (47, 200), (200, 48), (36, 37)):
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (whole,), (resized,) = lean.predict(pixels[None]), lean.predict(lean.read(image)[None])
        assert whole.probabilities == pytest.approx(resized.probabilities, abs=1e-3)


def test_a_photo_that_cannot_be_read_takes_its_own_place(exported: Path, photos: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no image")
    paths = [*sorted(photos.rglob("*.*"))[:17], damaged, *sorted(photos.rglob("*.*"))[17:]]
    answers = list(OnnxClassifier.load(exported).classify(paths))
    assert [path for path, _ in answers] == paths
    assert [path for path, answer in answers if isinstance(answer, ImageError)] == [damaged]


def test_the_python_interface_opens_a_file(exported: Path, photos: Path) -> None:
    model = interface.load(exported)
    photo = min((photos / "red").glob("*.*"))
    assert model(photo).label == "red"
    assert (model.labels, model.name, model.path) == (("blue", "red"), "colours", exported)
    assert len(model.classify(photos)) == 24
    assert "colours:1" in model._repr_html_()
    for call in (lambda: model.explain(photo), lambda: model.export("again.onnx")):
        with pytest.raises(UsageError, match=r"exported file; this call needs the model colours:1 itself"):
            call()
    with pytest.raises(UsageError, match="only a model of the store can learn more"):
        model.retrain(photos)
    with pytest.raises(UsageError, match="one view"):
        model(photo, tta=True)


def test_evaluate_compares_the_file_with_its_model(exported: Path, home: Path, photos: Path, tmp_path: Path) -> None:
    done = handful(home, "evaluate", photos, "--onnx", exported, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "Against colours:1 in float32, 0 of 24 labels differ" in done.stdout
    elsewhere = handful(tmp_path, "evaluate", photos, "--onnx", exported, "--report", tmp_path / "again", "--json")
    assert json.loads(elsewhere.stdout)["onnx"]["compared_with"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--onnx", "nowhere.onnx"), "a file that `handful export` wrote is expected"),
        (("--onnx", "nowhere.onnx", "--model", "colours"), "one of them answers"),
        (("--onnx", "nowhere.onnx", "--tta"), "--tta needs the model itself"),
    ],
)
def test_wrong_use_is_one_sentence(home: Path, photos: Path, flags: tuple[str, ...], words: str) -> None:
    done = handful(home, "classify", photos, *flags)
    assert done.returncode == 2
    assert words in done.stderr


def test_other_files_are_refused(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ArtifactError, match="cannot be opened as an ONNX file"):
        OnnxClassifier.load(tmp_path / "text.onnx")
    model = onnx.load(exported)
    kept = {each.key: each.value for each in model.metadata_props}
    for left_out, words in (("card", "has no card"), ("preprocessing", "does not describe its input")):
        onnx.helper.set_model_props(model, {key: value for key, value in kept.items() if key != left_out})
        onnx.save(model, tmp_path / "other.onnx")
        with pytest.raises(ArtifactError, match=words):
            OnnxClassifier.load(tmp_path / "other.onnx")
