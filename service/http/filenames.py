"""File names that a client sends: what makes a name unusable on any platform, and how to show it in a message."""

from __future__ import annotations

import re
import unicodedata

from handful.service.artifact.image_files import LEFT_BEHIND
from handful.service.artifact.label_names import MAX_NAME_BYTES, has_controls

_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)


def filename_error(name: str) -> str | None:
    """Why this cannot name one file or folder, as the end of a sentence; None if it can."""
    if name in {"", ".", ".."}:
        return "is empty or leads elsewhere"
    if len(name) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if has_controls(name):
        return "contains control characters"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if "/" in name or "\\" in name:
        return "contains a slash or backslash"
    if name[-1] in " .":
        return "ends in a space or a dot"
    if _DEVICES.match(name):
        return "is the name of a device on Windows"
    return None


def is_hidden(name: str) -> bool:
    """Whether training would skip it: names that start with a dot, and files that operating systems leave behind."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def casefolded(name: str) -> str:
    """Two names that some file system takes for the same file have the same casefolded form."""
    return unicodedata.normalize("NFC", name).casefold()


def quoted(text: str) -> str:
    """A client's text for use in a message: in quotation marks, escaped and cut to 60 characters."""
    literal = repr(text)
    return literal if len(literal) <= 60 else f"{literal[:60]}…{literal[0]}"
