"""What a photo is called in the library: as its sender called it, where that can be a file's name everywhere."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import PurePath

from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.label_names import MAX_NAME_BYTES, normal_label
from handful.service.http.filenames import casefolded, filename_error, is_hidden

HASH_DIGITS = 16
STEM_BYTES = MAX_NAME_BYTES - 40  # leaves room for a number and an ending


def sent_name(filename: str | None) -> str:
    """The last part of the name in a multipart head, as text; browsers send UTF-8, which is read as Latin-1 there."""
    name = filename or ""
    with suppress(UnicodeError):
        name = name.encode("latin-1").decode("utf-8")
    return normal_label(name.replace("\\", "/").rpartition("/")[2].strip())


def photo_name(sent: str, sha256: str, suffix: str) -> str:
    """`sent` if a file may have this name on any platform; else its content gives the name.

    `suffix` is the content's, without its point; it is added where the name has none of a photo.
    """
    if not sent or filename_error(sent) or is_hidden(sent):
        return f"{sha256[:HASH_DIGITS]}.{suffix}"
    ending = PurePath(sent).suffix
    stem = sent.removesuffix(ending) if ending.lower() in SUFFIXES else sent
    ending = ending if ending.lower() in SUFFIXES else f".{suffix}"
    short = stem.encode()[:STEM_BYTES].decode(errors="ignore").rstrip(" .")
    return (short or sha256[:HASH_DIGITS]) + ending


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the next with a number; `taken` are casefolded: some file systems take both for one file."""
    if casefolded(name) not in taken:
        return name
    path = PurePath(name)
    numbered = (f"{path.stem}-{number}{path.suffix}" for number in range(2, len(taken) + 3))
    return next(each for each in numbered if casefolded(each) not in taken)
