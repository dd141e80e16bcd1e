"""What a label may be called, wherever it comes from: a folder, a request, or a stranger's model.

A label becomes the name of a folder, a column of a table and a line on a terminal, so it must be harmless in each.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, combinations, product

OTHER = "other"  # the folder of photos of no label: examples of what is answered with unknown
MAX_NAME_BYTES = 255  # of one name, on every file system in use
# control characters, halves of surrogate pairs, line separators, and characters that make a name display as another
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
# what a spreadsheet would compute: a formula with a call, a reference to another file or a command in it
_FORMULA = re.compile(r"[=+@-].*[(|!]", re.DOTALL)
_BLANKS = re.compile(r"[\s_\u00ad\u200b-\u200d\u2060\ufeff-]+")  # what is seen as a gap, or not at all


def is_other(name: str, labels: Collection[str] = ()) -> bool:
    """Whether a folder holds photos of no label. A model that has such a label, from before, keeps it."""
    return name.casefold() == OTHER and name not in labels


def has_controls(text: str) -> bool:
    """Whether the text could control a terminal, or would display as another text."""
    return _CONTROLS.search(text) is not None


def printable(text: str) -> str:
    """The text with `?` in place of each character that could control a terminal."""
    return _CONTROLS.sub("?", text)


def label_error(label: str) -> str | None:
    """Why this cannot be a label, as the end of a sentence; None if it can."""
    if not label or len(label) > MAX_NAME_BYTES or len(label.encode(errors="replace")) > MAX_NAME_BYTES:
        return f"has {len(label)} characters; 1 to {MAX_NAME_BYTES} bytes are allowed"
    if has_controls(label):
        return "contains control characters"
    if "/" in label or "\\" in label:
        return "contains a slash or backslash"
    if label.startswith("."):
        return "begins with a dot"
    if _FORMULA.match(label):
        return "would be a formula in a spreadsheet"
    return None


def labels_error(labels: Sequence[str]) -> str | None:
    """What is wrong with a model's labels, as a sentence without its full stop; None if nothing is."""
    for label in labels:
        if error := label_error(label):
            return f"the label {label[:60]!r} {error}"
    if len(set(labels)) < len(labels):
        twice = next(label for number, label in enumerate(labels) if label in labels[:number])
        return f"the label {twice!r} occurs twice"
    return None


def normal_label(text: str) -> str:
    """The label in Unicode's normal form NFC: a label typed on a Mac is the same text as one typed elsewhere."""
    return unicodedata.normalize("NFC", text)


def label_of_name(name: str) -> tuple[str, bool]:
    """The label that a file system's name stands for, and whether its bytes were not UTF-8.

    Such bytes are read as Windows-1252, which old archives and disks use for accents.
    """
    raw = os.fsencode(name)
    try:
        return normal_label(raw.decode("utf-8")), False
    except UnicodeDecodeError:
        return normal_label(raw.decode("cp1252", "backslashreplace")), True


def similar_labels(labels: Iterable[str], others: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """Pairs of labels that differ in capitals, blanks or the form of their characters alone, and in which of these.

    With `others`, pairs of a label and one of these; equal ones are no pair.
    """
    alike: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for number, names in enumerate((labels, others)):
        for name in dict.fromkeys(names):
            alike[_simplified(name)][number].append(name)
    pairs = (product(*each) if others else combinations(each[0], 2) for each in alike.values())
    return [(one, two, _difference(one, two)) for one, two in chain.from_iterable(pairs) if one != two]


def _difference(first: str, second: str) -> str:
    if first.casefold() == second.casefold():
        return "capitals"
    return "blanks" if _BLANKS.sub("", first) == _BLANKS.sub("", second) else "capitals, blanks or the form of letters"


def _simplified(label: str) -> str:
    return _BLANKS.sub("", unicodedata.normalize("NFKC", label).casefold())


def in_one_form(labels: tuple[str, ...]) -> tuple[str, ...]:
    """In NFC, which an earlier release did not ask for; as they are where it learned two forms of one label."""
    normal = tuple(map(normal_label, labels))
    return normal if len(set(normal)) == len(labels) else labels
