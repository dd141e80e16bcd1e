"""hf://datasets/... by the real huggingface_hub against a stand-in, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_client import Client
from hub_stand_in import HubStandIn, Repo

JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
COMMIT = "1234567890123456789012345678901234567890"

READING = """
import json, sys
from pathlib import Path
from handful.service.artifact.sources.reader import list_photos, read_source

def read(address):
    source = read_source(Path(address))
    parts = {part.name: [photo.label for photo in part.photos] for part in (source.train, *source.held_out)}
    whole = all(photo.path.read_bytes().startswith(b"\\xff\\xd8") for photo in source.train.photos)
    return {"read_as": source.read_as, "parts": parts, "whole": whole, "listed": len(list_photos(Path(address))[1])}

for line in sys.stdin:
    try:
        answer = read(*json.loads(line))
    except Exception as e:
        answer = {"error": type(e).__name__, "message": str(e)}
    print(json.dumps(answer), flush=True)
"""


def parquet(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": JPEG + bytes([number]), "path": f"{number}.jpg"} for number in range(count)]
    table = pa.table({"image": images, "label": [number % 2 for number in range(count)]})
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    root = tmp_path_factory.mktemp("hub")
    parquet(root / "pets/data/train-00000-of-00002.parquet", 4)
    parquet(root / "pets/data/train-00001-of-00002.parquet", 2)
    parquet(root / "pets/data/test-00000-of-00001.parquet", 2)
    for config in ("small", "large"):
        parquet(root / f"several/{config}/train-00000-of-00001.parquet", 2)
    for label in ("cat", "dog"):
        (root / f"files/{label}").mkdir(parents=True)
        (root / f"files/{label}/0.jpg").write_bytes(JPEG + label.encode())
    with HubStandIn() as hub:
        for name in ("pets", "several", "files"):
            hub.repos[f"datasets/some/{name}"] = Repo(root / name, COMMIT)
        hub.repos["datasets/some/gated"] = Repo(root / "pets", COMMIT, refuse=(403, "GatedRepo"))
        yield hub


@pytest.fixture(scope="module")
def answers(hub: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    cache = tmp_path_factory.mktemp("client")
    addresses = [
        *(
            "some/pets",
            "some/pets/train",
            "some/several",
            "some/several/small",
            "some/files",
            "some/none",
            "some/gated",
        ),
        "some/pets/nosplit",
    ]
    with Client(cache / "hf", READING, HF_ENDPOINT=hub.endpoint, HANDFUL_HOME=str(cache)) as client:
        return {address: client.ask(f"hf://datasets/{address}") for address in addresses}


def test_all_splits_become_parts_with_the_names_of_the_labels(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["some/pets"] == {
        "read_as": "read as: dataset of the Hub, Parquet, paths in 'image', labels in 'label', 8 photos"
        " (train 6, test 2), 2 labels",
        "parts": {"train": ["cat"] * 3 + ["dog"] * 3, "test": ["cat", "dog"]},
        "whole": True,
        "listed": 8,
    }


def test_one_split_or_configuration_is_named_behind_the_dataset(answers: dict[str, dict[str, Any]]) -> None:
    assert list(answers["some/pets/train"]["parts"].values()) == [["cat"] * 3 + ["dog"] * 3]
    assert list(answers["some/several/small"]["parts"].values()) == [["cat", "dog"]]
    assert "several configurations; name one: large/train, small/train" in answers["some/several"]["message"]
    assert "name one: test, train" in answers["some/pets/nosplit"]["message"]


def test_a_dataset_without_parquet_is_read_as_a_folder(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["some/files"].get("parts", answers["some/files"]) == {"": ["cat", "dog"]}
    assert answers["some/files"]["read_as"].startswith("read as: dataset of the Hub, one folder per label")


def test_what_the_hub_refuses_is_said(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["some/none"]["error"] == "HubNotFound"
    assert "hf://datasets/some/none" in answers["some/none"]["message"]
    assert answers["some/gated"]["error"] == "HubRefused"
