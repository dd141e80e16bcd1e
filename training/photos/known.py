"""The photos that a version was trained on, as its artifact keeps them: enough to retrain without the files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent, DataError, UsageError
from handful.service.artifact.folder import Artifact
from handful.service.artifact.label_names import OTHER, is_other
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
    other: tuple[Embedded, ...] = ()  # photos of no label

    @property
    def embeddings(self) -> np.ndarray:
        return np.stack([image.embedding for image in self.images])  # (N, D)

    def edited(self, drop: Collection[str], rename: Mapping[str, str]) -> KnownPhotos:
        """Without the dropped labels, the rest renamed, all at once; two labels that get one name become one.

        Dropping `OTHER` drops the photos of no label. `UsageError` for a label that is not known.
        """
        droppable = {*self.labels, *([OTHER] if self.other else [])}
        for flag, names, known in (("--drop", drop, droppable), ("--rename", rename, self.labels)):
            for name in names:
                if name not in known:
                    raise UsageError(f"{flag} names {name!r}; known labels: {', '.join(self.labels)}.")
        for new in rename.values():
            if is_other(new, self.labels):
                raise UsageError(
                    f"--rename names {new!r}, which is no label: photos in a folder of that name have none. Retrain"
                    f" with the photos in a folder {OTHER}/ instead."
                )
        return self.relabelled(drop, rename)

    def relabelled(self, drop: Collection[str], rename: Mapping[str, str]) -> KnownPhotos:
        """As `edited`, for labels that are known to be here."""
        named = {index: rename.get(name, name) for index, name in enumerate(self.labels) if name not in drop}
        labels = tuple(dict.fromkeys(named.values()))
        kept = self.only(np.flatnonzero(np.isin(self.label_index, list(named))))
        index = np.array([labels.index(named[int(index)]) for index in kept.label_index], dtype=np.int64)
        names = [named.get(index, "") for index in range(len(self.labels))]
        answers = None if kept.answers is None else renormalised(align_labels(kept.answers, names, labels))
        other = () if OTHER in drop and OTHER not in self.labels else self.other
        return replace(kept, labels=labels, label_index=index, answers=answers, other=other)

    def only(self, rows: np.ndarray) -> KnownPhotos:
        """The photos of these rows; all labels stay."""
        return replace(
            self,
            images=tuple(self.images[row] for row in rows),
            label_index=self.label_index[rows],
            folds=None if self.folds is None else self.folds[rows],
            answers=None if self.answers is None else self.answers[rows],
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
    return KnownPhotos(card.labels, images, labels, folds, answers, _known_other(tensors))


def _known_other(tensors: Mapping[str, np.ndarray]) -> tuple[Embedded, ...]:
    """Of artifacts that keep photos of no label."""
    if "other.embeddings" not in tensors:
        return ()
    parts = (tensors["other.hashes"], tensors["other.pictures"], tensors["other.embeddings"])
    names = (
        (content.tobytes().hex(), picture.tobytes().hex(), row) for content, picture, row in zip(*parts, strict=True)
    )
    return tuple(Embedded(Path(content[:DIGITS]), content, picture, row, kept_as="") for content, picture, row in names)


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
    by_content = {image.content_sha256: image for image in (*known.images, *known.other)}
    return {
        path: replace(by_content[content], path=path, kept_as=None)
        for path, content in content_sha256.items()
        if content in by_content
    }
