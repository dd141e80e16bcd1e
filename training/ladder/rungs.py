"""The rungs, lowest first: what each learns from a training part, and what it then answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from handful.service.artifact.errors import UsageError
from handful.service.terminal.progress import Advance
from handful.training.backbone import Backbone
from handful.training.head.folds import Labels
from handful.training.head.linear import Floats
from handful.training.ladder.features import FoldHead, learn_head
from handful.training.ladder.fit import Indices, Recipe, train_network
from handful.training.ladder.hog import hog
from handful.training.ladder.networks import alexnet, dense, lenet5, parameter_count, small_cnn
from handful.training.ladder.pictures import Pictures
from handful.training.ladder.tuned import photos_seen, tuned_answer

PIXELS_SIDE = 32
HOG_SIDE = 64

DENSE = Recipe(dense, PIXELS_SIDE, learning_rate=1e-3, weight_decay=0.05, max_epochs=100, min_epochs=8)
LENET5 = Recipe(lenet5, 32, learning_rate=2e-3, weight_decay=0.05, max_epochs=100, min_epochs=8, grey=True)
SMALL_CNN = Recipe(small_cnn, 64, learning_rate=3e-3, weight_decay=0.05, max_epochs=60, min_epochs=8)
ALEXNET = Recipe(
    alexnet,
    224,
    learning_rate=2e-4,
    weight_decay=0.05,
    max_epochs=20,
    min_epochs=3,
    photos_seen=6000,  # some fifty a second on two cores
    low_precision=True,
)


class Photos:
    """What all rungs share: the photos, their labels and groups, and what the backbone says of them."""

    def __init__(
        self, pictures: Pictures, labels: Labels, groups: Labels, embeddings: Floats, backbone: Backbone, seed: int
    ) -> None:
        self.pictures, self.labels, self.groups = pictures, labels, groups
        self.embeddings, self.backbone, self.seed = embeddings, backbone, seed
        self.label_count = int(labels.max()) + 1

    @property
    def pixels(self) -> Floats:
        """(N, 3072) in [0, 1]"""
        pictures = self.pictures.at(PIXELS_SIDE)
        return pictures.reshape(len(pictures), -1).astype(np.float32) / np.float32(255)

    @cached_property
    def hog(self) -> Floats:
        """(N, 1764)"""
        return hog(self.pictures.at(HOG_SIDE))


@dataclass(frozen=True)
class Learned:
    """What a rung has become on a training part."""

    answer: Callable[[Indices], Floats]  # logits (N, L) of photos by their row
    parameters: int  # of all that answers
    trained: int  # how many of them were learned from these photos


@dataclass(frozen=True)
class Rung:
    """One way from a photo to a label."""

    name: str  # what --rungs takes
    title: str
    learn: Callable[[Photos, Indices, Advance], Learned]
    prepare: Callable[[Photos], object] = lambda _: None  # once, before the clock runs: reads the pictures
    work: Callable[[int], int] = lambda _: 1  # what learning from so many photos tells `progress` in all


def _majority(photos: Photos, train: Indices, progress: Advance) -> Learned:
    counts = np.bincount(photos.labels[train], minlength=photos.label_count).astype(np.float32)
    progress(1)
    return Learned(lambda rows: np.tile(counts, (len(rows), 1)), 0, 0)


def _head(
    features: Callable[[Photos], Floats],
    kind: Literal["linear", "hidden"],
    photos: Photos,
    train: Indices,
    progress: Advance,
    *,
    on_backbone: bool = False,
) -> Learned:
    of_all = features(photos)
    head = learn_head(kind, of_all[train], photos.labels[train], photos.groups[train], photos.label_count, photos.seed)
    progress(1)
    frozen = parameter_count(photos.backbone.network) if on_backbone else 0
    return Learned(lambda rows: head.logits(of_all[rows]), frozen + head.parameters, head.parameters)


def _from_scratch(recipe: Recipe, photos: Photos, train: Indices, progress: Advance) -> Learned:
    pictures = photos.pictures.at(recipe.side_pixels)
    trained = train_network(recipe, pictures, photos.labels, train, photos.label_count, photos.seed, progress)
    parameters = parameter_count(trained.network)
    return Learned(trained.answer, parameters, parameters)


def _finetuned(photos: Photos, train: Indices, progress: Advance) -> Learned:
    def learn(part: Indices) -> FoldHead:
        return learn_head(
            "linear", photos.embeddings[part], photos.labels[part], photos.groups[part], photos.label_count, photos.seed
        )

    answer = tuned_answer(
        photos.pictures.paths, photos.labels, photos.groups, photos.backbone, learn, train, photos.seed, progress
    )
    parameters = parameter_count(photos.backbone.network) + photos.label_count * (photos.embeddings.shape[1] + 1)
    return Learned(answer, parameters, parameters)


def _embeddings(photos: Photos) -> Floats:
    return photos.embeddings


def _network(name: str, title: str, recipe: Recipe) -> Rung:
    return Rung(
        name,
        title,
        partial(_from_scratch, recipe),
        prepare=lambda photos: photos.pictures.at(recipe.side_pixels),
        work=lambda images: images * recipe.epochs(images),
    )


RUNGS: tuple[Rung, ...] = (
    Rung("majority", "the most frequent label", _majority),
    Rung(
        "pixels",
        "pixels, logistic regression",
        partial(_head, lambda photos: photos.pixels, "linear"),
        prepare=lambda photos: photos.pictures.at(PIXELS_SIDE),
    ),
    Rung(
        "hog",
        "HOG, linear",
        partial(_head, lambda photos: photos.hog, "linear"),
        prepare=lambda photos: photos.pictures.at(HOG_SIDE),
    ),
    _network("dense", "dense, one hidden layer", DENSE),
    _network("lenet5", "LeNet-5", LENET5),
    _network("alexnet", "AlexNet from scratch", ALEXNET),
    _network("cnn", "small CNN from scratch", SMALL_CNN),
    Rung("linear", "frozen backbone, linear", partial(_head, _embeddings, "linear", on_backbone=True)),
    Rung("hidden", "frozen backbone, hidden layer", partial(_head, _embeddings, "hidden", on_backbone=True)),
    Rung("finetuned", "fine-tuned end to end", _finetuned, work=photos_seen),
)


def chosen_rungs(names: Sequence[str]) -> tuple[Rung, ...]:
    """Those named, in the ladder's order; all where none is. Another name is a `UsageError`."""
    known = {rung.name for rung in RUNGS}
    unknown = [name for name in names if name not in known]
    if unknown:
        allowed = ", ".join(rung.name for rung in RUNGS)
        raise UsageError(f"There is no rung {', '.join(map(repr, unknown))}; allowed are {allowed}.")
    return tuple(rung for rung in RUNGS if rung.name in names or not names)
