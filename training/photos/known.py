"""The photos that a version was trained on, as its artifact keeps them: enough to retrain without the files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent, DataError, UsageError
from handful.service.artifact.folder import Artifact
from handful.service.artifact.thumbnails import Thumbnail
from handful.training.embeddings import Embedded

DIGITS = 12  # of a content's sha256, the name of a photo that an older artifact keeps no name of


@dataclass(frozen=True)
class KnownPhotos:
    """N photos in the order of the artifact. An image's path is only a name until a folder holds that image again."""

    labels: tuple[str, ...]
    images: tuple[Embedded, ...]
    label_index: np.ndarray  # (N,) int64, into `labels`
    folds: np.ndarray | None  # (N, R) fold numbers; None for artifacts that do not keep them
    answers: np.ndarray | None = None  # (N, L) probabilities, of a fine-tuned network: see `Artifact.embeddings`

    @property
    def embeddings(self) -> np.ndarray:
        return np.stack([image.embedding for image in self.images])  # (N, D)

    def edited(self, drop: Collection[str], rename: Mapping[str, str]) -> KnownPhotos:
        """Without the dropped labels, the others renamed, all at once; two labels that get one name become one.

        `UsageError` for a label that is not known.
        """
        for flag, names in (("--drop", drop), ("--rename", rename)):
            for name in names:
                if name not in self.labels:
                    raise UsageError(f"{flag} names {name!r}; known labels: {', '.join(self.labels)}.")
        named = {index: rename.get(name, name) for index, name in enumerate(self.labels) if name not in drop}
        labels = tuple(dict.fromkeys(named.values()))
        kept = self.only(np.flatnonzero(np.isin(self.label_index, list(named))))
        index = np.array([labels.index(named[int(index)]) for index in kept.label_index], dtype=np.int64)
        names = [named.get(index, "") for index in range(len(self.labels))]
        answers = None if kept.answers is None else renormalised(align_labels(kept.answers, names, labels))
        return replace(kept, labels=labels, label_index=index, answers=answers)

    def only(self, rows: np.ndarray) -> KnownPhotos:
        """The photos of these rows; all labels stay."""
        return KnownPhotos(
            self.labels,
            tuple(self.images[row] for row in rows),
            self.label_index[rows],
            None if self.folds is None else self.folds[rows],
            None if self.answers is None else self.answers[rows],
        )


def read_known(artifact: Artifact) -> KnownPhotos:
    """`DataError` where the version keeps no embeddings."""
    card, tensors = artifact.card, {name: tensor.numpy() for name, tensor in artifact.embeddings().items()}
    if not card.data.embeddings_kept or "embeddings" not in tensors:
        raise DataError(
            f"{card.model} keeps no embeddings of its photos (`handful train --no-keep-embeddings` keeps none, or"
            f" it was published without them): `handful train FOLDER --name {card.name}` on all photos, old and"
            " new, learns both."
        )
    contents = [row.tobytes().hex() for row in tensors["hashes"]]
    # older artifacts have no `pictures` and know an image by its bytes only
    pictures = [row.tobytes().hex() for row in tensors["pictures"]] if "pictures" in tensors else contents
    # and no thumbnails or names
    kept = artifact.thumbnails() or [Thumbnail(b"", "")] * len(contents)
    if len(kept) != len(contents):
        raise ArtifactInconsistent(f"{artifact.path} has {len(kept)} thumbnails of {len(contents)} photos.")
    cues = tensors.get("cues", [None] * len(contents))
    images = tuple(
        Embedded(Path(content[:DIGITS]), content, picture, embedding, each.jpeg, numbers, each.name)
        for content, picture, embedding, each, numbers in zip(
            contents, pictures, tensors["embeddings"], kept, cues, strict=True
        )
    )
    labels, folds, answers = tensors["labels"].astype(np.int64), tensors.get("folds"), tensors.get("answers")
    return KnownPhotos(card.labels, images, labels, folds, answers)


def align_labels(answers: np.ndarray, names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(N, len(names)) -> (N, len(labels)): columns of one name are added, columns of no label left out."""
    aligned = np.zeros((len(answers), len(labels)))
    for column, name in zip(answers.T, names, strict=True):
        if name in labels:
            aligned[:, labels.index(name)] += column
    return aligned


def renormalised(probabilities: np.ndarray) -> np.ndarray:
    """(N, L), each row scaled to a sum of one."""
    return np.asarray(probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12))


def match_known(known: KnownPhotos, content_sha256: Mapping[Path, str]) -> dict[Path, Embedded]:
    """The files whose bytes are those of a known photo; its embedding is taken over."""
    by_content = {image.content_sha256: image for image in known.images}
    return {
        path: replace(by_content[content], path=path, kept_as=None)
        for path, content in content_sha256.items()
        if content in by_content
    }
