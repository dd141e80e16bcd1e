"""Which files of a folder count, in which order, whatever lies in it."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

from handful.service.artifact.image_files import LEADS_BACK, images, relative_name, walk


def touch(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_hidden_files_and_what_systems_leave_behind_are_not_walked(tmp_path: Path) -> None:
    for name in (
        ".a.jpg",
        ".git/b.jpg",
        "__MACOSX/c.jpg",
        "Thumbs.db",
        ".DS_Store",
        ".ipynb_checkpoints/d.jpg",
        "e.jpg",
    ):
        touch(tmp_path / name)
    assert [p.name for p in walk(tmp_path)] == ["e.jpg"]


def test_files_come_sorted_and_folders_depth_first(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.jpg", "a/y/x.jpg", "c.jpg"):
        touch(tmp_path / name)
    assert [relative_name(p, tmp_path) for p in walk(tmp_path)] == ["a/y/x.jpg", "a/z.jpg", "b.jpg", "c.jpg"]


def test_links_to_folders_make_no_loops_and_links_to_files_count(tmp_path: Path) -> None:
    touch(tmp_path / "a/photo.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/above").symlink_to(tmp_path.parent)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a/link.jpg").symlink_to(tmp_path / "a/photo.jpg")
    left_out = Counter[str]()
    assert [p.name for p in walk(tmp_path, left_out)] == ["link.jpg", "photo.jpg"]
    assert left_out == {LEADS_BACK: 3}


def test_linked_folders_are_followed_each_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    touch(inside / "own.jpg")
    touch(outside / "deep/photo.jpg")
    (outside / "deep/again").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (inside / "more").symlink_to(outside)
    (inside / "same").symlink_to(outside / "deep")
    left_out = Counter[str]()
    names = [relative_name(p, inside) for p in walk(inside, left_out)]
    assert names == ["more/deep/photo.jpg", "own.jpg"]
    assert left_out == {LEADS_BACK: 3}
    linked = tmp_path / "linked"
    linked.symlink_to(inside)
    assert [relative_name(p, linked) for p in walk(linked)] == names  # what is asked for may be a link itself


def test_twelve_hundred_nested_folders_are_walked(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    back = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")
        Path("deep.jpg").touch()
    finally:
        os.fchdir(here)
        os.close(here)
        os.chdir(back)
    assert [p.name for p in walk(tmp_path)] == ["deep.jpg"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # shutil.rmtree recurses too deep


def test_names_that_are_no_utf8_can_be_written_down(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    touch(path)
    assert [relative_name(p, tmp_path) for p in images(tmp_path)] == ["caf\\xe9.jpg"]


def test_only_files_that_promise_an_image_are_images(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt", b"words")
    touch(tmp_path / "more/NOTES.TXT", b"words")
    touch(tmp_path / "phone.heic", b"x")
    touch(tmp_path / "phone.mov", b"\0\0\0\x14ftypqt  ")
    touch(tmp_path / "camera.RW2", b"x")
    touch(tmp_path / "no-ending", b"\xff\xd8\xff\xe0")
    touch(tmp_path / "words", b"x")
    touch(tmp_path / ".DS_Store", b"x")
    left_out = Counter[str]()
    assert [p.name for p in images(tmp_path, left_out)] == ["camera.RW2", "no-ending", "phone.heic"]
    assert left_out == {".txt": 2, ".mov": 1, "hidden": 1, "without an ending": 1}
