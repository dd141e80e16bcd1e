"""Which files of a folder count, in which order, whatever lies in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from handful.service.artifact.image_files import images, relative_name, walk


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
    (tmp_path / "a/link.jpg").symlink_to(tmp_path / "a/photo.jpg")
    assert [p.name for p in walk(tmp_path)] == ["link.jpg", "photo.jpg"]


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
    touch(tmp_path / "phone.heic", b"x")
    touch(tmp_path / "no-ending", b"\xff\xd8\xff\xe0")
    assert [p.name for p in images(tmp_path)] == ["no-ending", "phone.heic"]
