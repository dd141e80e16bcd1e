"""The files of the web page: a table that is made once, so that no path from a client ever reaches the disk.

They hold no data, so they are answered without a key.
"""

from __future__ import annotations

from pathlib import Path

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = {  # name -> content
    path.name: path.read_bytes() for path in sorted(Path(__file__).parent.iterdir()) if path.suffix in MEDIA_TYPES
}
PARTS = "/page/{file}"
PAGES = {"/": "index.html", "/docs": "docs.html"}  # path -> name
PAGE_PATHS = frozenset({*PAGES, *(f"/page/{name}" for name in FILES)})
PAGE_ROUTES = frozenset({*PAGES, PARTS})
