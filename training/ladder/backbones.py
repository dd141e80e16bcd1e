"""`--backbone auto`: which of several pretrained networks tells a person's labels apart best, measured on their photos.

Every network embeds the same photos, and the head of `train` is fitted on the same folds. A network is left behind
where the most accurate one is better beyond noise, by the paired bootstrap that also decides on fine-tuning
(finetune/significance.py). Of the others the fastest is taken, or the smallest of those that are about as fast. The
speed is that of the network alone, on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from handful.service.artifact.errors import DataError
from handful.service.compute.engine import FEW_IMAGES
from handful.service.compute.network import Network
from handful.service.compute.pipeline import Batch, run_batches
from handful.service.terminal.progress import LEARNING, LOADING, next_stage, tell
from handful.training.backbone import Backbone, load_backbone
from handful.training.checks import BUILTINS, backbones_to_try, trying
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.significance import PairedGain, paired_bootstrap
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, fit_head
from handful.training.learning import embed_with, embedder_of
from handful.training.metrics import Metrics, metrics
from handful.training.photos.duplicates import group_numbers
from handful.training.photos.inspection import Inspected, require_labels
from handful.training.photos.sources import Dataset, wanted_labels
from torch import Tensor

SPEED_ROUNDS, ROUND_SECONDS, SLOW_SECONDS = 3, 0.2, 1.0  # a network that needs as long is measured no further
SPEED_TIE = 0.2  # networks that are slower than the fastest by no more than this share are about as fast
ONE_LABEL = "--backbone auto compares how well labels are told apart, and there is only one; name one network instead."


@dataclass(frozen=True)
class EmbeddedPhotos:
    """A person's usable photos, as `train` goes on with them, embedded by one network."""

    backbone: Backbone
    inspected: Inspected
    embed_seconds: float
    network: Network


@dataclass(frozen=True)
class BackboneTrial(EmbeddedPhotos):
    """With the head's answers (N, L), calibrated and out of fold, to the photos that all networks can use."""

    answers: np.ndarray
    metrics: Metrics
    images_per_second: float

    @property
    def megabytes(self) -> float:
        """Of its weights, as an artifact holds them."""
        weights: Sequence[Tensor] = [*self.backbone.network.state_dict().values()]
        return sum(each.nbytes for each in weights) / 1e6

    @property
    def licence(self) -> str | None:
        licence: str | None = self.backbone.config["pretrained_cfg"].get("license")
        return licence


@dataclass(frozen=True)
class ChosenBackbone:
    """The trials in the order of the references, and what was taken."""

    trials: tuple[BackboneTrial, ...]
    gains: tuple[PairedGain | None, ...]  # of the most accurate one over each; None for itself
    chosen: int
    own_folds: bool  # training with the chosen network alone divides the photos otherwise
    seconds: float

    @property
    def trial(self) -> BackboneTrial:
        return self.trials[self.chosen]

    @property
    def result(self) -> dict[str, Any]:
        """For JSON, and for the table on the terminal."""
        return {
            "chosen": self.trial.backbone.ref,
            "reason": _reason(self.trials, self.gains),
            "images": len(self.trial.answers),
            "own_folds": self.own_folds,
            "tried": [self._row(number) for number in range(len(self.trials))],
        }

    def _row(self, number: int) -> dict[str, Any]:
        trial, gain = self.trials[number], self.gains[number]
        return {
            "ref": trial.backbone.ref,
            "revision": trial.backbone.revision,
            "accuracy": trial.metrics.accuracy,
            "accuracy_ci95": list(trial.metrics.accuracy_ci95),
            "log_loss": trial.metrics.log_loss,
            "behind": gain is not None and gain.significant,
            "images_per_second": round(trial.images_per_second, 1),
            "megabytes": round(trial.megabytes, 1),
            "licence": trial.licence,
            "chosen": number == self.chosen,
        }


def load_backbones(ref: str) -> list[Backbone]:
    """The network that `--backbone` names; of `auto` several, in order.

    All of them are loaded before any work begins, those first that might not be had.
    """
    next_stage(LOADING)
    refs = backbones_to_try(ref) or (ref,)
    loaded = {ref: load_backbone(ref) for ref in sorted(refs, key=lambda ref: ref in BUILTINS)}
    return [loaded[ref] for ref in refs]


def choose_backbone(
    backbones: Sequence[Backbone],
    dataset: Dataset,
    head: HeadSettings,
    seed: int,
    ranks: Ranks,
    *,
    thumbnails: bool,
) -> ChosenBackbone:
    """Raises `DataError` where there is only one label, or nothing can be learned."""
    started = time.monotonic()
    with ranks.first_rank_first():  # the other processes then find all embeddings in the cache
        embedded = [_embedded(backbone, dataset, thumbnails=thumbnails) for backbone in backbones]
    alike = on_same_photos([one.inspected for one in embedded])
    folds = Folds.make(alike[0].labels, alike[0].groups, seed)
    next_stage(LEARNING)
    measured = [_answers(one, data, folds, head, seed) for one, data in zip(embedded, alike, strict=True)]
    trials = tuple(
        BackboneTrial(**vars(one), answers=answers, metrics=its, images_per_second=speed)
        for one, (answers, its), speed in zip(embedded, measured, images_per_second(embedded), strict=True)
    )
    gains = gains_of_best(trials, alike[0], seed)
    chosen = _agreed(fastest(trials, gains), ranks)
    tell(f"{trials[chosen].backbone.ref} was chosen of {len(trials)} networks; now the model learns with it.")
    alone = Folds.make(trials[chosen].inspected.label_index, trials[chosen].inspected.groups, seed)
    own_folds = not np.array_equal(alone.numbers, folds.numbers)
    return ChosenBackbone(trials, gains, chosen, own_folds, time.monotonic() - started)


def _embedded(backbone: Backbone, dataset: Dataset, *, thumbnails: bool) -> EmbeddedPhotos:
    embedder = embedder_of(backbone, thumbnails=thumbnails)
    inspected, seconds = embed_with(embedder, dataset, generic=True, stage=trying(backbone.ref))
    require_labels(inspected, wanted_labels(dataset))
    if len(inspected.labels) == 1:
        raise DataError(ONE_LABEL)
    return EmbeddedPhotos(backbone, inspected, seconds, embedder.network)


def on_same_photos(each: Sequence[Inspected]) -> list[LabelledEmbeddings]:
    """The photos that all networks can use, in one order, with the same groups: photos that any network takes for
    near-duplicates are never divided.
    """
    rows = [{image.content_sha256: row for row, image in enumerate(one.images)} for one in each]
    shared = [content for content in rows[0] if all(content in other for other in rows[1:])]
    taken = [np.array([of[content] for content in shared], dtype=np.intp) for of in rows]
    pairs = [pair for one, row in zip(each, taken, strict=True) for pair in _pairs(one.groups[row])]
    groups = group_numbers(pairs, len(shared))
    labels, count = each[0].label_index[taken[0]], len(each[0].labels)
    return [
        LabelledEmbeddings(one.embeddings[row], labels, groups, count) for one, row in zip(each, taken, strict=True)
    ]


def _pairs(groups: np.ndarray) -> list[tuple[int, int]]:
    """Each row of (N,) with the first row of its group."""
    _, first, index = np.unique(groups, return_index=True, return_inverse=True)
    return [(int(first[group]), row) for row, group in enumerate(index) if first[group] != row]


def _answers(
    one: EmbeddedPhotos, data: LabelledEmbeddings, folds: Folds, head: HeadSettings, seed: int
) -> tuple[np.ndarray, Metrics]:
    try:
        logits = fit_head(data, folds, head, seed).out_of_fold_logits
    except DataError as e:
        raise DataError(f"{one.backbone.ref}: {e}") from e
    answers = calibrated(logits, fit_temperature(logits, data.labels))
    return answers, metrics(answers, data.labels, one.inspected.labels, data.groups)


def gains_of_best(
    trials: Sequence[BackboneTrial], data: LabelledEmbeddings, seed: int
) -> tuple[PairedGain | None, ...]:
    """Of the most accurate network, and among these the one with the lowest log loss, over each of the others."""
    best = min(trials, key=lambda trial: (-trial.metrics.accuracy, trial.metrics.log_loss))
    return tuple(
        None if trial is best else paired_bootstrap(trial.answers, best.answers, data.labels, data.groups, seed)
        for trial in trials
    )


def fastest(trials: Sequence[BackboneTrial], gains: Sequence[PairedGain | None]) -> int:
    """Of those that are not behind: the smallest of the about fastest."""
    return min(_about_fastest(trials, _equal(gains)), key=lambda number: trials[number].megabytes)


def _equal(gains: Sequence[PairedGain | None]) -> list[int]:
    """The networks that the most accurate one is not better than beyond noise, itself included."""
    return [number for number, gain in enumerate(gains) if gain is None or not gain.significant]


def _about_fastest(trials: Sequence[BackboneTrial], numbers: Sequence[int]) -> list[int]:
    most = max(trials[number].images_per_second for number in numbers)
    return [number for number in numbers if trials[number].images_per_second >= (1 - SPEED_TIE) * most]


def _agreed(chosen: int, ranks: Ranks) -> int:
    """That of process 0: the others of torchrun may have measured other speeds."""
    where = "cuda" if ranks.size > 1 and torch.cuda.is_available() else "cpu"
    number = torch.tensor([chosen], device=where)
    ranks.copy_from_first([number])
    return int(number)


def _reason(trials: Sequence[BackboneTrial], gains: Sequence[PairedGain | None]) -> str:
    equal = _equal(gains)
    behind = len(trials) - len(equal)
    if len(equal) == 1:
        return f"it answers these photos better than {'the other' if behind == 1 else 'the others'}, beyond noise"
    which = f"{len(equal)} of the networks" if behind else "both networks" if len(equal) == 2 else "all networks"
    alone = len(_about_fastest(trials, equal)) == 1
    why = "the fastest of them" if alone else "the smallest of those that are about equally fast"
    others = f"; the other {'one is' if behind == 1 else f'{behind} are'} worse beyond noise" if behind else ""
    return f"{which} answer these photos equally well within noise, and it is {why}{others}"


def images_per_second(embedded: Sequence[EmbeddedPhotos]) -> list[float]:
    """Of each network alone, by the engine and in the batches by which training embeds many photos.

    The networks take turns, so that other work on the machine slows all of them. The first turn also prepares buffers;
    it counts only for a network that is so slow that this does not matter.
    """
    speeds: list[list[float]] = [[] for _ in embedded]
    batches: list[int] = []
    for one, measured in zip(embedded, speeds, strict=True):
        one.network.choose_engine_for(FEW_IMAGES + 1)
        several = one.network.parallel_batches
        seconds = _seconds(one, several)
        batches.append(several * max(1, round(ROUND_SECONDS / max(seconds, 1e-6))))
        if seconds > SLOW_SECONDS:
            measured.append(several * one.network.batch / seconds)
    for _ in range(SPEED_ROUNDS):
        for one, count, measured in zip(embedded, batches, speeds, strict=True):
            spent = sum(count * one.network.batch / speed for speed in measured)
            if spent < SLOW_SECONDS:
                measured.append(count * one.network.batch / _seconds(one, count))
    return [float(np.median(each)) for each in speeds]


def _seconds(one: EmbeddedPhotos, batches: int) -> float:
    """For so many full batches of one random picture."""
    network, side = one.network, one.backbone.preprocessing.side_pixels
    picture = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))

    def run(batch: Batch[int, Tensor]) -> None:
        if batch.pixels is not None:
            network.embed(batch.pixels, pad_to=network.batch)

    started = time.perf_counter()
    pictures = range(batches * network.batch)
    several = network.parallel_batches
    for _ in run_batches(pictures, lambda _: picture, _same, run, size=network.batch, parallel_batches=several):
        pass
    return time.perf_counter() - started


def _same(pixels: Tensor) -> Tensor:
    return pixels
