"""Fine-tuning judged as the frozen head was: on the same folds, each photo by a network that has not seen it.

How long is learned: inside each fold a first run leaves out a fifth of the training part, groups together, and measures
the log loss on it after each epoch, at each blend. From the losses of all folds one epoch and one blend are chosen
(`schedule.best`), as one head is chosen for all; then a second run trains on each whole training part for so long. No
epoch at all is among the choices.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from handful.service.compute.network import Network
from handful.service.terminal.progress import Advance
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.photos import Photos
from handful.training.finetune.schedule import Losses, best, has_ended, pooled
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.trainer import Numbers, Progress, Run, Start, embeddings_of
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Fold, Labels, make_folds
from handful.training.head.linear import Floats
from handful.training.head.unknown import fold_scores

INNER, OUTER, FINAL = range(3)  # which kind of run; each has random numbers of its own
LEAST = 1e-15  # probability, so that no photo's loss is infinite


@dataclass(frozen=True)
class OutOfFold:
    """What the folds' networks answered, averaged over repeats where a photo was tested more than once."""

    logits: Floats  # (N, L)
    known: Floats  # (N,) distances to the nearest label, NaN where the label itself was held out
    strangers: Floats  # (N,) distances to the nearest other label
    epochs: int
    blend: float


@dataclass(frozen=True)
class Judge:
    """All that the runs of one fine-tuning share."""

    photos: Photos
    labels: Labels
    groups: Labels
    label_count: int
    settings: FineTuneSettings
    seed: int
    ranks: Ranks
    checkpoints: Checkpoints
    start: Callable[[Numbers], Start]  # from the head that was trained on these photos alone
    progress: Advance

    def out_of_fold(self, folds: Sequence[Fold]) -> OutOfFold:
        count = len(self.labels)
        repeats = max(1, sum(len(test) for _, test in folds) // count)  # one fold alone leaves the others at nought
        found = np.zeros((repeats, count, self.label_count + 2), dtype=np.float32)
        measured = [self._measured(number, train, len(folds)) for number, (train, _) in enumerate(folds)]
        epochs, chosen = best(pooled(measured, count))
        blend = self.settings.blends[chosen]
        for number, (train, test) in enumerate(folds):
            answers = self._fold(number, train, test, epochs, blend, len(folds))
            found[number * repeats // len(folds), test] = answers.numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a photo whose label was held out with it each time: NaN is the answer
            means = np.nanmean(found, axis=0)
        return OutOfFold(means[:, :-2], means[:, -2], means[:, -1], epochs, blend)

    def final(self, epochs: int, blend: float) -> Network:
        """What every photo together has taught."""
        run = self._run(np.arange(len(self.labels)), [FINAL, 0])
        with self._piece(len(self.labels), "all photos") as progress:
            self._train(run, "final", epochs, progress)
        return run.answers(blend)

    def most_photos(self, folds: Sequence[Fold]) -> int:
        """How many times a photo is learned from if nothing stops early."""
        return self.settings.epochs * (sum(2 * len(train) for train, _ in folds) + len(self.labels))

    def _measured(self, number: int, train: Numbers, count: int) -> tuple[Numbers, list[Losses]]:
        """Which photos a part of the training part was measured on, and what was found before and after each epoch."""
        inner, held_out = (train[part] for part in make_folds(self.labels[train], self.groups[train], self.seed)[0])
        with self._piece(len(train), f"how far, {number + 1} of {count}") as progress:

            def measure() -> dict[str, Any]:
                return {"losses": [torch.from_numpy(each) for each in self._inner(number, inner, held_out, progress)]}

            remembered = self.checkpoints.remember(f"losses-{number}", measure)["losses"]
        return held_out, [each.numpy() for each in remembered]

    def _inner(self, number: int, inner: Numbers, held_out: Numbers, progress: Progress) -> list[Losses]:
        run = self._run(inner, [INNER, number])
        saved = self.checkpoints.running(f"stopping-{number}")
        losses: list[Losses] = [loss.numpy() for loss in saved["losses"]] if saved else [self._losses(run, held_out)]
        if saved:
            run.load(saved["run"])
        while not has_ended(losses, self.settings):
            run.train_epoch(progress)
            losses.append(self._losses(run, held_out))
            so_far = [torch.from_numpy(loss) for loss in losses]
            self.checkpoints.save_running(f"stopping-{number}", lambda: {"run": run.state(), "losses": so_far})  # noqa: B023
        return losses

    def _fold(
        self, number: int, train: Numbers, test: Numbers, epochs: int, blend: float, count: int
    ) -> torch.Tensor:  # fmt: skip
        with self._piece(len(train), f"fold {number + 1} of {count}") as progress:

            def answer() -> dict[str, Any]:
                run = self._run(train, [OUTER, number])
                self._train(run, f"fold-{number}", epochs, progress)
                return {"found": self._answers(run.answers(blend), train, test)}

            found: torch.Tensor = self.checkpoints.remember(f"answers-{number}", answer)["found"]
        return found

    def _losses(self, run: Run, held_out: Numbers) -> Losses:
        """Of calibrated answers, or the surest would seem the best, on photos that the run does not learn from.

        The same numbers in all processes.
        """
        labels = self.labels[held_out]
        found = []
        for logits in run.logits(held_out, self.settings.blends).double().numpy():  # (H, L)
            probabilities = calibrated(logits, fit_temperature(logits, labels))
            found.append(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST)))
        losses = torch.from_numpy(np.stack(found)).to(run.device)  # (B, H)
        self.ranks.copy_from_first([losses])
        return losses.cpu().numpy()

    def _train(self, run: Run, name: str, epochs: int, progress: Progress) -> None:
        if saved := self.checkpoints.running(name):
            run.load(saved)
        while run.epoch < epochs:
            run.train_epoch(progress)
            self.checkpoints.save_running(name, run.state)

    def _answers(self, network: Network, train: Numbers, test: Numbers) -> torch.Tensor:
        """(T, L + 2): logits, distance to the nearest label, distance to the nearest other label."""
        seen, unseen = (embeddings_of(network, self.photos, part, self.ranks) for part in (train, test))
        known, strangers = fold_scores(seen, self.labels[train], unseen, self.labels[test], self.label_count)
        logits = network.logits(torch.from_numpy(unseen)).numpy()
        return torch.from_numpy(np.column_stack([logits, known, strangers]))

    def _run(self, part: Numbers, seed: Sequence[int]) -> Run:
        start = self.start(part)
        return Run(start, self.photos, self.labels, part, self.settings, [self.seed, *seed], self.ranks)

    @contextmanager
    def _piece(self, photos: int, words: str) -> Iterator[Progress]:
        """Says what is done of `photos` an epoch; at the end, how much less it was than it could have been."""
        done = 0

        def progress(count: int, found: str) -> None:
            nonlocal done
            done += count
            self.progress(count, f"fine-tune, {words}, {found}")

        yield progress
        self.progress(0, fewer=self.settings.epochs * photos - done)
