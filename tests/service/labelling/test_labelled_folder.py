"""Where labels land: links and a manifest that training reads, right again after a kill at any moment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from handful.service.artifact.errors import UsageError
from handful.service.artifact.sources.folders import MANIFEST
from handful.service.artifact.sources.reader import read_source
from handful.service.labelling.folder import LabelledFolder
from handful.service.labelling.labelling import Labelling
from handful.service.labelling.pool import PhotoPool
from handful.service.library.library import Kept, NewPhoto, PhotoLibrary
from running_server import encoded

OTHER_DISK = Path("/dev/shm")  # noqa: S108 - in a folder of its own


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five photos, two of the same name, and what is no photo."""
    folder = tmp_path / "source"
    for number, name in enumerate(("a.jpg", "b.jpg", "more/a.jpg", "more/c.jpg", "d.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(seed=number))
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> LabelledFolder:
    return LabelledFolder(tmp_path / "out")


def made(tmp_path: Path, source: Path, out: LabelledFolder | None, model: str = "bags") -> Labelling:
    root = tmp_path / "photos" / model
    root.mkdir(parents=True, exist_ok=True)
    return Labelling(PhotoPool(source), out, PhotoLibrary(root, 10_000_000, 1000))


def give(labelling: Labelling, label: str, *names: str) -> list[str]:
    """Labels photos as the call does, and returns their ids in the library."""
    photos = labelling.pool.photos()
    ids = [each.id for each in photos.values() if each.name in names]
    folder = labelling.library.hidden / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [each for each in labelling.parts(ids, folder, 1_000_000) if isinstance(each, NewPhoto)]
    kept = labelling.library.add(parts, label)
    labelling.write()
    return [each.photo.id for each in kept if isinstance(each, Kept)]


def tree(folder: LabelledFolder) -> list[str]:
    return sorted(each.relative_to(folder.root).as_posix() for each in folder.root.rglob("*.*g"))


def test_labels_land_as_links_and_as_rows_that_training_reads(
    tmp_path: Path, source: Path, folder: LabelledFolder
) -> None:
    labelling = made(tmp_path, source, folder)
    assert {each.name for each in labelling.open()} == {"a.jpg", "b.jpg", "more/a.jpg", "more/c.jpg", "d.png"}
    give(labelling, "red", "a.jpg", "more/a.jpg", "b.jpg")
    give(labelling, "train", "d.png")
    assert tree(folder) == ["red/a-2.jpg", "red/a.jpg", "red/b.jpg", "train/d.png"]
    assert [each.name for each in labelling.waiting()] == ["more/c.jpg"]
    assert (folder.root / "red/b.jpg").samefile(source / "b.jpg")
    for given in (folder.root, folder.root / MANIFEST):
        read = read_source(given)
        assert sorted((photo.path.name, photo.label) for photo in read.train.photos) == [
            *(("a-2.jpg", "red"), ("a.jpg", "red"), ("b.jpg", "red"), ("d.png", "train"))
        ]
        assert not read.train.problems
    assert sorted(each.name for each in source.rglob("*")) == [
        *("a.jpg", "a.jpg", "b.jpg", "c.jpg", "d.png", "more", "notes.txt")
    ]


def test_what_is_undone_moved_or_renamed_elsewhere_is_followed(
    tmp_path: Path, source: Path, folder: LabelledFolder
) -> None:
    labelling = made(tmp_path, source, folder)
    labelling.open()
    first, second = give(labelling, "red", "a.jpg", "b.jpg")
    stamp = labelling.written
    assert labelling.stamp == stamp
    labelling.library.delete([first])
    labelling.library.move([second], "blue")
    assert labelling.stamp != stamp
    labelling.write()
    assert len(tree(folder)) == 1
    assert tree(folder)[0].startswith("blue/")
    assert not (folder.root / "red").exists()
    assert len(labelling.waiting()) == 4
    (third,) = give(labelling, "red", "d.png")
    labelling.library.delete([third])
    assert "d.png" in {each.name for each in labelling.open()}  # at once, before it was followed
    labelling.library.rename_label("blue", "green")
    labelling.write()
    assert tree(folder)[0].startswith("green/")


@pytest.mark.parametrize("copy", [True, False])
def test_a_killed_writing_is_finished_by_the_next(tmp_path: Path, source: Path, *, copy: bool) -> None:
    folder = LabelledFolder(tmp_path / "out", copy=copy)
    labelling = made(tmp_path, source, folder)
    labelling.open()
    give(labelling, "red", "a.jpg", "b.jpg")
    manifest = (folder.root / MANIFEST).read_text()
    give(labelling, "red", "d.png")
    (folder.root / MANIFEST).write_text(manifest)  # killed before the manifest knew of d.png
    (folder.root / "red/b.jpg").unlink()  # and b.jpg was to move
    again = made(tmp_path, source, folder)
    assert {each.name for each in again.open()} == {"more/a.jpg", "more/c.jpg"}
    assert tree(folder) == ["red/a.jpg", "red/b.jpg", "red/d.png"]
    assert {row.path for row in folder.rows().values()} == {"red/a.jpg", "red/b.jpg", "red/d.png"}
    assert (folder.root / "red/a.jpg").samefile(source / "a.jpg") is not copy


def test_what_was_labelled_for_another_model_is_labelled(tmp_path: Path, source: Path, folder: LabelledFolder) -> None:
    labelling = made(tmp_path, source, folder)
    labelling.open()
    give(labelling, "red", "a.jpg", "b.jpg")
    (folder.root / "red/b.jpg").unlink()
    (folder.root / "red/b.jpg").write_bytes(b"another photo")  # not what the row says
    other = made(tmp_path, source, folder, "other")
    assert {each.name for each in other.open()} == {"b.jpg", "more/a.jpg", "more/c.jpg", "d.png"}
    assert [(each.label, each.name) for each in other.library.photos()] == [("red", "a.jpg")]


def test_copies_in_the_library_are_known_by_their_bytes(tmp_path: Path, source: Path) -> None:
    """As where it lies on another disk."""
    labelling = made(tmp_path, source, None)
    label = labelling.library.root / "red"
    label.mkdir(parents=True)
    (label / "called otherwise.jpg").write_bytes((source / "a.jpg").read_bytes())
    assert {each.name for each in labelling.open()} == {"b.jpg", "more/a.jpg", "more/c.jpg", "d.png"}


def test_what_cannot_be_a_folder_for_labels_is_refused(tmp_path: Path, source: Path) -> None:
    for out in (source, source / "out", tmp_path):
        with pytest.raises(UsageError, match="one lies in the other"):
            LabelledFolder(out).check(source)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a folder that you may write is expected"):
        LabelledFolder(tmp_path / "file").check(source)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("file,class\na.jpg,red\n")
    with pytest.raises(UsageError, match="has the columns file, class; path, label, source are expected"):
        LabelledFolder(tmp_path / "out").check(source)


def test_on_another_disk_a_link_is_a_symbolic_one(source: Path) -> None:
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == source.stat().st_dev:
        pytest.skip("needs a second disk")
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as other:
        out = LabelledFolder(Path(other) / "out")
        for _ in range(2):
            out.write({source / "a.jpg": "red"})
            assert (out.root / "red/a.jpg").readlink() == source / "a.jpg"
            assert [row.label for row in out.rows().values()] == ["red"]
