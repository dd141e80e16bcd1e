"""What training writes is what the service reads: one tensor a photo, one folder a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from conftest import home_at
from handful.service.artifact.errors import (
    ArtifactError,
    ArtifactIncomplete,
    ArtifactInconsistent,
    ArtifactVersionUnknown,
)
from handful.service.artifact.folder import open_artifact, write_artifact
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.classifier import Classifier
from handful.service.compute.network import Network
from handful.training.backbone import load_backbone
from handful.training.embeddings import Embedder
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from PIL import Image

MODES = {
    "a.jpg": "RGB", "b.jpg": "L", "c.jpg": "CMYK", "d.png": "RGBA", "e.png": "P", "f.png": "1", "g.png": "I;16",
    "h.webp": "RGBA", "i.gif": "P", "j.bmp": "RGB", "k.tiff": "RGB", "l.tiff": "F", "m.tiff": "LAB",
}  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", MODES)
def test_training_and_classifying_see_the_same_tensor(
    tmp_path: Path, backbone: Path, artifact: Path, name: str
) -> None:
    grey = np.linspace(0, 255, 90 * 120).reshape(90, 120).astype(np.uint8)
    image = Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1))
    mode = MODES[name]
    (image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(tmp_path / name)

    class Seen(torch.nn.Module):
        """A backbone that keeps what it is shown."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            self.batch = batch
            return batch.mean((2, 3))

    pinned, seen = load_backbone(str(backbone)), Seen()
    embedder = Embedder(Network(seen), pinned.preprocessing, pinned.sha256, tmp_path / "cache")
    embedder.embed([tmp_path / name])
    classifier = Classifier.load(artifact)
    from_path, from_bytes = classifier.read(tmp_path / name), classifier.read((tmp_path / name).read_bytes())
    assert torch.equal(seen.batch[0], from_path)
    assert torch.equal(from_path, from_bytes)


def test_plain_timm_opens_a_linear_head_and_gives_the_same_logits(artifact: Path) -> None:
    classifier = Classifier.load(artifact)
    assert classifier.card.head.kind == "linear"
    network = timm.create_model(f"local-dir:{artifact}", pretrained=True).eval()
    described: Any = network.pretrained_cfg
    assert described["label_names"] == list(classifier.labels)
    pixels = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        theirs = network(pixels)
    ours = classifier.network.logits(classifier.network.embed(pixels))
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.05 * float(theirs.abs().max()))


def test_the_preprocessing_in_the_artifact_is_the_backbones(artifact: Path, backbone: Path) -> None:
    config = open_artifact(artifact).config
    assert Preprocessing.from_pretrained_cfg(config["pretrained_cfg"]) == load_backbone(str(backbone)).preprocessing


def test_the_same_seed_gives_the_same_artifact(tmp_path: Path, backbone: Path, photos: Path) -> None:
    settings = TrainSettings(name="colours", backbone=str(backbone), seed=3)
    twice = []
    for name in ("a", "b"):
        with home_at(tmp_path / name):
            twice.append(files(Path(train_folder(photos, settings)[0]["path"])))
    cards = [json.loads(each.pop("card.json")) for each in twice]
    for card, each in zip(cards, twice, strict=True):
        card.pop("created_at")
        each.pop("README.md")  # it carries the date
        each.pop("report/report.html", None)
    assert cards[0] == cards[1]
    assert twice[0] == twice[1]


Change = Callable[[bytes], bytes | None]  # a file's bytes -> others, or None: the file is gone


def gone(_: bytes) -> None:
    return None


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def with_entry(**entries: object) -> Change:
    return lambda data: json.dumps({**json.loads(data), **entries}).encode()


THREE = ["a", "b", "c"]
SPOILT: list[tuple[dict[str, Change], type[ArtifactError]]] = [
    ({"card.json": gone}, ArtifactIncomplete),
    ({"config.json": gone}, ArtifactIncomplete),
    ({"model.safetensors": gone}, ArtifactIncomplete),
    ({"embeddings.safetensors": gone}, ArtifactIncomplete),
    ({"thumbnails.safetensors": gone}, ArtifactIncomplete),
    ({"card.json": with_entry(format_version=99)}, ArtifactVersionUnknown),
    ({"card.json": with_entry(colour="red")}, ArtifactInconsistent),
    ({"card.json": with_entry(labels=THREE)}, ArtifactInconsistent),
    ({"config.json": with_entry(label_names=THREE)}, ArtifactInconsistent),
    ({"card.json": with_entry(labels=THREE), "config.json": with_entry(label_names=THREE)}, ArtifactInconsistent),
    ({"model.safetensors": flipped}, ArtifactInconsistent),
    ({"embeddings.safetensors": flipped}, ArtifactInconsistent),
    ({"thumbnails.safetensors": flipped}, ArtifactInconsistent),
    ({"model.safetensors": half}, ArtifactInconsistent),
    ({"card.json": half}, ArtifactInconsistent),
    ({"card.json": lambda _: b"\xff\xfe"}, ArtifactInconsistent),
    ({"config.json": lambda _: b"[]"}, ArtifactInconsistent),
]


def test_a_disk_that_cannot_be_written_is_an_error_of_the_system(artifact: Path, tmp_path: Path) -> None:
    """Not one of the tensors' format, which no command would make a sentence of: a full disk met it."""
    card = open_artifact(artifact).card
    with pytest.raises(OSError, match=r"model\.safetensors cannot be written.*os error"):
        write_artifact(tmp_path / "gone", {}, {"weight": torch.zeros(9)}, {}, lambda _: card)


@pytest.mark.parametrize(("changes", "error"), SPOILT)
def test_a_spoilt_artifact_is_refused_with_its_own_error(
    tmp_path: Path, artifact: Path, changes: dict[str, Change], error: type[ArtifactError]
) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "copy"))
    for name, change in changes.items():
        changed = change((folder / name).read_bytes())
        (folder / name).unlink()
        if changed is not None:
            (folder / name).write_bytes(changed)
    with pytest.raises(error):
        Classifier.load(folder)
