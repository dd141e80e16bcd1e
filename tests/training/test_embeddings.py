"""Embeddings are computed once, and the cache survives whatever happens to it."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, write_photo
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.images import read_image
from handful.service.compute.network import Network
from handful.training.backbone import load_backbone
from handful.training.embeddings import Cache, Embedded, Embedder


def embedder(backbone: Path, cache: Path, *, thumbnails: bool = False) -> Embedder:
    pinned = load_backbone(str(backbone))
    return Embedder(Network(pinned.network), pinned.preprocessing, pinned.sha256, cache, thumbnails=thumbnails)


def embeddings(results: list[Embedded | ImageError]) -> np.ndarray:
    return np.stack([r.embedding for r in results if isinstance(r, Embedded)])


def test_a_second_run_embeds_nothing_and_gives_the_same(tmp_path: Path, backbone: Path, photos: Path) -> None:
    paths = sorted(p for p in photos.rglob("*") if p.is_file())
    first = embedder(backbone, tmp_path).embed(paths)
    again = embedder(backbone, tmp_path)
    again.network.engine = dataclasses.replace(again.network.engine, run=torch.nn.Module())  # has no forward
    np.testing.assert_array_equal(embeddings(first), embeddings(again.embed(paths)))


def test_an_embedding_does_not_depend_on_its_neighbours(tmp_path: Path, backbone: Path, photos: Path) -> None:
    paths = sorted(p for p in photos.rglob("*") if p.is_file())
    together = embeddings(embedder(backbone, tmp_path / "a").embed(paths))
    alone = embeddings([embedder(backbone, tmp_path / "b").embed([path])[0] for path in paths[:3]])
    np.testing.assert_array_equal(together[:3], alone)


def test_results_come_in_order_with_errors_in_their_places(tmp_path: Path, backbone: Path, photos: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    good = sorted(p for p in photos.rglob("*") if p.is_file())[:2]
    for _ in range(2):
        results = embedder(backbone, tmp_path / "cache").embed([good[0], bad, good[1], good[0]])
        assert [isinstance(r, ImageError) for r in results] == [False, True, False, False]
        assert [r.path for r in results if isinstance(r, Embedded)] == [good[0], good[1], good[0]]


def test_a_thumbnail_is_the_same_wherever_it_comes_from(tmp_path: Path, backbone: Path) -> None:
    """From the decoding for the embedding, from the file where that was cached before, and from the cache."""
    path = write_photo(tmp_path / "a.jpg", COLOURS["red"], 1, side=300)

    def small(cache: str) -> bytes:
        (result,) = embedder(backbone, tmp_path / cache, thumbnails=True).embed([path])
        assert isinstance(result, Embedded)
        return result.thumbnail

    (without,) = embedder(backbone, tmp_path / "later").embed([path])
    assert isinstance(without, Embedded)
    assert without.thumbnail == b""
    decoded = small("first")
    assert 64 < max(read_image(decoded).size) <= 96  # it is decoded at a quarter of its size
    assert small("later") == decoded
    path.rename(tmp_path / "b.jpg")
    path.write_bytes((tmp_path / "b.jpg").read_bytes())
    assert small("first") == decoded


def test_a_changed_file_is_embedded_anew(tmp_path: Path, backbone: Path) -> None:
    path = write_photo(tmp_path / "a.png", COLOURS["red"], 1)
    before = embeddings(embedder(backbone, tmp_path / "cache").embed([path]))
    write_photo(path, COLOURS["blue"], 2)
    after = embeddings(embedder(backbone, tmp_path / "cache").embed([path]))
    assert not np.array_equal(before, after)


def test_a_file_that_was_hashed_is_not_read_again_to_be_embedded(tmp_path: Path, backbone: Path) -> None:
    path = write_photo(tmp_path / "a.png", COLOURS["red"], 1)
    expected = embeddings(embedder(backbone, tmp_path / "cache").embed([path]))
    reading = embedder(backbone, tmp_path / "other")
    (content,) = reading.contents([path])
    path.unlink()
    (result,) = reading.embed([path])
    assert isinstance(result, Embedded)
    assert result.content_sha256 == content
    np.testing.assert_array_equal(result.embedding, expected[0])
    assert isinstance(reading.contents([path])[0], ImageError)  # and nothing is held afterwards


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        Cache(tmp_path).put({f"{number}-{i}": ("p", np.full(8, number, np.float32)) for i in range(20)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    found = Cache(tmp_path).get([f"{n}-{i}" for n in range(16) for i in range(20)])
    assert len(found) == 320
    assert all((row == int(key.split("-")[0])).all() for key, (_, row) in found.items())


def test_a_cache_being_created_by_another_is_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "embeddings.sqlite3")) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        opened = pool.submit(Cache, tmp_path)
        with pytest.raises(TimeoutError):
            opened.result(0.3)
        other.rollback()
        assert opened.result(60).get(["a"]) == {}


@pytest.mark.slow
def test_a_writer_killed_in_the_middle_poisons_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, threading, numpy as np\n"
        "from handful.training.embeddings import Cache\n"
        "cache = Cache(pathlib.Path(sys.argv[1]))\n"
        "threading.Timer(0.15, os.kill, (os.getpid(), 9)).start()\n"
        "for n in range(100000):\n"
        "    cache.put({f'{n}-{i}': ('p', np.full(512, n, np.float32)) for i in range(32)})\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    cache = Cache(tmp_path)
    batches = 0
    while rows := cache.get([f"{batches}-{i}" for i in range(32)]):
        assert len(rows) == 32
        assert all((row == batches).all() for _, row in rows.values())
        batches += 1
    assert batches


def test_a_damaged_cache_is_begun_again(tmp_path: Path) -> None:
    Cache(tmp_path).put({"a": ("p", np.ones(4, np.float32))})
    (tmp_path / "embeddings.sqlite3").write_bytes(b"garbage, not a database at all" * 100)
    cache = Cache(tmp_path)
    assert cache.get(["a"]) == {}
    cache.put({"a": ("p", np.ones(4, np.float32))})
    assert set(cache.get(["a"])) == {"a"}


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="HANDFUL_HOME"):
        Cache(tmp_path / "file/cache")
