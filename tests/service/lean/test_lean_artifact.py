"""A version that carries `model.onnx` answers where torch is missing: on the command line, in Python, over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import handful
from handful.service.artifact.errors import ArtifactInconsistent, UsageError
from handful.service.artifact.folder import CARD, ONNX, file_sha256, open_artifact, read_card, without_onnx
from handful.service.artifact.store import Store
from handful.service.export.artifact_export import add_onnx
from handful.service.lean.classifier import OnnxClassifier
from handful.service.models.remote_pull import pull_from
from handful.service.models.remote_push import push_to
from running_server import encoded, new_interpreters, publish_copy
from without_torch import FORBID, WITHOUT_TORCH

ASKED: dict[str, Any] = {"embeddings": None, "promote": None, "is_champion": True}
LOAD = """
import handful
print(handful.load("colours")(sys.argv[1]).label, "torch" in [name for name, module in sys.modules.items() if module])
"""


@pytest.fixture(scope="module")
def lean_home(artifact: Path, exported_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`colours:1` with the file, as `handful export --to artifact` wrote it, and `plain:1` without it."""
    home = tmp_path_factory.mktemp("lean-home")
    shutil.copytree(exported_home / "models/colours", home / "models/colours")
    publish_copy(home, artifact, "plain")
    return home


@pytest.fixture
def version(lean_home: Path) -> Path:
    return lean_home / "models/colours/1"


@dataclass
class WithoutTorch:
    """Our own commands in an interpreter in which torch cannot be imported."""

    home: Path

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HANDFUL_")}
        return {**kept, "HANDFUL_HOME": str(self.home), "OMP_WAIT_POLICY": "PASSIVE"}

    def run(self, *arguments: str | Path, script: str = WITHOUT_TORCH) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True)


def test_the_file_is_pushed_to_an_address_and_pulled_where_torch_is_missing(lean_home: Path, tmp_path: Path) -> None:
    pushed = {
        name: push_to(f"file://{tmp_path}/{name}", lean_home / f"models/{name}/1", **ASKED)
        for name in ("colours", "plain")
    }
    assert [each.onnx for each in pushed.values()] == [True, False]
    lean = WithoutTorch(tmp_path / "lean")
    done = lean.run("models", "pull", f"file://{tmp_path}/colours")
    assert done.returncode == 0, done.stderr
    path = Store(lean.home).path("colours", "1")
    assert OnnxClassifier.load(path).card.model == "colours:1"
    done = lean.run("models", "pull", f"file://{tmp_path}/plain")
    assert (done.returncode, "plain:1 has no model.onnx, and torch is not installed here" in done.stderr) == (2, True)
    here = pull_from(f"file://{tmp_path}/colours", Store(tmp_path / "here"))
    assert not (here / ONNX).exists()  # with torch it would answer nothing, and may answer something else
    assert ONNX not in open_artifact(here).card.files


def test_only_the_file_and_its_hash_are_new(version: Path, artifact: Path) -> None:
    card, before = read_card(version), read_card(artifact)
    assert card.files == before.files | {ONNX: file_sha256(version / ONNX)}
    assert without_onnx(card) == before
    names = {path.name for path in version.iterdir()}
    assert names == {path.name for path in artifact.iterdir()} | {ONNX}
    assert [path.name for path in version.parent.iterdir() if path.name.startswith(".")] == []


def test_another_file_is_refused_and_a_missing_one_is_not_missed(version: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(version, copy)
    (copy / ONNX).write_bytes((copy / ONNX).read_bytes() + b" ")
    for read in (open_artifact, OnnxClassifier.load):
        with pytest.raises(ArtifactInconsistent, match=rf"{ONNX} has sha256"):
            read(copy)
    shutil.copyfile(version / ONNX, tmp_path / "again")
    add_onnx(tmp_path / "again", copy)
    assert OnnxClassifier.load(copy).card == read_card(version)
    (copy / ONNX).unlink()
    assert open_artifact(copy).card.model == "colours:1"
    with pytest.raises(UsageError, match=r"`handful export colours:1 --to artifact` adds the file"):
        OnnxClassifier.load(copy)


def test_the_commands_and_python_take_it_from_the_store(lean_home: Path, photos: Path) -> None:
    without = WithoutTorch(lean_home)
    done = without.run("classify", photos, "--model", "colours", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["engine"], result["images"], result["per_label"]) == (
        "onnxruntime-fp32",
        24,
        {"blue": 12, "red": 12},
    )
    shown = without.run("models", "show", "colours", "--engine")
    assert "onnxruntime-fp32 on cpu: the exported file" in shown.stderr
    plain = without.run("classify", photos, "--model", "plain")
    assert plain.returncode == 2
    assert "plain:1 has no model.onnx, and torch is not installed here" in plain.stderr
    photo = str(min((photos / "red").glob("*.*")))
    asked = without.run(photo, script=FORBID + LOAD)
    assert asked.stdout.split() == ["red", "False"], asked.stderr


def test_one_photo_is_answered_by_it_though_torch_is_there(lean_home: Path, photos: Path) -> None:
    photo = min((photos / "red").glob("*.*"))
    one, all_of_them = (
        json.loads(handful(lean_home, *each, "--json").stdout)
        for each in (("classify", photo, "--model", "colours"), ("classify", photos, "--model", "colours"))
    )
    assert one["engine"] == "onnxruntime-fp32"
    assert all_of_them["engine"] != "onnxruntime-fp32"
    assert one["rows"][0]["label"] == "red"


def test_a_file_says_what_would_answer(exported: Path, lean_home: Path) -> None:
    done = handful(lean_home, "models", "show", "--onnx", exported, "--engine", "--json")
    assert json.loads(done.stdout)["name"] == "colours"
    assert f"onnxruntime-fp32 on cpu: the exported file {exported}, without torch" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("export", "colours", "out.onnx", "--to", "artifact"),
            "--to artifact writes into the store; got out.onnx as OUT",
        ),
        (("export", "--to", "artifact"), "Which model? NAME[:VERSION] is expected"),
        (("export",), "Got nothing; NAME[:VERSION] OUT is expected"),
        (("serve", "--onnx", "nowhere.onnx"), "--onnx nowhere.onnx is not there"),
    ],
)
def test_wrong_use_is_one_sentence(lean_home: Path, words: tuple[str, ...], expected: str) -> None:
    done = handful(lean_home, *words)
    assert done.returncode == 2
    assert expected in done.stderr


@contextmanager
def serving(home: Path, log: Path, *words: str, cwd: Path | None = None) -> Iterator[httpx.Client]:
    """`handful serve` where torch cannot be imported."""
    environ = WithoutTorch(home).environ
    with new_interpreters(*words, program=("-c", WITHOUT_TORCH), environ=environ, log=log, cwd=cwd) as (client, _):
        yield client


@pytest.fixture(scope="module")
def service(lean_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(lean_home, tmp_path_factory.mktemp("log") / "log", "--model", "colours") as client:
        yield client


def test_a_file_is_served_by_its_name_in_the_folder_where_the_command_runs(exported: Path, tmp_path: Path) -> None:
    words = ("--onnx", exported.name)
    with serving(tmp_path / "home", tmp_path / "log", *words, cwd=exported.parent) as client:
        assert client.get("/readyz").text == "colours:1\n"
        image = encoded("PNG")
        answer = client.post("/predict", files={"image": image}).json()
        (tmp_path / "noise.png").write_bytes(image)
        [(_, expected)] = OnnxClassifier.load(exported).classify([tmp_path / "noise.png"])
        assert answer["label"] == expected.label  # type: ignore[union-attr]  # the photo can be read
        assert answer["confidence"] == pytest.approx(expected.confidence, abs=1e-5)  # type: ignore[union-attr]
        assert [model["name"] for model in client.get("/models").json()["models"]] == ["colours"]
        assert client.get("/models/colours").json()["champion"] == "1"
        version = "/models/colours/versions/1"
        assert client.get(f"{version}/findings").json()["listed"] is False
        assert client.get(f"{version}/thumbnails").json() == {"total": 0, "thumbnails": []}
        assert client.get(f"{version}/report").json()["error"]["code"] == "not_kept"
        assert client.get(f"{version}/thumbnails/0").json()["error"]["code"] == "not_kept"
        assert client.post("/models/colours/train", json={}).json()["error"]["code"] == "retrain_off"


def test_the_service_answers_as_the_file_does(service: httpx.Client, version: Path, photos: Path) -> None:
    assert service.get("/readyz").text == "colours:1\n"
    assert service.get("/livez").status_code == 200
    assert service.get("/model").json() == json.loads((version / CARD).read_text())
    paths = sorted(photos.rglob("*.*"))
    expected = OnnxClassifier.load(version).classify(paths)
    images = [("images", (path.name, path.read_bytes())) for path in paths] + [("images", ("bad.jpg", b"no image"))]
    *answers, bad = service.post("/predict_many", files=images).json()
    assert bad["error"]["code"] == "not_an_image"
    for answer, (_, prediction) in zip(answers, expected, strict=True):
        assert answer["model"] == "colours:1"
        assert answer["label"] == prediction.label  # type: ignore[union-attr]  # every photo can be read
        assert answer["confidence"] == pytest.approx(prediction.confidence, abs=1e-5)  # type: ignore[union-attr]
    one = service.post("/predict", files={"image": encoded("PNG")})
    assert one.status_code == 200
    assert sum(each["probability"] for each in one.json()["predictions"]) == pytest.approx(1, abs=1e-6)
    assert "handful_images_total" in service.get("/metrics").text


def test_what_needs_torch_is_refused_in_one_sentence(service: httpx.Client, lean_home: Path) -> None:
    explained = service.post("/models/colours/explain", files={"image": encoded()})
    assert (explained.status_code, explained.json()["error"]["code"]) == (409, "explain_refused")
    assert "`handful explain` explains where torch is installed" in explained.json()["error"]["message"]
    learned = service.post("/models/colours/train", json={})
    assert (learned.status_code, learned.json()["error"]["code"]) == (409, "retrain_off")
    assert "Training, which needs torch, is not installed here" in learned.json()["error"]["message"]
    plain = service.post("/models/plain/predict", files={"image": encoded()})
    assert plain.status_code == 503
    assert Store(lean_home).names() == ["colours", "plain"]
