"""What a terminal that cannot show every letter gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PRINT = """
import sys
from handful.service.terminal.output import escape_unprintable, print_result, print_words
escape_unprintable()
print_words("größe 靴")
print_result({"label": "größe 靴"}, "größe 靴", as_json=sys.argv[1] == "json")
"""


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"gr\xf6\xdfe \u9774"), ("cp1252", r"größe \u9774"), ("utf-8", "größe 靴")]
)
def test_letters_that_cannot_be_printed_are_escaped(encoding: str, shown: str) -> None:
    text, as_json = (
        subprocess.run(
            [sys.executable, "-c", PRINT, kind],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
        )
        for kind in ("text", "json")
    )
    assert text.stdout.decode(encoding).strip() == shown
    assert text.stderr.decode(encoding).strip() == shown
    assert json.loads(as_json.stdout.decode(encoding)) == {"label": "größe 靴"}
