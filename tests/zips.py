"""Zips as bytes: valid ones, and malicious ones that no tool writes."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with the files in the given order, names unchanged."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


def zipped_folder(folder: Path) -> bytes:
    return zipped({path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))})


def special(name: str, kind: int = stat.S_IFLNK, target: bytes = b"/etc/passwd") -> bytes:
    """A zip with one entry of a special kind, such as a link or a device."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, target)
    return out.getvalue()


def renamed(data: bytes, old: bytes, new: bytes, flags: int = 0) -> bytes:
    """Replaces a name by one of the same length; sets `flags` in the local and in the central header."""
    assert len(old) == len(new)
    changed = bytearray(data.replace(old, new))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = changed.find(magic)
        before = struct.unpack_from("<H", changed, place + at)[0]
        struct.pack_into("<H", changed, place + at, before | flags)
    return bytes(changed)


def overlapping(copies: int, kernel_bytes: int = 1_000_000) -> bytes:
    """A zip whose directory lists the same bytes `copies` times."""
    data = zipped({"a/0.bmp": bytes(kernel_bytes)})
    place = data.find(b"PK\1\2")
    end = data.find(b"PK\5\6")
    entry = data[place:end]
    directory = entry * copies
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, copies & 0xFFFF, copies & 0xFFFF, len(directory), place, 0)
    return data[:place] + directory + record
