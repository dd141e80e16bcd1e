"""What a version was trained on, photo by photo, without the photos: what lets a retrain do without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.artifact.errors import DataError, UsageError
from service.artifact.folder import Artifact
from training.embeddings import Embedded

DIGITS = 12  # of a content's sha256, where a photo has no other name


@dataclass(frozen=True)
class Known:
    """Rows in the order of the artifact; an image's path is only a name, until a folder holds the image again."""

    labels: tuple[str, ...]
    images: tuple[Embedded, ...]
    label_index: np.ndarray  # (N,) int64, into `labels`
    folds: np.ndarray | None  # (N, R) fold numbers; None for artifacts that do not tell

    @property
    def embeddings(self) -> np.ndarray:
        return np.stack([image.embedding for image in self.images])  # (N, D)

    def edited(self, drop: Sequence[str], rename: Mapping[str, str]) -> Known:
        """Without the dropped labels, the others renamed, all at once; two labels that get one name become one.

        `UsageError` for a label that is not known.
        """
        for flag, names in (("--drop", drop), ("--rename", rename)):
            for name in names:
                if name not in self.labels:
                    raise UsageError(f"{flag} names {name!r}; known labels: {', '.join(self.labels)}.")
        named = {index: rename.get(name, name) for index, name in enumerate(self.labels) if name not in drop}
        labels = tuple(dict.fromkeys(named.values()))
        kept = np.isin(self.label_index, list(named))
        return Known(
            labels,
            tuple(image for image, keep in zip(self.images, kept, strict=True) if keep),
            np.array([labels.index(named[int(index)]) for index in self.label_index[kept]], dtype=np.int64),
            None if self.folds is None else self.folds[kept],
        )


def read_known(artifact: Artifact) -> Known:
    """`DataError` where the version keeps no embeddings."""
    card, tensors = artifact.card, {name: tensor.numpy() for name, tensor in artifact.embeddings().items()}
    if not card.data.embeddings_kept or "embeddings" not in tensors:
        raise DataError(
            f"{card.model} keeps no embeddings of its photos (it was trained with --no-keep-embeddings, or published"
            f" without them): `handful train FOLDER --name {card.name}` on all photos, old and new, learns both."
        )
    contents = [row.tobytes().hex() for row in tensors["hashes"]]
    # artifacts written before there were `pictures` know an image by its bytes only
    pictures = [row.tobytes().hex() for row in tensors["pictures"]] if "pictures" in tensors else contents
    images = tuple(
        Embedded(Path(content[:DIGITS]), content, picture, embedding)
        for content, picture, embedding in zip(contents, pictures, tensors["embeddings"], strict=True)
    )
    return Known(card.labels, images, tensors["labels"].astype(np.int64), tensors.get("folds"))


def recognised(known: Known, content_sha256: Mapping[Path, str]) -> dict[Path, Embedded]:
    """The files whose bytes are known, with what is known of them: these need not be embedded again."""
    by_content = {image.content_sha256: image for image in known.images}
    return {
        path: replace(by_content[content], path=path)
        for path, content in content_sha256.items()
        if content in by_content
    }
