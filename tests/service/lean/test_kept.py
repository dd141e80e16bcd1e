"""Where OpenVINO was measured to be the fastest, its network is kept, and answers from then on without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # there are no types for it
import pytest
import torch
from commands import handful
from conftest import home_at
from handful.service.artifact.folder import CARD, WEIGHTS, file_sha256, open_artifact
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.service.compute.frozen_head import FrozenHead
from handful.service.compute.kept import DESCRIPTION, MOST, can_be_kept, keep_network, kept_folder, kept_network
from handful.service.lean.engines import fastest_classifier
from handful.service.lean.kept_classifier import KeptClassifier
from running_server import encoded, new_interpreters, publish_copy, until
from safetensors.numpy import load_file, save_file

from handful import load

if not can_be_kept():
    pytest.skip("the extra openvino is not installed, or there may be a GPU", allow_module_level=True)
WITH_TORCH = """
import sys
from handful.__main__ import handful
handful.main(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "timm", "torch._dynamo", "torchvision.models", "sympy"}
print("loaded:", *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def prefer(home: Path, engine: str) -> None:
    """As if this engine had been measured to be the fastest."""
    file = home / "cache/engines.json"
    known = json.loads(file.read_text())
    for rates in (rates for timed in known.values() for rates in timed.values()):
        rates.update({name: 1e6 if name == engine else 1.0 for name in rates})
    file.write_text(json.dumps(known))


@pytest.fixture(scope="module")
def measured(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `colours:1`, whose fastest engine is OpenVINO and whose network is kept."""
    home = tmp_path_factory.mktemp("kept-home")
    publish_copy(home, artifact)
    with home_at(home):
        fastest_classifier(home / "models/colours/1", None)
        prefer(home, "openvino")
        assert isinstance(fastest_classifier(home / "models/colours/1", None), KeptClassifier)
    return home


@pytest.fixture
def kept_home(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as HANDFUL_HOME."""
    home = tmp_path / "home"
    shutil.copytree(measured, home)
    monkeypatch.setenv("HANDFUL_HOME", str(home))
    return home


@pytest.fixture
def version(kept_home: Path) -> Path:
    return kept_home / "models/colours/1"


def answers(classifier: Classifier | KeptClassifier, photos: list[Path]) -> list[Prediction]:
    rows = [answer for _, answer in classifier.classify(photos)]
    assert all(isinstance(row, Prediction) for row in rows)
    return rows  # type: ignore[return-value]  # every photo can be read


def other_weights(version: Path, to: Path, tensor: str) -> Path:
    """A copy of the version in which a tensor has other values, and the card says so."""
    shutil.copytree(version, to)
    tensors = load_file(to / WEIGHTS)
    tensors[tensor] = tensors[tensor] * np.float32(1.5)
    save_file(tensors, to / WEIGHTS)
    card = json.loads((to / CARD).read_text())
    card["files"][WEIGHTS] = file_sha256(to / WEIGHTS)
    (to / CARD).write_text(json.dumps(card))
    return to


def cold(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in a new interpreter, which says at its end whether it has imported torch or timm."""
    command = [sys.executable, "-c", WITH_TORCH, *map(str, arguments)]
    environ = {**os.environ, "HANDFUL_HOME": str(home)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_a_photo_and_a_folder_are_answered_without_torch(kept_home: Path, photos: Path, tmp_path: Path) -> None:
    photo = min((photos / "red").glob("*.*"))
    done = cold(kept_home, "classify", photo, "--model", "colours", "--json")
    assert done.stderr.rstrip().endswith("loaded:"), done.stderr
    result = json.loads(done.stdout)
    assert result["engine"].startswith("openvino-")
    assert result["rows"][0]["label"] == "red"
    assert cold(kept_home, "classify", photos, "--out", tmp_path / "rows.csv").stderr.rstrip().endswith("loaded:")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 25
    assert "openvino 1,000,000" in handful(kept_home, "models", "show", "colours", "--engine").stderr


def test_a_file_of_rows_needs_openvino_to_be_the_fastest_for_batches_alone(
    kept_home: Path, photos: Path, tmp_path: Path
) -> None:
    """All its batches are full, so it does not matter which engine is the fastest for a single photo."""
    file = kept_home / "cache/engines.json"
    known = json.loads(file.read_text())
    for timed in known.values():
        timed["1x1"] |= {"fused": 2e6}
    file.write_text(json.dumps(known))
    assert cold(kept_home, "classify", photos, "--out", tmp_path / "rows.csv").stderr.rstrip().endswith("loaded:")
    with home_at(kept_home):
        assert KeptClassifier.find(kept_home / "models/colours/1") is None


def test_python_answers_without_torch_and_explains_with_it(version: Path, photos: Path) -> None:
    model, photo = load(version), min((photos / "red").glob("*.*"))
    kept = KeptClassifier.find(version)
    assert kept is not None
    (expected,) = answers(kept, [photo])
    assert model(photo).probabilities == dict(zip(model.labels, expected.probabilities, strict=True))
    assert [answer.label for answer in model.classify(photos / "red")] == ["red"] * 12
    assert "classifier" not in vars(model)  # which is torch's
    assert model(photo, tta=True).label == "red"
    assert model.explain(photo).result["label"] == "red"


def test_torch_is_imported_without_its_compiler(home: Path, photos: Path) -> None:
    """It takes more than a second, and nothing here is compiled."""
    done = cold(home, "classify", min((photos / "red").glob("*.*")), "--model", "colours")
    assert done.stderr.rstrip().endswith("loaded: timm torch"), done.stderr


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("count", [1, 3, 24])
def test_it_answers_as_the_engine_on_torch_does(version: Path, photos: Path, count: int, *, even: bool) -> None:
    paths = sorted(photos.rglob("*.*"))[:count]
    there, kept = Classifier.load(version), KeptClassifier.find(version)
    assert kept is not None
    there.choose_fastest_for(None)
    assert kept.engine_label == there.engine_label
    assert kept.engine_text == there.engine_text
    if even:
        there.make_even()
        kept.make_even()
    for expected, got in zip(answers(there, paths), answers(kept, paths), strict=True):
        assert np.array_equal(expected.embedding, got.embedding)
        assert expected.unknown_score == got.unknown_score
        assert (expected.label, expected.unknown) == (got.label, got.unknown)
        assert got.probabilities == expected.probabilities


def test_it_serves_as_the_engine_on_torch_does(version: Path) -> None:
    there, kept = Classifier.load(version), KeptClassifier.find(version)
    assert kept is not None
    there.choose_fastest_for(None)
    side = kept.preprocessing.side_pixels
    pictures = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    for classifier in (there, kept):
        classifier.limit_batch(4)
    expected = there.answer([there.prepare(picture) for picture in pictures], 1)
    got = kept.answer([kept.prepare(picture) for picture in pictures], 1)
    assert [each.label for each in got] == [each.label for each in expected]
    assert all(np.array_equal(a.embedding, b.embedding) for a, b in zip(got, expected, strict=True))
    assert [each.probabilities for each in got] == [each.probabilities for each in expected]


def test_a_head_is_computed_as_torch_does() -> None:
    random = torch.Generator().manual_seed(0)
    for head in (
        torch.nn.Linear(16, 3),
        torch.nn.Sequential(torch.nn.Linear(16, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)),
    ):
        embeddings = torch.randn(5, 16, generator=random)
        with torch.inference_mode():
            expected = torch.softmax(head.double()(embeddings.double()) / 0.7, dim=-1)
        got = FrozenHead.of(head, 0.7).probabilities(embeddings.numpy())
        assert np.allclose(got, expected.numpy(), atol=1e-12, rtol=0)


def test_when_another_engine_is_the_fastest_it_answers(kept_home: Path, version: Path) -> None:
    prefer(kept_home, "eager")
    assert KeptClassifier.find(version) is None
    assert fastest_classifier(version, None).engine_label.startswith("eager-")


def test_damaged_and_missing_files_are_made_again(kept_home: Path, version: Path) -> None:
    folder = kept_folder(open_artifact(version))
    (folder / "0.bin").write_bytes(b"\0" * 100)
    assert KeptClassifier.find(version) is None
    assert isinstance(fastest_classifier(version, None), KeptClassifier)
    (folder / DESCRIPTION).write_text("{")
    assert kept_network(folder) is None
    assert isinstance(fastest_classifier(version, None), KeptClassifier)
    shutil.rmtree(folder)
    (kept_home / "cache/openvino").rmdir()
    (kept_home / "cache/openvino").write_text("in the way")
    assert isinstance(fastest_classifier(version, None), Classifier)


def test_another_head_has_the_same_network_and_another_backbone_its_own(version: Path, tmp_path: Path) -> None:
    own = kept_folder(open_artifact(version))
    head = other_weights(version, tmp_path / "head", "fc.weight")
    assert kept_folder(open_artifact(head)) == own
    found = KeptClassifier.find(head)
    assert found is not None
    assert np.array_equal(found.head.layers[0][0], load_file(head / WEIGHTS)["fc.weight"].astype(np.float64))
    backbone = other_weights(version, tmp_path / "backbone", "conv1.weight")
    assert kept_folder(open_artifact(backbone)) != own
    assert KeptClassifier.find(backbone) is None


def test_the_networks_used_last_are_kept(kept_home: Path, version: Path) -> None:
    root = kept_home / "cache/openvino"
    for number in range(MOST):
        (root / f"old-{number}").mkdir()
        (root / f"old-{number}" / DESCRIPTION).write_text("{}")
        os.utime(root / f"old-{number}" / DESCRIPTION, (number, number))
    artifact = open_artifact(version)
    classifier = Classifier.from_artifact(artifact)
    classifier.choose_fastest_for(None)
    assert keep_network(artifact, classifier.network)
    left = {path.name for path in root.iterdir()}
    assert left == {kept_folder(artifact).name, *(f"old-{number}" for number in range(1, MOST))}


def test_what_was_chosen_by_rule_is_not_kept(artifact: Path, own_home: Path) -> None:
    loaded = open_artifact(artifact)
    classifier = Classifier.from_artifact(loaded)
    classifier.choose_fastest_for(1)
    assert not keep_network(loaded, classifier.network)
    assert not own_home.exists()


def with_torch(process: psutil.Process) -> list[psutil.Process]:
    tree = [process, *process.children(recursive=True)]
    return [each for each in tree if any("libtorch" in mapped.path for mapped in each.memory_maps())]


@pytest.mark.slow  # a whole service and a process that measure with torch, in new interpreters
def test_a_service_never_imports_torch_and_swaps_to_a_network_that_nobody_has_measured(
    kept_home: Path, version: Path, tmp_path: Path
) -> None:
    second = publish_copy(kept_home, other_weights(version, tmp_path / "other", "conv1.weight"))
    shutil.rmtree(kept_home / "cache/openvino")
    environ = {**os.environ, "HANDFUL_HOME": str(kept_home)}
    with new_interpreters(program=("-m", "handful"), environ=environ, log=tmp_path / "log") as (client, process):
        assert client.get("/readyz").text == "colours:1\n"
        assert not with_torch(process)
        Store(kept_home).promote("colours", second)
        until(lambda: client.get("/readyz").text == "colours:2\n")
        assert client.post("/predict", files={"image": encoded("PNG")}).json()["model"] == "colours:2"
        assert not with_torch(process)
        assert kept_network(kept_folder(open_artifact(kept_home / "models/colours/2"))) is not None
        shown = client.post("/models/colours/explain", files={"image": encoded("PNG")})
        assert shown.headers["content-type"] == "image/png"
        (explaining,) = with_torch(process)
        assert "handful.service.explain" in explaining.cmdline()
