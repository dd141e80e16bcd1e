"""Whatever a zip may be: a labelled folder comes out of it, or one clear error, and nothing lands anywhere else."""

from __future__ import annotations

import io
import random
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from handful.service.http.errors import (
    ArchiveDamaged,
    ArchiveEmpty,
    ArchiveError,
    ArchiveTooLarge,
    ArchiveUnlabelled,
    ArchiveUnsafe,
    ArchiveUnsupported,
    NotAnArchive,
)
from handful.service.jobs.archive import Limits, unpack
from zips import overlapping, renamed, special, zipped

ELSEWHERE = (
    *("../evil.jpg", "a/../../evil.jpg", "a/..", "/etc/evil.jpg", "//host/evil.jpg", "C:/evil.jpg", "c:evil.jpg"),
    *("a\\..\\..\\evil.jpg", "..\\evil.jpg", "./a/b.jpg", "a/./b.jpg", "a//b.jpg"),
    *("__MACOSX/../../evil", "a/.hidden/../../../evil"),  # also where it would be left out
)
ABSURD = (
    *("a/b\nc.jpg", "a/\x1b[2J.jpg", "a/x\u202egpj.exe", "a/\x7f.jpg", "a/" + "b" * 256, "a/" + "ü" * 128),
    *("a" * 5000 + "/b", "/".join("abcd" * 300), "x" * 40_000),
    *("a/con", "AUX/1.jpg", "a/nul.jpg", "a/lpt1", "a /1.jpg", "a/1.jpg."),
)
LIMITS = Limits(files=100, unpacked_bytes=10_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two levels down, so that what climbs out of it would be seen."""
    made = tmp_path / "jobs" / "photos"
    made.mkdir(parents=True)
    return made


def unpacked(data: bytes, folder: Path, limits: Limits = LIMITS, labels: tuple[str, ...] = ()) -> list[str]:
    source = folder.parent / "photos.zip"
    source.write_bytes(data)
    unpack(source, folder, limits, labels)
    return found(folder)


def found(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(data: bytes, folder: Path, error: type[ArchiveError], limits: Limits = LIMITS) -> str:
    with pytest.raises(error) as e:
        unpacked(data, folder, limits)
    outside = {path for path in folder.parents[1].rglob("*") if not path.is_relative_to(folder)}
    assert outside == {folder.parent, folder.parent / "photos.zip"}
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    sentence = str(e.value)
    assert sentence.endswith(".")
    assert len(sentence) < 300
    assert sentence.isprintable()
    return sentence


def test_labels_come_out_as_they_went_in(folder: Path) -> None:
    files = {
        "shoes/1.jpg": b"a",
        "Sac à main/x/2.png": b"b" * 99,
        "靴/3.webp": b"",
        "-rf/4.jpg": b"c",
        'a,"b/5.jpg': b"d",
    }
    assert unpacked(zipped(files), folder) == sorted(files)
    for name, data in files.items():
        assert (folder / name).read_bytes() == data


def test_one_folder_around_the_labels_is_left_out(folder: Path) -> None:
    files = {"photos/": b"", "photos/a/1.jpg": b"1", "photos/b/2.jpg": b"2", "photos/notes.txt": b""}
    assert unpacked(zipped(files), folder) == ["a/1.jpg", "b/2.jpg", "notes.txt"]


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ({"shoes/1.jpg": b"", "shoes/2.jpg": b""}, ()),
        ({"shoes/2024/1.jpg": b""}, ("shoes",)),
        ({"shoes/1.jpg": b"", "shoes/2024/1.jpg": b""}, ()),
        ({"1.jpg": b"", "shoes/1.jpg": b""}, ()),
    ],
)
def test_a_folder_that_is_a_label_stays(folder: Path, files: dict[str, bytes], labels: tuple[str, ...]) -> None:
    assert unpacked(zipped(files), folder, labels=labels) == sorted(files)


def test_what_systems_leave_behind_is_left_out(folder: Path) -> None:
    junk = ["__MACOSX/a/._1.jpg", ".DS_Store", "a/.DS_Store", "a/Thumbs.db", ".git/config"]
    assert unpacked(zipped({"a/1.jpg": b"1", **dict.fromkeys(junk, b"x")}), folder) == ["a/1.jpg"]


def test_a_name_in_utf_8_that_does_not_say_so_is_understood(folder: Path) -> None:
    as_macos = renamed(zipped({"sch__he/1.jpg": b"1"}), b"sch__he", "schühe".encode())
    assert unpacked(as_macos, folder) == ["schühe/1.jpg"]


def test_a_zip_in_the_zip_stays_a_file(folder: Path) -> None:
    inner = zipped({"../../evil": b"x"})
    assert unpacked(zipped({"a/1.jpg": b"1", "a/inner.zip": inner}), folder) == ["a/1.jpg", "a/inner.zip"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_path_that_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    refused(zipped({"a/1.jpg": b"1", name: b"x"}), folder, ArchiveUnsafe)


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_name_is_refused(folder: Path, name: str) -> None:
    refused(zipped({"a/1.jpg": b"1", name: b"x"}), folder, ArchiveUnsafe)


def test_a_name_with_a_nul_or_broken_utf_8_is_refused(folder: Path) -> None:
    refused(renamed(zipped({"a/b_.jpg": b""}), b"a/b_.jpg", b"a/b\0.jpg"), folder, ArchiveUnsafe)
    refused(renamed(zipped({"a/b_.jpg": b""}), b"a/b_.jpg", b"a/b\xff.jpg", flags=0x800), folder, ArchiveUnsafe)


@pytest.mark.parametrize(
    "names",
    [
        ("a/1.jpg", "a/1.JPG"),
        ("a/1.jpg", "A/2.jpg"),
        ("a/é.jpg", "a/e\u0301.jpg"),
        ("a/b", "a/b/1.jpg"),
        ("ß/1", "SS/1"),
    ],
)
def test_names_that_some_file_system_takes_for_one_are_refused(folder: Path, names: tuple[str, str]) -> None:
    refused(zipped(dict.fromkeys(names, b"x")), folder, ArchiveUnsafe)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(folder: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/1.jpg", b"1")
        archive.writestr("a/1.jpg", b"2")
    refused(out.getvalue(), folder, ArchiveUnsafe)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_what_is_no_regular_file_is_refused(folder: Path, kind: int) -> None:
    refused(special("a/link", kind), folder, ArchiveUnsafe)


def test_encrypted_and_rarely_packed_entries_are_refused(folder: Path) -> None:
    assert "encrypted" in refused(renamed(zipped({"a/1.jpg": b""}), b"", b"", flags=1), folder, ArchiveUnsupported)
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(zipped({"a/1.jpg": b"1"}, compression), folder, ArchiveUnsupported)


def test_a_file_that_unpacks_to_a_hundred_times_its_size_is_refused(folder: Path) -> None:
    assert "100 times" in refused(zipped({"a/1.bmp": bytes(5_000_000)}), folder, ArchiveTooLarge)


def test_more_than_is_allowed_unpacked_is_refused_whatever_the_directory_says(folder: Path) -> None:
    noise = random.Random(0).randbytes(30_000) * 20
    files = {f"a/{n}.bmp": noise for n in range(30)}
    refused(zipped(files), folder, ArchiveTooLarge)
    assert found(folder) == []  # seen before anything is unpacked
    lying = zipped(files).replace(len(noise).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    refused(lying, folder, ArchiveDamaged)


@pytest.mark.parametrize("copies", [2, 50])
def test_entries_that_share_their_bytes_are_refused(folder: Path, copies: int) -> None:
    limits = Limits(files=100, unpacked_bytes=10**12)
    refused(overlapping(copies), folder, ArchiveDamaged, limits)
    assert found(folder) == []


@pytest.mark.parametrize("count", [101, 100_000])
def test_too_many_entries_are_refused_before_they_are_listed(folder: Path, count: int) -> None:
    data = overlapping(count, kernel_bytes=1)
    tracemalloc.start()
    refused(data, folder, ArchiveTooLarge)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"no zip", b"\0" * 1000, b"\xff\xd8\xff" * 100, b"Rar!\x1a\x07" + bytes(100)])
def test_what_is_no_zip_is_refused(folder: Path, data: bytes) -> None:
    refused(data, folder, NotAnArchive)


def test_a_zip_that_is_cut_off_is_refused(folder: Path) -> None:
    whole = zipped({f"a/{n}.jpg": random.Random(n).randbytes(500) for n in range(5)})
    for tenth in range(1, 10):
        refused(whole[: len(whole) * tenth // 10], folder, ArchiveDamaged)


def test_a_checksum_that_is_wrong_is_refused(folder: Path) -> None:
    data = zipped({"a/1.jpg": b"a photo, as it was"}, zipfile.ZIP_STORED)
    refused(data.replace(b"photo", b"phoot"), folder, ArchiveDamaged)


@pytest.mark.parametrize("files", [{}, {"a/": b"", "b/": b""}, {".DS_Store": b"x", "__MACOSX/a": b"x"}])
def test_an_empty_zip_is_refused(folder: Path, files: dict[str, bytes]) -> None:
    refused(zipped(files), folder, ArchiveEmpty)


def test_photos_without_folders_are_refused(folder: Path) -> None:
    refused(zipped({"1.jpg": b"1", "2.jpg": b"2", "empty/": b""}), folder, ArchiveUnlabelled)


def test_fifteen_hundred_mutated_zips_give_a_folder_or_our_error_and_nothing_outside(tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = zipped({"a/1.jpg": b"1" * 50, "b/2.jpg": chance.randbytes(50), "b/ü.jpg": b""})
    for number in range(1500):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(body) + 1)
            body[at : at + chance.choice([0, 1, 1, 1, 4])] = chance.randbytes(chance.choice([0, 1, 1, 1, 4]))
        folder = tmp_path / str(number) / "photos"
        folder.mkdir(parents=True)
        try:
            unpacked(bytes(body), folder)
        except ArchiveError:
            continue
        finally:
            assert {path.name for path in folder.parent.iterdir()} == {"photos", "photos.zip"}


def test_backslashes_alone_are_slashes_as_powershell_writes_them(folder: Path) -> None:
    data = zipped({"new\\red\\1.jpg": b"1", "new\\blue\\2.jpg": b"2", "new\\empty\\": b""})
    assert unpacked(data, folder) == ["blue/2.jpg", "red/1.jpg"]


@pytest.mark.parametrize(
    "name", ["a\\..\\..\\b.jpg", "\\a\\b.jpg", "\\\\host\\b.jpg", "c:\\a\\b.jpg", "a/b\\c.jpg", "a\\\\b.jpg"]
)
def test_backslashes_lead_nowhere_else(folder: Path, name: str) -> None:
    refused(zipped({"red/1.jpg": b"1", name: b"2"}), folder, ArchiveUnsafe)
