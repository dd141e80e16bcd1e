"""The rungs, lowest first: how each is trained on a training part, and what it then answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from handful.service.terminal.progress import Advance
from handful.training.backbone import Backbone
from handful.training.head.labelled import Floats, LabelledEmbeddings, Rows
from handful.training.head.selection import Kind
from handful.training.ladder.features import train_head
from handful.training.ladder.fit import ScratchRecipe, train_network
from handful.training.ladder.hog import hog
from handful.training.ladder.networks import alexnet, dense, lenet5, parameter_count, small_cnn
from handful.training.ladder.squares import Squares
from handful.training.ladder.tuned import fine_tuned_answer, photos_seen

PIXELS_SIDE = 32
HOG_SIDE = 64
BLOCK = 4096  # photos whose features are computed at once, where a head is not learned from them

DENSE = ScratchRecipe(dense, PIXELS_SIDE, learning_rate=1e-3, weight_decay=0.05, max_epochs=100, min_epochs=8)
LENET5 = ScratchRecipe(lenet5, 32, learning_rate=2e-3, weight_decay=0.05, max_epochs=100, min_epochs=8, grey=True)
SMALL_CNN = ScratchRecipe(small_cnn, 64, learning_rate=3e-3, weight_decay=0.05, max_epochs=60, min_epochs=8)
ALEXNET = ScratchRecipe(
    alexnet,
    224,
    learning_rate=2e-4,
    weight_decay=0.05,
    max_epochs=20,
    min_epochs=3,
    photos_seen=6000,  # some fifty a second on two cores
    low_precision=True,
)


class LadderPhotos:
    """What all rungs share: the photos' files, and their labels, groups and embeddings by the backbone."""

    def __init__(self, squares: Squares, data: LabelledEmbeddings, backbone: Backbone | None, seed: int) -> None:
        self.squares, self.data, self._backbone, self.seed = squares, data, backbone, seed

    @property
    def backbone(self) -> Backbone:
        """Only for rungs in `settings.ON_BACKBONE`: for others none is loaded."""
        assert self._backbone is not None  # noqa: S101 - a bug otherwise, not a wrong use
        return self._backbone

    def pixels(self, rows: Rows) -> Floats:
        """(M, 3072) in [0, 1]"""
        values = self.squares.at(PIXELS_SIDE)[rows].reshape(len(rows), -1).astype(np.float32)
        values /= np.float32(255)  # in place: 30,000 photos are 369 MB
        return values

    @cached_property
    def hog(self) -> Floats:
        """(N, 1764)"""
        squares = self.squares.at(HOG_SIDE)
        return np.concatenate([hog(squares[rows]) for rows in _blocks(np.arange(len(squares)))])


@dataclass(frozen=True)
class FittedRung:
    """A rung after training on one training part."""

    answer: Callable[[Rows], Floats]  # logits (N, L) of photos by their row
    parameters: int  # of the whole model
    trained: int  # how many of them were learned from these photos


@dataclass(frozen=True)
class Rung:
    """One way from a photo to a label."""

    name: str  # one of `settings.TITLES`
    fit: Callable[[LadderPhotos, Rows, Advance], FittedRung]
    prepare: Callable[[LadderPhotos], object] = lambda _: None  # once, before the time is measured: reads the photos
    work: Callable[[int], int] = lambda _: 1  # the total that `progress` will reach for so many training photos


def _majority(photos: LadderPhotos, train: Rows, progress: Advance) -> FittedRung:
    counts = np.bincount(photos.data.labels[train], minlength=photos.data.label_count).astype(np.float32)
    progress(1)
    return FittedRung(lambda rows: np.tile(counts, (len(rows), 1)), 0, 0)


def _blocks(rows: Rows) -> list[Rows]:
    """The same rows, at most `BLOCK` at once."""
    return np.split(rows, range(BLOCK, len(rows), BLOCK))


def _head(
    features: Callable[[LadderPhotos, Rows], Floats],
    kind: Kind,
    photos: LadderPhotos,
    train: Rows,
    progress: Advance,
    *,
    on_backbone: bool = False,
) -> FittedRung:
    data = photos.data
    part = LabelledEmbeddings(
        features(photos, train), data.labels[train], data.groups[train], data.label_count, lengths_count=not on_backbone
    )
    head = train_head(kind, part, photos.seed)
    progress(1)
    frozen = parameter_count(photos.backbone.network) if on_backbone else 0

    def answer(rows: Rows) -> Floats:
        return np.concatenate([head.logits(features(photos, block)) for block in _blocks(rows)])

    return FittedRung(answer, frozen + head.parameters, head.parameters)


def _from_scratch(recipe: ScratchRecipe, photos: LadderPhotos, train: Rows, progress: Advance) -> FittedRung:
    squares, data = photos.squares.at(recipe.side_pixels), photos.data
    trained = train_network(recipe, squares, data.labels, train, data.label_count, photos.seed, progress)
    parameters = parameter_count(trained.network)
    return FittedRung(trained.answer, parameters, parameters)


def _fine_tuned(photos: LadderPhotos, train: Rows, progress: Advance) -> FittedRung:
    data, backbone = photos.data, photos.backbone
    answer = fine_tuned_answer(photos.squares.paths, data, backbone, train, photos.seed, progress)
    parameters = parameter_count(backbone.network) + data.label_count * (data.embeddings.shape[1] + 1)
    return FittedRung(answer, parameters, parameters)


def _embeddings(photos: LadderPhotos, rows: Rows) -> Floats:
    return photos.data.embeddings[rows]


def _network(name: str, recipe: ScratchRecipe) -> Rung:
    return Rung(
        name,
        partial(_from_scratch, recipe),
        prepare=lambda photos: photos.squares.at(recipe.side_pixels),
        work=lambda images: images * recipe.epochs(images),
    )


RUNGS = {
    rung.name: rung
    for rung in (
        Rung("majority", _majority),
        Rung(
            "pixels",
            partial(_head, LadderPhotos.pixels, "linear"),
            prepare=lambda photos: photos.squares.at(PIXELS_SIDE),
        ),
        Rung(
            "hog",
            partial(_head, lambda photos, rows: photos.hog[rows], "linear"),
            prepare=lambda photos: photos.squares.at(HOG_SIDE),
        ),
        _network("dense", DENSE),
        _network("lenet5", LENET5),
        _network("alexnet", ALEXNET),
        _network("cnn", SMALL_CNN),
        Rung("linear", partial(_head, _embeddings, "linear", on_backbone=True)),
        Rung("hidden", partial(_head, _embeddings, "hidden", on_backbone=True)),
        Rung("finetuned", _fine_tuned, work=photos_seen),
    )
}
