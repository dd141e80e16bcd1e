"""Names that come from outside and become names of files: what is wrong with one, on any platform."""

from __future__ import annotations

import re
import unicodedata

from handful.service.artifact.image_files import LEFT_BEHIND

LONGEST_BYTES = 255  # of one name, on every file system in use
_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they make a name read as another
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)


def flaw(name: str) -> str | None:
    """Why this cannot be the name of one file or folder, as the end of a sentence; None where it can."""
    if name in {"", ".", ".."}:
        return "is empty or leads elsewhere"
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} or letter in _CONTROLS for letter in name):
        return "has control characters in it"
    if len(name.encode()) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    if "/" in name or "\\" in name:
        return "has a slash or backslash in it"
    if name[-1] in " .":
        return "ends in a space or a dot"
    if _DEVICES.match(name):
        return "is the name of a device on Windows"
    return None


def is_hidden(name: str) -> bool:
    """Whether training would not see it: what systems leave behind, and names that start with a dot."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def folded(name: str) -> str:
    """The same for names that a file system may take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def short(name: str) -> str:
    """For a message: what came from outside, quoted, and not too much of it."""
    quoted = repr(name)
    return quoted if len(quoted) <= 60 else f"{quoted[:60]}…{quoted[0]}"
