"""Versions appear whole or not at all, and one pointer says which is served."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.artifact.errors import ModelNotFound, UsageError
from service.artifact.store import PARTIAL, PARTIAL_KEPT_SECONDS, Store, check_name, name_from_folder


def write(folder: Path, version: str) -> None:
    (folder / "content").write_text(version)


def test_the_first_version_becomes_champion_and_later_ones_do_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [store.publish("bags", write) for _ in range(3)]
    assert [p.name for p in paths] == ["1", "2", "3"]
    assert [(p / "content").read_text() for p in paths] == ["1", "2", "3"]
    assert store.champion("bags") == "1"
    assert store.resolve("bags") == paths[0]
    assert store.resolve("bags:3") == paths[2]
    assert store.resolve() == paths[0]


def test_two_writers_at_once_get_different_versions(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: store.publish("bags", write), range(24)))
    assert sorted(int(p.name) for p in paths) == list(range(1, 25))
    assert all((p / "content").read_text() == p.name for p in paths)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path, version: str) -> None:
        write(folder, version)
        raise RuntimeError("no")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.publish("bags", fail)
    assert store.names() == []
    assert list((tmp_path / "models/bags").iterdir()) == []


def test_a_killed_writer_leaves_no_version_and_is_swept_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from service.artifact.store import Store\n"
        "def write(folder, version):\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), 9)\n"
        "Store(pathlib.Path(sys.argv[1])).publish('bags', write)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    store = Store(tmp_path)
    assert store.names() == []
    assert list((tmp_path / "models/bags").glob(f"{PARTIAL}*"))
    store.publish("bags", write)
    assert not list((tmp_path / "models/bags").glob(f"{PARTIAL}*"))
    assert store.versions("bags") == ["1"]


def test_another_machines_partial_folder_is_left_alone_for_a_day(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish("bags", write)
    left = tmp_path / "models/bags" / f"{PARTIAL}elsewhere-1-x"
    left.mkdir()
    store.publish("bags", write)
    assert left.exists()
    old = time.time() - PARTIAL_KEPT_SECONDS - 1
    os.utime(left, (old, old))
    store.publish("bags", write)
    assert not left.exists()


def test_a_name_or_version_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ModelNotFound, match="no model yet"):
        store.resolve()
    store.publish("bags", write)
    store.publish("hats", write)
    with pytest.raises(UsageError, match="bags, hats"):
        store.resolve()
    with pytest.raises(ModelNotFound, match="bags, hats"):
        store.resolve("shoes")
    with pytest.raises(ModelNotFound, match="versions of bags: 1"):
        store.resolve("bags:7")
    with pytest.raises(ModelNotFound):
        store.resolve("bags:../../hats/1")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-rf", ".hidden", "a:b", "x" * 101, "a\0b", "dot."])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        check_name(name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("photos", "photos"), ("Sac à main", "Sac à main"), ("靴", "靴"), ("-rf", "rf"), ('a,b"c', "a-b-c")],
)
def test_a_folders_name_becomes_a_models_name(tmp_path: Path, folder: str, name: str) -> None:
    assert check_name(name_from_folder(tmp_path / folder)) == name
