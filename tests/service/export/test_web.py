"""The web folder: what is in it, and (slow, with Chromium) that its page answers as the model does."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import handful
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import Artifact, open_artifact
from handful.service.artifact.preprocessing import stacked
from handful.service.classifier import Classifier
from handful.service.export.check import MOST_DIFFERENCE
from handful.service.export.command import export_text
from handful.service.export.web_export import (
    MODEL,
    PAGE,
    RUNTIME,
    check_web_export,
    export_web,
    runtime_folder,
    write_page,
)
from handful.service.lean.classifier import OnnxClassifier
from PIL import Image

from docs.browser import PROGRAMS, browser

NODE_MODULES = Path(__file__).parents[3] / "node_modules"  # `npm install onnxruntime-web` in the checkout makes it
CLASSIFY = """(async () => {
    const {classify} = await import("./classify.js")
    const bytes = Uint8Array.from(atob("%s"), each => each.charCodeAt(0))
    return JSON.stringify(await classify(new Blob([bytes])))
})()"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A stand-in for onnxruntime-web, with its files' names."""
    dist = tmp_path / "node_modules/onnxruntime-web/dist"
    dist.mkdir(parents=True)
    for name in RUNTIME:
        (dist / name).write_text(name)
    return dist.parent


def test_the_folder_holds_all_that_its_page_names(package: Path, artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    write_page(folder, open_artifact(artifact), runtime_folder(package.parent))
    facts = json.loads((folder / "model.json").read_text())
    assert facts["labels"] == ["blue", "red"]
    assert (facts["min_decode_side"], facts["licence"], facts["model"]) == (64, "mit", "colours:1")
    for file in sorted(PAGE.iterdir()):
        for named in re.findall(r"""(?:src|href|from|import\()[=\s]*"(?:\./)?([\w.-]+)\"""", file.read_text()):
            assert (folder / named).is_file(), named
        assert not re.search(r"https?:", file.read_text())  # nothing comes from elsewhere, and nothing goes there


def test_what_is_missing_is_named(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "dist" / RUNTIME[0]).unlink()
    with pytest.raises(UsageError, match=r"has no onnxruntime-web with ort.wasm.min.mjs"):
        runtime_folder(package.parent)
    monkeypatch.setenv("HANDFUL_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"npm, which fetches it, is not installed; --node-modules takes a folder"):
        runtime_folder(None)
    with pytest.raises(UsageError, match="is not empty; a new or empty folder is expected"):
        check_web_export(tmp_path)


class Steep(Artifact):
    """Its answers turn on the last digits of the embedding."""

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: each * (300 if name.startswith("fc.") else 1) for name, each in super().weights().items()}


def test_weights_of_sixteen_bits_that_change_answers_become_thirty_two(
    package: Path, artifact: Path, photos: Path, tmp_path: Path
) -> None:
    known = open_artifact(artifact)
    steep = Steep(known.path, known.card, known.config)
    red, blue = (Image.open(min((photos / label).glob("*.png"))).convert("RGB") for label in ("red", "blue"))
    named = [(f"{share} red", Image.blend(blue, red.resize(blue.size), share / 40)) for share in range(41)]
    result = export_web(steep, tmp_path / "web", None, iter(named), package.parent)
    assert "fp32 (fp16 would answer differently)" in export_text({"to": "web", **result})
    assert result["checked"]["largest_difference"] < MOST_DIFFERENCE
    assert OnnxClassifier.load(tmp_path / "web" / MODEL).card.model == "colours:1"


def test_the_flag_of_the_web_is_for_the_web(home: Path, tmp_path: Path) -> None:
    done = handful(home, "export", "colours", tmp_path / "a.onnx", "--node-modules", tmp_path)
    assert done.returncode == 2
    assert "--node-modules is for --to web" in done.stderr


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason="Chromium is not installed")
@pytest.mark.skipif(not (NODE_MODULES / "onnxruntime-web").is_dir(), reason="npm install onnxruntime-web")
def test_chromium_answers_as_the_model_does(exported: Path, artifact: Path, photos: Path, tmp_path: Path) -> None:
    """Also a photo that lies on its side, one with transparent pixels, and with no server any more."""
    folder, odd = tmp_path / "web", tmp_path / "odd"
    folder.mkdir()
    odd.mkdir()
    write_page(folder, open_artifact(artifact), runtime_folder(NODE_MODULES))
    shutil.copy(exported, folder / MODEL)
    image = Image.open(min(photos.rglob("*.png"))).convert("RGB")
    side = Image.Exif()
    side[0x0112] = 6
    image.crop((0, 0, 40, 30)).save(odd / "on its side.jpg", exif=side)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(odd / "transparent.png")
    classifier = Classifier.load(artifact)
    with browser() as page:
        with served(folder) as address:
            page.open(address, 800, 800)
            page.wait_for("!document.getElementById('file').disabled")
        for path in [*sorted(photos.rglob("*.*")), *sorted(odd.iterdir())]:
            expression = CLASSIFY % base64.b64encode(path.read_bytes()).decode()
            answer = page.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
            got = json.loads(answer["result"]["value"])
            exact = classifier.network.embed_float32(stacked([classifier.read(path)]))
            (expected,) = classifier.predict_embeddings(exact)
            assert got["label"] == expected.label, path
            assert np.abs(np.array(got["probabilities"]) - expected.probabilities).max() < 2e-3, path  # 32 pixels wide
        page.choose_files("#file", min((photos / "red").glob("*.jpg")))
        page.wait_for("document.querySelector('#answer h2')")
        assert page.evaluate("document.querySelector('#answer h2').textContent") == "red"
