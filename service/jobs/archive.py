"""A zip of a labelled folder -> that folder. Whatever the zip contains, nothing is written outside or without limit.

The zip's directory is checked before anything is unpacked, but not trusted: every unpacked byte is counted. A zip
inside the zip stays a file, and training reports that it is not an image.
"""

from __future__ import annotations

import errno
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.label_names import normal_label
from handful.service.http.errors import (
    NO_SPACE_ERRNOS,
    ArchiveDamaged,
    ArchiveEmpty,
    ArchiveError,
    ArchiveTooLarge,
    ArchiveUnlabelled,
    ArchiveUnsafe,
    ArchiveUnsupported,
    DiskFull,
    NotAnArchive,
)
from handful.service.http.filenames import casefolded, filename_error, is_hidden, quoted

ENTRY_BYTES = 256  # of the zip's directory, per entry; tools write about 120
PATH_LETTERS = 1000
RATIO = 100  # unpacked to packed size of one file; photos reach 1 to 3, uncompressed drawings 50
RATIO_FROM_BYTES = 1_000_000  # smaller files may have any ratio
CHUNK_BYTES = 1 << 16
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Limits:
    """The largest zip that is accepted."""

    files: int  # all entries, with folders and hidden files
    unpacked_bytes: int


@dataclass(frozen=True)
class _Entry:
    info: zipfile.ZipInfo
    path: PurePosixPath


def unpack(source: Path, folder: Path, limits: Limits, labels: Collection[str] = ()) -> int:
    """Unpacks the labelled folder in the zip into `folder`, which is empty. Returns the number of files.

    One folder around all labels is left out, unless its name is one of `labels`. Raises an `ArchiveError` or
    `DiskFull`; the caller then removes `folder` with what was unpacked.
    """
    with (
        source.open("rb", buffering=0) as raw,
        _Bounded(raw, limits) as file,
        _translated(file),
        zipfile.ZipFile(file) as archive,
    ):
        entries = _entries(archive, file, limits)
        _extract(archive, _unwrapped(entries, labels), folder, limits)
        return len(entries)


class _Bounded(io.BufferedReader):
    """Never reads more bytes at once than the directory of a zip with the allowed number of entries has."""

    def __init__(self, raw: io.FileIO, limits: Limits) -> None:
        super().__init__(raw)
        self.limits = limits
        self.most_bytes = max(1 << 17, limits.files * ENTRY_BYTES)  # the end record's comment may have 64 KiB

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most_bytes:
            raise _too_many(self.limits)
        return super().read(size)


def _too_many(limits: Limits) -> ArchiveTooLarge:
    return ArchiveTooLarge(f"The zip has more entries than the {limits.files} that are allowed.")


def _entries(archive: zipfile.ZipFile, file: io.BufferedReader, limits: Limits) -> list[_Entry]:
    """The files to unpack. Their paths are safe, and no two mean the same file on any system."""
    infos = archive.infolist()
    if len(infos) > limits.files:
        raise _too_many(limits)
    if sum(info.file_size for info in infos) > limits.unpacked_bytes:
        raise _too_large(limits)
    _check_apart(infos, file, archive.start_dir)
    named = [(info, _name(info)) for info in infos]
    paths = [(info, name, _path(name)) for info, name in named]
    entries = [
        _Entry(info, path)
        for info, name, path in paths
        if not name.endswith("/") and not any(map(is_hidden, path.parts))
    ]
    for entry in entries:
        _check_kind(entry.info)
    _check_unlike([entry.path for entry in entries])
    if not entries:
        raise ArchiveEmpty("The zip holds no files; one folder of photos per label is expected.")
    return entries


def _check_apart(infos: Sequence[zipfile.ZipInfo], file: io.BufferedReader, directory: int) -> None:
    """Raises if two entries share bytes, as in small zips that unpack to petabytes."""
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end:
            raise ArchiveDamaged("Entries of the zip overlap each other; each must have its own bytes.")
        file.seek(info.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        end = info.header_offset + _LOCAL_HEADER.size + name + extra + info.compress_size
    if end > directory:
        raise ArchiveDamaged("An entry of the zip reaches into its directory; the zip is damaged or cut off.")


def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name as it was meant. Windows PowerShell 5 writes backslashes alone; a folder ends in a slash."""
    name = _decoded(info)
    return name if "/" in name else name.replace("\\", "/")


def _path(name: str) -> PurePosixPath:
    """The entry's path: relative, without `..`, every part a valid name on any system."""
    if name.startswith("/") or _DRIVE.match(name) or "\\" in name:
        raise ArchiveUnsafe(f"The entry {quoted(name)} is not a relative path with slashes.")
    if len(name) > PATH_LETTERS:
        raise ArchiveUnsafe(f"The entry {quoted(name)} has a path of more than {PATH_LETTERS} letters.")
    parts = name.removesuffix("/").split("/")
    for part in parts:
        if wrong := filename_error(part):
            raise ArchiveUnsafe(f"In the entry {quoted(name)} the name {quoted(part)} {wrong}.")
    return PurePosixPath(*parts)


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: macOS writes UTF-8 without setting the flag for it."""
    name: str = info.orig_filename  # `filename` ends at the first NUL
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_kind(info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        raise ArchiveUnsafe(f"The entry {quoted(info.filename)} is a link or a special file; only files are allowed.")
    if info.flag_bits & 0x41:
        raise ArchiveUnsupported(f"The entry {quoted(info.filename)} is encrypted; a zip without password is expected.")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ArchiveUnsupported(f"The entry {quoted(info.filename)} is packed in a rare way; deflate is expected.")


def _check_unlike(paths: Sequence[PurePosixPath]) -> None:
    """Raises for a file that occurs twice or is also a folder, if only in other capitals or other forms of accents."""
    files: set[str] = set()
    folders: dict[str, PurePosixPath] = {}
    for path in paths:
        key = casefolded(str(path))
        if key in files:
            raise ArchiveUnsafe(f"{quoted(str(path))} is in the zip twice, perhaps in other capitals.")
        files.add(key)
        for parent in path.parents:
            if folders.setdefault(casefolded(str(parent)), parent) != parent:
                raise ArchiveUnsafe(f"The folder {quoted(str(parent))} is in the zip twice, in other capitals.")
    for key in files & folders.keys():
        raise ArchiveUnsafe(f"{quoted(str(folders[key]))} is a file in the zip and a folder, too.")


def _unwrapped(entries: list[_Entry], labels: Collection[str]) -> list[_Entry]:
    """The entries with paths that begin with the label. Photos beside the labels stay; training reports them."""
    tops = {normal_label(entry.path.parts[0]) for entry in entries}
    inside = [
        _Entry(entry.info, PurePosixPath(*entry.path.parts[1:])) for entry in entries if len(entry.path.parts) > 1
    ]
    if not inside:
        raise ArchiveUnlabelled("The files in the zip are not in folders; one folder of photos per label is expected.")
    if len(tops) > 1 or tops <= set(map(normal_label, labels)):
        return entries
    direct = [entry for entry in inside if len(entry.path.parts) == 1]
    if len(direct) == len(inside) or any(entry.path.suffix.lower() in SUFFIXES for entry in direct):
        return entries  # photos directly inside: the folder is a label itself
    return inside


def _extract(archive: zipfile.ZipFile, entries: Sequence[_Entry], folder: Path, limits: Limits) -> None:
    left = limits.unpacked_bytes
    for entry in entries:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        allowed = max(RATIO_FROM_BYTES, RATIO * entry.info.compress_size)
        written = 0
        with archive.open(entry.info) as packed, target.open("xb") as out:
            while chunk := packed.read(CHUNK_BYTES):
                written += len(chunk)
                if written > allowed:
                    raise ArchiveTooLarge(
                        f"The entry {quoted(entry.info.filename)} unpacks to more than {RATIO} times its size."
                    )
                if written > left:
                    raise _too_large(limits)
                out.write(chunk)
        left -= written


def _too_large(limits: Limits) -> ArchiveTooLarge:
    return ArchiveTooLarge(
        f"Unpacked, the zip has more than the {limits.unpacked_bytes / 1e6:.0f} MB that are allowed."
    )


@contextmanager
def _translated(file: io.BufferedReader) -> Iterator[None]:
    """Turns what zipfile and the disk raise into our errors."""
    try:
        yield
    except OSError as e:
        if e.errno in NO_SPACE_ERRNOS:
            raise DiskFull("There is no room on the disk to unpack the zip.") from e
        if e.errno == errno.EINVAL:  # a position before the beginning of the file
            raise ArchiveDamaged("The zip is damaged: it points outside itself.") from e
        raise
    except ZIP_ERRORS as e:
        file.seek(0)
        raise _of_zip(e, is_zip=file.read(2) == b"PK") from e


ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    OverflowError,
    RuntimeError,  # NotImplementedError is one
    ValueError,  # UnicodeDecodeError is one
)


def _of_zip(error: Exception, *, is_zip: bool) -> ArchiveError:
    if isinstance(error, UnicodeDecodeError):
        return ArchiveUnsafe("A name in the zip is marked as UTF-8 but is not.")
    if isinstance(error, NotImplementedError):
        return ArchiveUnsupported("The zip uses a rare feature; one that is packed with deflate is expected.")
    if not is_zip:
        return NotAnArchive("The file is not a zip; a zip with one folder of photos per label is expected.")
    return ArchiveDamaged("The zip is damaged or cut off: its parts contradict each other.")
