"""Results as HTML, which a notebook shows in place of their text: tables, and pictures that are part of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import from_pillow, read_image
from handful.service.artifact.preprocessing import Source

if TYPE_CHECKING:
    from handful.service.artifact.folder import Artifact

SIDE = 96  # pixels of a thumbnail's longer side
SHOWN_PHOTOS = 4  # of each label
SHOWN_LABELS = 12
CELL = "text-align:left;vertical-align:middle"


class Html(str):
    """Markup that is ready; any other text is escaped."""

    __slots__ = ()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Html:
    """Cells are text or `Html`."""
    lines = ["<table>", f"<caption>{escaped(caption)}</caption>" if caption else ""]
    lines += [f"<thead><tr>{''.join(_cell('th', head) for head in heads)}</tr></thead>" if any(heads) else ""]
    lines += [f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in rows]
    return Html("".join([*lines, "</table>"]))


def _cell(tag: str, content: str) -> str:
    return f'<{tag} style="{CELL}">{escaped(content)}</{tag}>'


def escaped(content: str) -> Html:
    return content if isinstance(content, Html) else Html(escape(content))


def strong(text: str) -> Html:
    return Html(f"<b>{escape(text)}</b>")


def bar(share: float) -> Html:
    """A share of one as a number and a bar."""
    return Html(
        f'<span style="display:inline-block;width:4em;text-align:right">{share:.1%}</span>'
        f' <span style="display:inline-block;height:.7em;width:{8 * share:.2f}em;background:#2f6fae"></span>'
    )


def small_picture(source: Source) -> Html:
    """Empty where the photo cannot be read, or is not there any more."""
    try:
        image = from_pillow(source) if isinstance(source, Image.Image) else read_image(source, min_side=SIDE)
        image.thumbnail((SIDE, SIDE))
    except ImageError:
        return Html("")
    file = io.BytesIO()
    image.save(file, "JPEG")
    return picture(file.getvalue())


def picture(jpeg: bytes, name: str = "") -> Html:
    data = base64.b64encode(jpeg).decode()
    return Html(f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}" title="{escape(name)}">')


def learned_rows(counts: Mapping[str, int], labels: Sequence[str], artifact: Artifact | None) -> list[tuple[str, Html]]:
    """Per label its number of photos and the first few of them, where the artifact keeps them."""
    thumbnails = artifact.thumbnails() if artifact else []
    index = artifact.embeddings()["labels"].tolist() if artifact and thumbnails else []
    pictures: dict[int, list[Html]] = {}
    for label, photo in zip(index, thumbnails, strict=True):
        if photo.jpeg and len(shown := pictures.setdefault(label, [])) < SHOWN_PHOTOS:
            shown.append(picture(photo.jpeg, photo.name))
    return [
        (f"{name} ({counts[name]})", Html(" ".join(pictures.get(number, []))))
        for number, name in list(enumerate(labels))[:SHOWN_LABELS]
    ]
