"""A report as a page: with a policy of its own, since it may come from a stranger's repository."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.responses import Response

MAX_BYTES = 64_000_000
_STYLE = re.compile(rb"<style[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)


def report_bytes(path: Path) -> bytes | None:
    """The report's HTML; None if there is none, or one of a size that no report has."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    return path.read_bytes().replace(b"\r\n", b"\n")  # browsers hash the style with such line ends


def report_response(html: bytes) -> Response:
    headers = {"Content-Security-Policy": _policy(html), "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return Response(html, headers=headers, media_type="text/html")


def _policy(html: bytes) -> str:
    """Its own style and pictures inside it, and nothing else."""
    hashes = {base64.b64encode(hashlib.sha256(style).digest()).decode() for style in _STYLE.findall(html)}
    styles = " ".join(f"'sha256-{each}'" for each in sorted(hashes)) or "'none'"
    return (
        f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'self'; sandbox"
    )
