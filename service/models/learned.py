"""What a version's artifact tells of the photos that it was learned from. Reads the disk, loads no network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.findings import Findings, FoundPhoto, read_findings
from handful.service.artifact.folder import EMBEDDINGS, THUMBNAILS
from handful.service.artifact.label_names import printable
from handful.service.models.bodies import (
    ConfusionBody,
    FindingsBody,
    FoundBody,
    LabelFindings,
    ThumbnailBody,
    ThumbnailsBody,
)
from safetensors import SafetensorError, safe_open

MOST_REMEMBERED = 8  # versions whose names and hashes stay in memory
READING_ERRORS = (LookupError, OSError, SafetensorError, TypeError, ValueError)


class LearnedPhoto(NamedTuple):
    """One training photo, as the artifact keeps it."""

    label: str
    name: str
    sha256: str


class LearnedPhotos:
    """Of one version of a model. `library` reads the ids (sha256) of the photos in its library."""

    def __init__(
        self,
        name: str,
        version: str,
        folder: Path,
        card: ModelCard,
        library: Callable[[], Collection[str]],
    ) -> None:
        self.name, self.version, self.folder, self.card, self.library = name, version, folder, card, library

    def findings(self) -> FindingsBody:
        card, listed = self.card, read_findings(self.folder)
        found = listed or Findings()
        photos = [*found.mistakes, *found.suspects]
        kept = self._kept([photo.sha256 for photo in photos if photo.sha256])
        return FindingsBody(
            confusion=ConfusionBody(labels=list(card.labels), counts=card.cross_validation.confusion),
            mistakes=[self._found(photo, kept) for photo in found.mistakes],
            mistake_count=found.mistake_count if listed else _off_diagonal(card.cross_validation.confusion),
            suspects=[self._found(photo, kept) for photo in found.suspects],
            suspect_count=found.suspect_count,
            listed=listed is not None,
            forecast=card.forecast and card.forecast.sentence,
            per_label=dict(_per_label(card.labels, card.cross_validation.confusion)),
        )

    def thumbnails(self, label: str | None, offset: int, limit: int) -> ThumbnailsBody:
        """Of one label or of all; empty where the artifact keeps none."""
        photos = remembered_photos(self.folder, self.card.labels) if self._has_pictures else ()
        rows = [row for row, photo in enumerate(photos) if label in {None, photo.label}]
        shown = rows[offset : offset + limit]
        kept = self._kept([photos[row].sha256 for row in shown])
        return ThumbnailsBody(
            total=len(rows),
            thumbnails=[
                ThumbnailBody(
                    id=str(row),
                    label=photos[row].label,
                    name=photos[row].name,
                    thumbnail=self._path(row),
                    photo=photos[row].sha256 if photos[row].sha256 in kept else None,
                )
                for row in shown
            ],
        )

    def jpeg(self, row: str) -> bytes | None:
        """The small picture of the photo in this row; None where there is none."""
        if not self._has_pictures or not row.isascii() or not row.isdecimal() or len(row) > 9:
            return None
        try:
            return _part(self.folder / THUMBNAILS, "jpegs", "jpeg_ends", int(row)) or None
        except READING_ERRORS:
            return None

    @property
    def _has_pictures(self) -> bool:
        return THUMBNAILS in self.card.files

    def _kept(self, hashes: Collection[str]) -> Collection[str]:
        return self.library() if hashes else ()

    def _found(self, photo: FoundPhoto, kept: Collection[str]) -> FoundBody:
        return FoundBody(
            **photo.model_dump(exclude={"row", "sha256"}),
            thumbnail=self._path(photo.row) if self._has_pictures and photo.sha256 else None,
            photo=photo.sha256 if photo.sha256 in kept else None,
        )

    def _path(self, row: int) -> str:
        """With the beginning of the file's hash, so that a browser shows no other version's picture."""
        of = self.card.files[THUMBNAILS][:12]
        return f"/models/{quote(self.name, safe='')}/versions/{self.version}/thumbnails/{row}?of={of}"


@lru_cache(MOST_REMEMBERED)
def remembered_photos(folder: Path, labels: tuple[str, ...]) -> tuple[LearnedPhoto, ...]:
    """By row; empty where the artifact keeps nothing of single photos, or is broken."""
    try:
        with safe_open(folder / EMBEDDINGS, framework="np") as file:
            hashes, numbers = file.get_tensor("hashes"), file.get_tensor("labels")
        with safe_open(folder / THUMBNAILS, framework="np") as file:
            joined, ends = file.get_tensor("names").tobytes(), file.get_tensor("name_ends").tolist()
        starts = [0, *ends[:-1]]
        names = [printable(joined[start:end].decode()) for start, end in zip(starts, ends, strict=True)]
        rows = zip(numbers.tolist(), names, hashes, strict=True)
        return tuple(LearnedPhoto(labels[number], name, sha256.tobytes().hex()) for number, name, sha256 in rows)
    except READING_ERRORS:
        return ()


def _part(path: Path, joined: str, ends: str, row: int) -> bytes:
    """One of the parts that a file of thumbnails joins, without reading the others."""
    with safe_open(path, framework="np") as file:
        borders = file.get_slice(ends)
        if row >= borders.get_shape()[0]:
            return b""
        start = int(borders[row - 1 : row][0]) if row else 0
        end = int(borders[row : row + 1][0])
        if not 0 <= start <= end:
            return b""
        return bytes(np.asarray(file.get_slice(joined)[start:end], np.uint8))


def _per_label(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[str, LabelFindings]]:
    result = []
    for number, (label, row) in enumerate(zip(labels, counts, strict=True)):
        others = [(count, other) for other, count in zip(labels, row, strict=True) if count and other != label]
        taken_for = {other: count for count, other in sorted(others, key=lambda each: -each[0])}
        result.append((label, LabelFindings(photos=sum(row), right=row[number], taken_for=taken_for)))
    return result


def _off_diagonal(counts: Sequence[Sequence[int]]) -> int:
    return sum(map(sum, counts)) - sum(row[number] for number, row in enumerate(counts))
