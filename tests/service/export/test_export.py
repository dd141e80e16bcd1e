"""An exported file: what it holds, that it answers as the model does, and when it is not written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commands import handful
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.preprocessing import stacked
from handful.service.artifact.unknown import UnknownDetector
from handful.service.classifier import Classifier
from handful.service.export.check import Agreement, check_file, generated_photos
from handful.service.export.graph import WholeAnswer, onnx_model
from handful.service.export.onnx_export import keep_if_same
from handful.service.export.precision import Precision, reduce_weights
from handful.service.lean.classifier import OnnxClassifier
from PIL import Image


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    return Classifier.load(artifact)


def labelled(photos: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(photos.rglob("*.*"))]


def test_the_command_says_what_it_wrote_and_how_far_it_agrees(exported: Path, exported_home: Path) -> None:
    result = json.loads((exported_home.parent / "printed.json").read_text())
    assert result["model"] == "colours:1"
    assert result["out"] == str(exported_home / "models/colours/1/model.onnx")
    assert result["bytes"] == exported.stat().st_size
    assert result["checked"]["photos"] > 24  # the training photos' small pictures, and generated ones
    assert result["checked"]["labels_changed"] == 0
    assert result["checked"]["largest_difference"] < 1e-4
    assert [each.name for each in exported_home.rglob(".*")] == []


def test_the_file_says_what_it_is(exported: Path, artifact: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    said = {each.key: each.value for each in model.metadata_props}
    card = open_artifact(artifact).card
    assert json.loads(said["labels"]) == ["blue", "red"]
    assert float(said["threshold"]) == card.unknown.threshold
    assert said["card_sha256"] == hashlib.sha256((artifact / "card.json").read_bytes()).hexdigest()
    assert said["licence"] == "mit"
    assert said["model"] == "colours:1"
    assert said["handful"] == card.libraries["handful"]
    assert [each.name for each in model.graph.output] == ["probabilities", "unknown_score", "unknown", "embedding"]
    assert b"site-packages" not in exported.read_bytes()
    assert b".py" not in exported.read_bytes()
    assert all(node.domain in {"", "ai.onnx"} for node in model.graph.node)  # no operator of one runtime alone


def test_plain_onnxruntime_answers_as_the_model_does(exported: Path, classifier: Classifier, photos: Path) -> None:
    session = onnxruntime.InferenceSession(exported)
    for path in sorted(photos.rglob("*.*")):
        image = classifier.preprocessing.read(path)
        shares, score, unknown, embedding = session.run(None, {"images": np.asarray(image)[None]})
        exact = classifier.network.embed_float32(stacked([classifier.preprocessing(image)]))
        (expected,) = classifier.predict_embeddings(exact)
        assert np.abs(shares[0] - expected.probabilities).max() < 1e-4
        assert abs(score[0] - expected.unknown_score) < 1e-5
        assert unknown[0] == expected.unknown
        assert np.abs(embedding[0] - expected.embedding).max() < 1e-4 * np.abs(expected.embedding).max()


def test_photos_of_no_label_and_a_hidden_layer_are_part_of_the_answer(classifier: Classifier) -> None:
    """As `Classifier` answers, on both sides of the least that is added, and of the threshold."""
    units, random = classifier.unknown.directions.shape[1], np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 50, 60, 3), dtype=np.uint8)
    own = classifier.preprocessing
    seen = stacked([own(Image.fromarray(each)) for each in pixels])
    embeddings = classifier.network.embed_float32(seen)
    toward = embeddings[:3].mean(dim=0).numpy()
    directions = classifier.unknown.directions
    for least in (0.0, 0.4999):
        taught = UnknownDetector.of(directions, 0.0, toward, least)
        middle = float(np.median(taught.score(embeddings.numpy())))
        unknown = UnknownDetector.of(directions, middle, toward, least)
        linear, classifier.network.head = (
            classifier.network.head,
            torch.nn.Sequential(torch.nn.Linear(units, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)),
        )
        other = Classifier(classifier.card, own, classifier.network, unknown)
        try:
            with torch.inference_mode():
                shares, score, flags, _ = WholeAnswer(other).eval()(seen)
            expected = other.predict_embeddings(embeddings)
        finally:
            classifier.network.head = linear
        assert np.allclose(score, [each.unknown_score for each in expected], atol=1e-5)
        assert np.allclose(shares, [each.probabilities for each in expected], atol=1e-5)
        assert flags.tolist() == [each.unknown for each in expected]
        assert 0 < sum(flags.tolist()) < len(flags)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.8), ("int8", 0.75)])
def test_fewer_bits_make_a_smaller_file_that_answers_the_same(
    exported: Path, classifier: Classifier, photos: Path, tmp_path: Path, precision: Precision, share: float
) -> None:
    model = onnx.load(exported)
    reduce_weights(model, precision)
    onnx.checker.check_model(model)
    file = tmp_path / "small.onnx"
    onnx.save(model, file)
    assert file.stat().st_size < share * exported.stat().st_size
    agreement, _ = check_file(OnnxClassifier.load(file), classifier, labelled(photos))
    assert agreement.photos == 24
    assert not agreement.changed
    assert 0 < agreement.largest_difference < 0.02


def test_what_is_allowed_to_differ() -> None:
    assert Agreement(100, (), 9e-4).holds("fp16")
    assert not Agreement(100, (), 2e-3).holds("fp16")
    assert not Agreement(100, ("a.jpg",), 0.0).holds("fp32")
    assert Agreement(100, ("a.jpg",), 0.1).holds("int8")
    assert not Agreement(100, ("a.jpg", "b.jpg"), 0.1).holds("int8")


def test_a_file_that_answers_differently_is_not_written(exported: Path, tmp_path: Path, photos: Path) -> None:
    out, model = tmp_path / "colours.onnx", onnx.load(exported)
    out.write_bytes(b"former")
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(min(photos.rglob("*.jpg")).read_bytes()[:200])
    other = Classifier.load(Path("tests/fixtures/artifact-2"))
    for checked_on, words in (
        ([*labelled(photos), *generated_photos()], r"colours.onnx was not written, as .* \d+ labels differ \("),
        ([("damaged.jpg", damaged)], "none of the photos to check it with can be read"),
    ):
        with pytest.raises(UsageError, match=words):
            keep_if_same(model, out, other, checked_on, "fp32")
        assert out.read_bytes() == b"former"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["colours.onnx", "damaged.jpg"]


@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_named(classifier: Classifier) -> None:
    class Strange(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = torch.linalg.eigvals(batch.mean(dim=1)[:, :16, :16])
            return values.real

    network = Classifier(classifier.card, classifier.preprocessing, classifier.network, classifier.unknown).network
    kept, network.backbone = network.backbone, Strange()
    try:
        with pytest.raises(UsageError, match=r"resnet18 cannot be written as ONNX: .*linalg_eig"):
            onnx_model(classifier)
    finally:
        network.backbone = kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("colours", "colours.pt"), "a name that ends in .onnx is expected"),
        (("colours", "nowhere/colours.onnx"), "must be a file in an existing folder"),
        (("none", "colours.onnx"), "There is no model named 'none'"),
        (("colours", "colours.onnx", "--photos", "nowhere"), "nowhere is not there"),
    ],
)
def test_wrong_use_is_one_sentence(home: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = handful(home, "export", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.iterdir())
