"""The same labelled photos make the same model, whatever they come in."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import home_at
from handful.service.artifact.folder import EMBEDDINGS, WEIGHTS, open_artifact
from handful.training.settings import TrainSettings
from handful.training.train import inspect_folder, train_folder
from zips import zipped_folder

Rows = list[tuple[str, str]]  # path below the folder, label


def rows_of(folder: Path) -> Rows:
    return [(path.relative_to(folder).as_posix(), path.parent.name) for path in sorted(folder.rglob("*.*"))]


def as_wrapped_zip(folder: Path, rows: Rows, out: Path) -> Path:  # noqa: ARG001
    shutil.copytree(folder, out / "inner" / "photos")
    (out / "photos.zip").write_bytes(zipped_folder(out / "inner"))
    return out / "photos.zip"


def as_csv(folder: Path, rows: Rows, out: Path) -> Path:
    """Backwards, with backslashes and semicolons, as a German Excel on Windows writes it."""
    shutil.copytree(folder, out / "photos")
    with (out / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([("Class", "File Name"), *((label, f"photos\\{path}") for path, label in reversed(rows))])
    return out / "list.csv"


def as_parquet_with_bytes(folder: Path, rows: Rows, out: Path) -> Path:
    """As Hugging Face's datasets writes it: the images inside, and numbers for labels."""
    names = ["blue", "red"]
    images = [{"bytes": (folder / path).read_bytes(), "path": None} for path, _ in rows]
    table = pa.table({"image": images, "label": [names.index(label) for _, label in rows]})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    info = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), out / "train-00000-of-00001.parquet")
    return out / "train-00000-of-00001.parquet"


def as_image_folder(folder: Path, rows: Rows, out: Path) -> Path:
    """A Hugging Face ImageFolder: photos under other names in one folder, with metadata.jsonl."""
    lines = []
    for number, (path, label) in enumerate(reversed(rows)):
        name = f"{number}{Path(path).suffix}"
        shutil.copy(folder / path, out / name)
        lines.append(json.dumps({"file_name": name, "label": label}))
    (out / "metadata.jsonl").write_text("\n".join(lines))
    return out


def as_label_studio(folder: Path, rows: Rows, out: Path) -> Path:
    """Uploads have a prefix there that the files on the disk lack."""
    shutil.copytree(folder, out / "media")
    tasks: list[dict[str, Any]] = []
    for number, (path, label) in enumerate(rows):
        (out / "media" / path).rename(out / "media" / f"{label}-{Path(path).name}")
        result = [{"from_name": "kind", "type": "choices", "value": {"choices": [label]}}]
        image = f"/data/upload/1/{number:08x}-{label}-{Path(path).name}"
        tasks.append({"id": number, "data": {"image": image}, "annotations": [{"result": result}]})
    (out / "project-1.json").write_text(json.dumps(tasks))
    return out / "project-1.json"


def model_of(folder: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Everything in an artifact but the time and the names of photos."""
    artifact = open_artifact(folder)
    card = artifact.card.model_dump(mode="json", exclude={"created_at", "files"})
    thumbnails = [thumbnail.jpeg for thumbnail in artifact.thumbnails() or ()]
    return card, [(artifact.path / file).read_bytes() for file in (WEIGHTS, EMBEDDINGS)] + thumbnails


def test_an_export_makes_the_same_model_as_the_folder(
    artifact: Path, photos: Path, backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    source = as_label_studio(photos, rows_of(photos), tmp_path / "source")
    with home_at(tmp_path / "home"):
        result, _ = train_folder(source, TrainSettings(name="colours", backbone=str(backbone)))
    assert result["images"]["skipped"] == 0
    assert model_of(Path(result["path"])) == model_of(artifact)


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("make", [as_wrapped_zip, as_csv, as_parquet_with_bytes, as_image_folder])
def test_a_model_learns_the_same_from_every_source(
    make: Callable[[Path, Rows, Path], Path], photos: Path, backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    expected = inspect_folder(photos, str(backbone))
    got = inspect_folder(make(photos, rows_of(photos), tmp_path / "source"), str(backbone))
    assert [image.content_sha256 for image in got.images] == [image.content_sha256 for image in expected.images]
    assert (got.labels, got.label_index.tolist()) == (expected.labels, expected.label_index.tolist())
    assert got.groups.tolist() == expected.groups.tolist()
    assert np.array_equal(got.embeddings, expected.embeddings)
