"""Which photos the champion of a model has learned, and under which label: from its artifact, without loading it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from handful.service.artifact.errors import HandfulError, ModelNotFound
from handful.service.artifact.folder import EMBEDDINGS, read_card
from handful.service.artifact.label_names import OTHER, normal_label
from handful.service.artifact.store import Store
from handful.service.library.library import PhotoLibrary
from handful.service.library.listing import LibraryPhoto
from handful.service.library.problems import PhotoProblem, problems_of
from safetensors import SafetensorError, safe_open

LEFT_OUT = frozenset({"duplicate", "unreadable"})  # learning them again would leave them out again
MOST_REMEMBERED = 32  # versions; their files never change


def champion_folder(root: Path, name: str) -> Path | None:
    """The artifact that answers for a model; None before the first."""
    store = Store(root)
    try:
        return store.path(name, store.served(name))
    except ModelNotFound:
        return None


@lru_cache(MOST_REMEMBERED)
def learned_photos(artifact: Path) -> Mapping[str, str]:
    """sha256 -> label; empty for an artifact that keeps nothing of single photos, or is broken."""
    try:
        labels = read_card(artifact).labels
        with safe_open(artifact / EMBEDDINGS, framework="np") as file:
            names = set(file.keys())
            hashes = file.get_tensor("hashes") if "hashes" in names else ()
            numbers = file.get_tensor("labels") if "labels" in names else ()
            others = file.get_tensor("other.hashes") if "other.hashes" in names else ()
        known = {row.tobytes().hex(): OTHER for row in others}
        known |= {row.tobytes().hex(): labels[int(number)] for row, number in zip(hashes, numbers, strict=True)}
    except (HandfulError, OSError, SafetensorError, LookupError, ValueError):
        return {}
    return known


def version_labels(artifact: Path | None) -> tuple[str, ...]:
    """Those of a version; none where there is none, or it is broken."""
    try:
        return read_card(artifact).labels if artifact else ()
    except (HandfulError, OSError):
        return ()


def waiting(
    photos: Collection[LibraryPhoto], learned: Mapping[str, str], problems: Mapping[str, Collection[PhotoProblem]]
) -> list[LibraryPhoto]:
    """Those that the champion has not learned, or learned under another label."""
    return [
        photo
        for photo in photos
        if normal_label(learned.get(photo.id, "")) != photo.label
        and not any(each.kind in LEFT_OUT for each in problems.get(photo.place, ()))
    ]


def waiting_in(library: PhotoLibrary, name: str) -> tuple[list[LibraryPhoto], dict[str, list[PhotoProblem]]]:
    """What the champion of the model has not learned, newest first, and what is wrong with photos, by place."""
    photos = library.photos()
    problems = problems_of(library.hidden, photos, library.contents)
    champion = champion_folder(library.root.parent.parent, name)
    return waiting(photos, learned_photos(champion) if champion else {}, problems), problems
