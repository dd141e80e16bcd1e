"""The photo library: plain files that training can read, whole after a kill, and one for all who change it at once."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from handful.service.artifact.atomic import scratch_folder
from handful.service.artifact.images import content_sha256
from handful.service.artifact.trash import Trash
from handful.service.http.errors import LabelWrong
from handful.service.http.library_errors import LibraryFull, NoSuchLabel, NoSuchPhoto, NothingToLearn, TooFewPhotos
from handful.service.library.contents import FILE
from handful.service.library.labels import suffix_of
from handful.service.library.library import HIDDEN, Kept, NewPhoto, PhotoLibrary
from handful.service.library.listing import label_counts
from handful.service.library.photo_names import free_name, photo_name, sent_name
from handful.service.library.problems import problems_of, save_problems
from handful.service.library.snapshot import MIN_PHOTOS, copy_all, copy_waiting
from handful.training.photos.inspection import MIN_IMAGES
from handful.training.photos.sources import read_folder
from running_server import encoded

MANY = 10_000_000


@pytest.fixture
def library(tmp_path: Path) -> PhotoLibrary:
    return made(tmp_path / "photos/bags")


def made(root: Path, most_bytes: int = MANY, most_photos: int = 1000) -> PhotoLibrary:
    root.mkdir(parents=True, exist_ok=True)
    return PhotoLibrary(root, most_bytes, most_photos)


def new(library: PhotoLibrary, data: bytes, name: str = "a.jpg") -> NewPhoto:
    library.create()
    part = scratch_folder(library.hidden) / "0"
    part.write_bytes(data)
    return NewPhoto(part, name, content_sha256(data), suffix_of(data))


def add(library: PhotoLibrary, label: str, *photos: bytes, name: str = "a.jpg", move: bool = False) -> list[str]:
    results = library.add([new(library, data, name) for data in photos], label, move=move)
    return ["same" if isinstance(each, Kept) and each.same else type(each).__name__ for each in results]


def places(library: PhotoLibrary) -> set[str]:
    return {photo.place for photo in library.photos()}


def test_photos_are_plain_files_under_their_own_names_that_training_reads(library: PhotoLibrary) -> None:
    one, two, three = (encoded(seed=seed) for seed in range(3))
    assert add(library, "shoes", one, two) == ["Kept", "Kept"]
    assert add(library, "sac à main", three, name="photo") == ["Kept"]
    assert (library.root / "shoes/a.jpg").read_bytes() == one
    assert (library.root / "shoes/a-2.jpg").read_bytes() == two
    assert (library.root / "sac à main/photo.jpg").read_bytes() == three
    dataset = read_folder(library.root)
    assert set(dataset.labels) == {"shoes", "sac à main"}
    assert len(dataset.examples) == 3
    assert not dataset.problems
    assert library.hidden.stat().st_mode & 0o077 == 0
    assert add(library, "sac à main", one) == ["same"]
    assert label_counts(library.photos()) == {"shoes": 2, "sac à main": 1}


def test_what_a_person_changes_by_hand_is_seen(library: PhotoLibrary) -> None:
    data = encoded(seed=5)
    folder = library.root / "Stiefel/rot"
    folder.mkdir(parents=True)
    (folder / "x.JPG").write_bytes(data)
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.jpg").write_bytes(data)
    (photo,) = library.photos()
    assert (photo.id, photo.label, photo.place) == (content_sha256(data), "Stiefel", "Stiefel/rot/x.JPG")
    (folder / "x.JPG").rename(library.root / "Stiefel/y.jpg")
    assert library.find(photo.id).name == "y.jpg"
    (library.root / "Stiefel/y.jpg").write_bytes(encoded(seed=6))
    with pytest.raises(NoSuchPhoto):
        library.find(photo.id)


def test_a_damaged_cache_is_begun_again(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded())
    for junk in (b"junk" * 999, b""):
        (library.hidden / FILE).write_bytes(junk)
        again = PhotoLibrary(library.root, MANY, 10)
        assert places(again) == {"shoes/a.jpg"}
        assert places(PhotoLibrary(library.root, MANY, 10)) == {"shoes/a.jpg"}


def test_moves_and_deletions_can_be_undone(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded(seed=1), encoded(seed=2))
    add(library, "bags", encoded(seed=3))
    ids = {photo.name: photo.id for photo in library.photos() if photo.label == "shoes"}
    trash = Trash(library.root.parent.parent)
    moved, moving = library.move(ids.values(), "bags")
    assert moved == 2
    assert places(library) == {"bags/a.jpg", "bags/a-2.jpg", "bags/a-3.jpg"}
    deleted, deletion = library.delete(ids.values())
    assert deleted == 2
    assert places(library) == {"bags/a.jpg"}
    with pytest.raises(NoSuchPhoto):
        library.delete(ids.values())
    assert "2 photos" in trash.undo(deletion.token)
    assert "2 photos" in trash.undo(moving.token)
    assert {photo.name: photo.id for photo in library.photos() if photo.label == "shoes"} == ids
    assert places(library) == {"bags/a.jpg", "shoes/a.jpg", "shoes/a-2.jpg"}


def test_a_move_that_was_killed_halfway_is_put_back(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded(seed=1))
    (photo,) = library.photos()
    trash = Trash(library.root.parent.parent)
    token = library.move([photo.id], "bags")[1].token
    (trash.folder / token / "whole").unlink()
    trash.sweep()
    assert places(library) == {"shoes/a.jpg"}


def test_a_photo_that_comes_back_never_replaces_another_of_its_name(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded(seed=1))
    (photo,) = library.photos()
    token = library.delete([photo.id])[1].token
    add(library, "shoes", encoded(seed=2))
    Trash(library.root.parent.parent).undo(token)
    assert len(library.photos()) == 2
    assert len(places(library)) == 2


def test_a_library_that_was_renamed_is_not_begun_anew_under_its_old_name(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded())
    waiting = new(library, encoded(seed=1))
    library.root.rename(library.root.with_name("sacs"))
    for change in (
        lambda: library.add([waiting], "shoes"),
        lambda: library.add_label("x"),
        lambda: library.move(["0" * 64], "x"),
        lambda: library.delete_label("shoes"),
    ):
        with pytest.raises(FileNotFoundError):
            change()
    assert not library.root.exists()
    assert places(PhotoLibrary(library.root.with_name("sacs"), MANY, 1000)) == {"shoes/a.jpg"}


def test_a_corrected_photo_moves_to_its_label(library: PhotoLibrary) -> None:
    data = encoded()
    add(library, "shoes", data)
    assert add(library, "bags", data, move=True) == ["same"]
    assert places(library) == {"bags/a.jpg"}


def test_labels_are_made_renamed_merged_and_deleted(library: PhotoLibrary) -> None:
    assert library.add_label("Schu\u0308he") == "Schühe"
    assert library.labels() == ["Schühe"]
    add(library, "shoes", encoded(seed=1))
    add(library, "bags", encoded(seed=2), encoded(seed=3))
    assert library.rename_label("shoes", "Shoes") == (1, False)
    assert library.rename_label("bags", "Shoes") == (2, True)
    assert library.labels() == ["Schühe", "Shoes"]
    assert len(library.photos()) == 3
    with pytest.raises(LabelWrong, match="written 'Shoes'"):
        library.add_label("SHOES")
    with pytest.raises(NoSuchLabel):
        library.rename_label("bags", "x")
    token = library.delete_label("Shoes").token
    assert library.photos() == []
    Trash(library.root.parent.parent).undo(token)
    assert len(library.photos()) == 3


@pytest.mark.parametrize("label", ["", "..", "../x", "a/b", "a\\b", ".x", "x" * 101, "nul", "a\n", "=cmd|' /C'!A0"])
def test_a_label_cannot_lead_elsewhere(library: PhotoLibrary, label: str) -> None:
    for change in (
        library.add_label,
        lambda label: add(library, "shoes", encoded()) and library.rename_label("shoes", label),
    ):
        with pytest.raises(LabelWrong):
            change(label)
    assert {path.name for path in library.root.parent.iterdir()} <= {"bags"}


def test_there_is_a_limit_to_photos_and_to_bytes(tmp_path: Path) -> None:
    data = [encoded(seed=seed) for seed in range(4)]
    few = made(tmp_path / "photos/few", MANY, 3)
    assert add(few, "shoes", *data) == ["Kept"] * 3 + ["LibraryFull"]
    small = made(tmp_path / "photos/small", len(data[0]) + 10, 100)
    assert add(small, "shoes", *data[:2]) == ["Kept", LibraryFull.__name__]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("shoe.JPG", "shoe.JPG"),
        ("C:\\photos\\shoe.png", "shoe.png"),
        ("../../etc/passwd", "passwd.jpg"),
        ("IMG 1", "IMG 1.jpg"),
        ("Stra\u00c3\u0178e.jpg", "Stra\u00c3\u0178e.jpg"),
        ("Stra\u00c3\u009fe.jpg", "Straße.jpg"),
        ("x" * 300 + ".jpeg", "0" * 16 + ".jpg"),
        ("é" * 120 + ".jpg", "é" * 107 + ".jpg"),
        *((bad, "0" * 16 + ".jpg") for bad in ("", ".", "..", ".hidden.jpg", "nul.jpg", "a\nb.jpg", "thumbs.db")),
    ],
)
def test_a_photo_keeps_a_name_that_can_be_one(sent: str, name: str) -> None:
    assert photo_name(sent_name(sent), "0" * 64, "jpg") == name


def test_names_that_differ_in_capitals_alone_are_one_name() -> None:
    assert free_name("A.jpg", {"a.jpg", "a-2.jpg"}) == "A-3.jpg"


def test_many_at_once_keep_every_photo_once(tmp_path: Path) -> None:
    images = [encoded(seed=seed, side=8) for seed in range(12)]

    def work(number: int) -> None:
        library = made(tmp_path / "photos/bags")
        for image in images:
            add(library, f"label {number % 3}", image)
        library.move([content_sha256(images[number])], "label 0")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    library = PhotoLibrary(tmp_path / "photos/bags", MANY, 1000)
    assert sorted(photo.id for photo in library.photos()) == sorted(map(content_sha256, images))


def change_until_killed(root: Path, said: Connection) -> None:
    library = PhotoLibrary(root, MANY, 1000)
    for seed in range(1000):
        add(library, "shoes", encoded(seed=seed), name=f"{seed}.jpg")
        photos = library.photos()
        said.send(seed)
        library.move([photos[len(photos) // 2].id], "bags" if seed % 2 else "hats")
        if seed % 5 == 4:
            library.delete([photos[0].id])


def test_a_kill_leaves_whole_photos_only(library: PhotoLibrary, tmp_path: Path) -> None:
    """A process that adds, moves and deletes is killed; what is there then are whole photos, and no other files."""
    written = {content_sha256(encoded(seed=seed)) for seed in range(100)}
    fork = multiprocessing.get_context("fork")
    for after in (3, 11):
        ours, theirs = fork.Pipe()
        process = fork.Process(target=change_until_killed, args=(library.root, theirs))
        process.start()
        for _ in range(after):
            ours.recv()
        process.kill()
        process.join()
        Trash(tmp_path).sweep()
        photos = library.photos()
        assert len(photos) >= after - after // 5 - 1
        assert {content_sha256(photo.path.read_bytes()) for photo in photos} <= written
        add(library, "shoes", encoded(seed=77))
        left = [path.name for path in library.hidden.iterdir() if path.name.startswith(".partial")]
        assert all(f"-{os.getpid()}-" in name for name in left)


def test_a_job_gets_the_photos_as_they_were(library: PhotoLibrary, tmp_path: Path) -> None:
    assert MIN_PHOTOS == MIN_IMAGES
    with pytest.raises(TooFewPhotos, match="none"):
        copy_all(library, tmp_path / "job")
    add(library, "shoes", *(encoded(seed=seed) for seed in range(5)))
    add(library, "bags", *(encoded(seed=10 + seed) for seed in range(4)))
    with pytest.raises(TooFewPhotos, match="4 of bags, 5 of shoes"):
        copy_all(library, tmp_path / "job")
    add(library, "bags", encoded(seed=20))
    contents = copy_all(library, tmp_path / "job")
    library.delete([photo.id for photo in library.photos()])
    assert len(contents) == 10
    assert all(content_sha256((tmp_path / "job" / place).read_bytes()) == each for place, each in contents.items())
    with pytest.raises(NothingToLearn):
        copy_waiting(library, "bags", tmp_path / "again")


def test_problems_are_shown_until_the_photos_change(library: PhotoLibrary) -> None:
    add(library, "shoes", encoded(seed=1), encoded(seed=2))
    add(library, "bags", encoded(seed=3))
    ids = {photo.place: photo.id for photo in library.photos()}
    found = [
        {"path": "shoes/a.jpg", "kind": "two_labels", "detail": "The same picture is bags/a.jpg; keep one."},
        {"path": "shoes/a-2.jpg", "kind": "image_truncated", "detail": "It is cut off."},
        {"path": "bags", "kind": "imbalance", "detail": "It has 1."},
    ]
    save_problems(library.hidden, {"problems": found}, ids)

    def kinds() -> dict[str, list[str]]:
        problems = problems_of(library.hidden, library.photos(), library.contents)
        return {place: [each.kind for each in own] for place, own in problems.items()}

    assert kinds() == {"shoes/a.jpg": ["in_two_labels"], "shoes/a-2.jpg": ["unreadable"]}
    library.delete([ids["bags/a.jpg"]])
    assert kinds() == {"shoes/a-2.jpg": ["unreadable"]}
    library.move([ids["shoes/a-2.jpg"]], "bags")
    assert kinds() == {}
    (library.root / "hats").mkdir()
    os.link(library.root / "shoes/a.jpg", library.root / "hats/b.jpg")
    assert kinds() == {"shoes/a.jpg": ["in_two_labels"], "hats/b.jpg": ["in_two_labels"]}
    (library.hidden / "problems.json").write_text("junk")
    assert (library.root / HIDDEN).is_dir()
    assert len(kinds()) == 2
