"""Versions appear whole or not at all, and one pointer says which is served."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from handful.service.artifact.atomic import PARTIAL, PARTIAL_KEPT_SECONDS, replace_text, sweep
from handful.service.artifact.errors import ArtifactError, ModelNotFound, UsageError
from handful.service.artifact.names import check_name, name_from_folder
from handful.service.artifact.store import Store


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
        "from handful.service.artifact.store import Store\n"
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


def test_a_text_that_was_not_written_whole_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    """As on a full disk; what a killed command had begun of one is swept."""
    pointer = tmp_path / "champion"
    replace_text(pointer, "1\n")
    with pytest.raises(UnicodeEncodeError):
        replace_text(pointer, "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["champion"]
    code = (
        "import os, sys, pathlib\n"
        "from handful.service.artifact import atomic\n"
        "sys.addaudithook(lambda event, _: event == 'os.rename' and os.kill(os.getpid(), 9))\n"
        "atomic.replace_text(pathlib.Path(sys.argv[1]), '2')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(pointer)], check=False).returncode == -9
    assert len(list(tmp_path.glob(f"{PARTIAL}*"))) == 1
    sweep(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["1\n"]


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


@pytest.fixture
def three(tmp_path: Path, artifact: Path) -> Store:
    """Three versions of `colours` that load; the first is champion."""
    store = Store(tmp_path)

    def copy(folder: Path, version: str) -> None:  # noqa: ARG001 - as publish calls it
        shutil.copytree(artifact, folder, dirs_exist_ok=True)

    for _ in range(3):
        store.publish("colours", copy)
    return store


def test_rolling_back_pops_champions_off_a_stack(three: Store) -> None:
    """A rollback after a rollback goes further back, and what was promoted afterwards lies on top again."""
    three.promote("colours", "2")
    three.promote("colours", "3")
    assert three.rollback("colours") == "2"
    three.promote("colours", "3")
    assert [three.rollback("colours"), three.rollback("colours")] == ["2", "1"]
    with pytest.raises(UsageError, match="no champion before colours:1"):
        three.rollback("colours")
    assert three.champion("colours") == "1"


def test_rolling_back_to_a_version_takes_off_all_above_it(three: Store) -> None:
    for version in ("2", "3"):
        three.promote("colours", version)
    assert three.rollback("colours", "1") == "1"
    with pytest.raises(UsageError, match="'3'; earlier champions of colours that still exist: none"):
        three.rollback("colours", "3")


def test_rolling_back_passes_over_what_was_deleted_and_refuses_what_is_broken(three: Store) -> None:
    for version in ("2", "3"):
        three.promote("colours", version)
    three.delete("colours", "2")
    (three.path("colours", "1") / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"no config\.json"):
        three.rollback("colours")
    assert three.champion("colours") == "3"
    with pytest.raises(UsageError, match="still exist: 1"):
        three.rollback("colours", "2")


def test_a_pointer_without_its_record_or_a_torn_record_is_what_counts(three: Store) -> None:
    """Killed between the two writes, or moved by hand: history gives way."""
    three.promote("colours", "2")
    folder = three.models / "colours"
    with (folder / "champions").open("a") as file:
        file.write('\n{"at":"2026-01-01T00:00:00Z","former":"2","champ')
    three.promote("colours", "3")
    (folder / "champion").write_text("1\n")
    assert three.earlier_champions("colours") == []
    three.promote("colours", "2")
    assert three.earlier_champions("colours") == ["1"]


def test_the_champion_cannot_be_deleted_while_others_stand(three: Store) -> None:
    with pytest.raises(UsageError, match="make one of them the champion first"):
        three.delete("colours", "1")
    three.promote("colours", "2")
    assert three.delete("colours", "1") == ["1"]
    assert three.versions("colours") == ["2", "3"]
    with pytest.raises(ModelNotFound, match="versions of colours: 2, 3"):
        three.delete("colours", "1")


def test_a_deleted_number_is_not_given_again(tmp_path: Path) -> None:
    """Not even after everything of that name is gone; and the next version is a first one, so it is champion."""
    store = Store(tmp_path)
    for _ in range(3):
        store.publish("bags", write)
    store.delete("bags", "3")
    assert store.publish("bags", write).name == "4"
    assert store.delete("bags") == ["1", "2", "4"]
    assert store.names() == []
    assert store.publish("bags", write).name == "5"
    assert store.champion("bags") == "5"
    assert store.delete("bags", "5") == ["5"]


def test_a_killed_delete_leaves_the_whole_version_or_none(three: Store) -> None:
    """Killed while its files go, one by one, nothing of it is listed and the next command sweeps."""
    code = (
        "import os, sys, pathlib, shutil\n"
        "from handful.service.artifact import atomic\n"
        "from handful.service.artifact.store import Store\n"
        "sys.addaudithook(lambda event, _: event == 'shutil.rmtree' and os.kill(os.getpid(), 9))\n"
        "Store(pathlib.Path(sys.argv[1])).delete('colours', '2')\n"
    )
    root = str(three.models.parent)
    assert subprocess.run([sys.executable, "-c", code, root], check=False).returncode == -9
    assert three.versions("colours") == ["1", "3"]
    assert list((three.models / "colours").glob(f"{PARTIAL}*"))
    three.delete("colours", "3")
    assert not list((three.models / "colours").glob(f"{PARTIAL}*"))


def test_deleting_what_another_promotes_never_leaves_a_champion_that_is_not_there(three: Store, artifact: Path) -> None:
    """Nor does publishing while everything is deleted; who comes too late is told so."""

    def write(folder: Path, _: str) -> None:
        shutil.copytree(artifact, folder, dirs_exist_ok=True)

    def publish() -> None:
        three.publish("colours", write)

    def attempt(change: Callable[[], object]) -> None:
        with suppress(ModelNotFound, UsageError):
            change()

    with ThreadPoolExecutor(3) as pool:
        for number in range(2, 12):
            newest = three.versions("colours")[-1]
            doomed = newest if number % 2 else None
            changes = [partial(three.promote, "colours", newest), partial(three.delete, "colours", doomed), publish]
            list(pool.map(attempt, changes))
            if not three.versions("colours"):  # the new version was there when all were deleted
                assert three.champion("colours") is None
                publish()
            assert three.champion("colours") in three.versions("colours")


def test_a_champion_that_somebody_removed_is_one_sentence(three: Store) -> None:
    """It names the way out, and each of the others can still be had."""
    three.promote("colours", "3")
    shutil.rmtree(three.path("colours", "3"))
    with pytest.raises(ModelNotFound, match=r"version 3, which no longer exists.*promote colours:VERSION.*: 1, 2\."):
        three.resolve("colours")
    assert three.resolve("colours:2").name == "2"
    assert three.rollback("colours") == "1"
    assert three.resolve("colours").name == "1"


def test_a_lost_pointer_is_no_promotion(three: Store) -> None:
    """The newest version may have been held back: the last champion stays, for publishing and comparing, too."""
    three.promote("colours", "2")
    pointer = three.models / "colours/champion"
    pointer.unlink()
    assert three.resolve("colours").name == "2"
    assert three.publish("colours", write).name == "4"
    assert three.resolve("colours").name == "2"
    assert not three.promote("colours", "3", over="1")
    assert three.promote("colours", "3", over="2")
    pointer.write_text("")  # torn
    assert three.promote("colours", "3")
    assert pointer.read_text() == "3\n"
    assert three.rollback("colours") == "2"


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
