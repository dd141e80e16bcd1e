"""Fine-tuning measured as the frozen head was: on the same folds, each photo by a network that has not seen it.

Choosing the number of epochs: inside each fold, a first run leaves out a fifth of the training part, with groups kept
together, and measures the log loss on it after each epoch, at each blend. From the losses of all folds one number of
epochs and one blend are chosen (`schedule.best`), as one head is chosen for all; a second run then trains on each whole
training part for that long. No epoch at all is among the choices.
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
from handful.service.terminal.progress import FINE_TUNING, Advance
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.photos import PhotoLoader
from handful.training.finetune.schedule import Losses, best, has_ended, mean_over_folds
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.trainer import Progress, Start, Trainer, embeddings_of
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Fold, Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Rows
from handful.training.head.unknown import fold_scores
from handful.training.metrics import image_log_losses

INNER, OUTER, FINAL = range(3)  # the kind of run; each kind has its own random numbers


@dataclass(frozen=True)
class OutOfFold:
    """What the folds' networks answered, averaged over repeats where a photo was tested more than once."""

    logits: Floats  # (N, L)
    known: Floats  # (N,) distances to the nearest label, NaN where the label itself was held out
    strangers: Floats  # (N,) distances to the nearest other label
    epochs: int
    blend: float


@dataclass(frozen=True)
class CrossValidation:
    """Everything that the runs of one fine-tuning share; `data` is what the frozen backbone gave."""

    photos: PhotoLoader
    data: LabelledEmbeddings
    settings: FineTuneSettings
    seed: int
    ranks: Ranks
    checkpoints: Checkpoints
    start: Callable[[Rows], Start]  # with the head that was trained on these photos alone
    progress: Advance

    def out_of_fold(self, folds: Folds) -> OutOfFold:
        """Photos that no fold tests have zeros."""
        divided = list(folds)
        measured = [self._measured(number, fold.train, len(divided)) for number, fold in enumerate(divided)]
        epochs, chosen = best(mean_over_folds(measured, len(self.data)))
        blend = self.settings.blends[chosen]
        answers = np.zeros((folds.repeats, len(self.data), self.data.label_count + 2), dtype=np.float32)
        for number, fold in enumerate(divided):
            answers[fold.repeat, fold.test] = self._fold(number, fold, epochs, blend, len(divided)).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN is right where a photo's label was held out with it in each repeat
            means = np.nanmean(answers, axis=0)
        return OutOfFold(means[:, :-2], means[:, -2], means[:, -1], epochs, blend)

    def train_on_all(self, epochs: int, blend: float) -> Network:
        trainer = self._trainer(np.arange(len(self.data)), [FINAL, 0])
        with self._stage(len(self.data), "all photos") as progress:
            self._train(trainer, "final", epochs, progress)
        return trainer.blended_network(blend)

    def most_photos(self, folds: Folds) -> int:
        """The total of photos over all epochs and runs if no run stops early."""
        return self.settings.epochs * (sum(2 * len(fold.train) for fold in folds) + len(self.data))

    def _measured(self, number: int, train: Rows, count: int) -> tuple[Rows, list[Losses]]:
        """The part of the training part that was left out, and its losses before and after each epoch."""
        inner_folds = Folds.make(self.data.labels[train], self.data.groups[train], self.seed)
        inner = next(iter(inner_folds))
        held_out = train[inner.test]
        with self._stage(len(train), f"how far, {number + 1} of {count}") as progress:

            def measure() -> dict[str, Any]:
                losses = self._inner(number, train[inner.train], held_out, progress)
                return {"losses": [torch.from_numpy(each) for each in losses]}

            losses = self.checkpoints.remember(f"losses-{number}", measure)["losses"]
        return held_out, [each.numpy() for each in losses]

    def _inner(self, number: int, inner: Rows, held_out: Rows, progress: Progress) -> list[Losses]:
        trainer = self._trainer(inner, [INNER, number])
        saved = self.checkpoints.running(f"stopping-{number}")
        losses: list[Losses] = (
            [loss.numpy() for loss in saved["losses"]] if saved else [self._losses(trainer, held_out)]
        )
        if saved:
            trainer.load(saved["run"])
        while not has_ended(losses, self.settings):
            trainer.train_epoch(progress)
            losses.append(self._losses(trainer, held_out))
            so_far = [torch.from_numpy(loss) for loss in losses]
            state = lambda: {"run": trainer.state(), "losses": so_far}  # noqa: B023, E731 - called before the next epoch
            self.checkpoints.save_running(f"stopping-{number}", state)
        return losses

    def _fold(self, number: int, fold: Fold, epochs: int, blend: float, count: int) -> torch.Tensor:
        with self._stage(len(fold.train), f"fold {number + 1} of {count}") as progress:

            def answer() -> dict[str, Any]:
                trainer = self._trainer(fold.train, [OUTER, number])
                self._train(trainer, f"fold-{number}", epochs, progress)
                return {"answers": self._answers(trainer.blended_network(blend), fold)}

            answers: torch.Tensor = self.checkpoints.remember(f"answers-{number}", answer)["answers"]
        return answers

    def _losses(self, trainer: Trainer, held_out: Rows) -> Losses:
        """Of calibrated answers to photos that the run does not learn from; the same numbers in all processes.

        Without the calibration, the most confident network would seem the best.
        """
        labels = self.data.labels[held_out]
        of_blends = [
            image_log_losses(calibrated(logits, fit_temperature(logits, labels)), labels)
            for logits in trainer.logits(held_out, self.settings.blends).double().numpy()  # (H, L)
        ]
        losses = torch.from_numpy(np.stack(of_blends)).to(trainer.device)  # (B, H)
        self.ranks.copy_from_first([losses])
        return losses.cpu().numpy()

    def _train(self, trainer: Trainer, name: str, epochs: int, progress: Progress) -> None:
        if saved := self.checkpoints.running(name):
            trainer.load(saved)
        while trainer.epoch < epochs:
            trainer.train_epoch(progress)
            self.checkpoints.save_running(name, trainer.state)

    def _answers(self, network: Network, fold: Fold) -> torch.Tensor:
        """(T, L + 2): logits, distance to the nearest label, distance to the nearest other label."""
        seen, unseen = (
            self.data.take(rows).with_embeddings(embeddings_of(network, self.photos, rows, self.ranks))
            for rows in (fold.train, fold.test)
        )
        logits = network.logits(torch.from_numpy(unseen.embeddings)).numpy()
        return torch.from_numpy(np.column_stack([logits, *fold_scores(seen, unseen)]))

    def _trainer(self, part: Rows, seed: Sequence[int]) -> Trainer:
        seeds = [self.seed, *seed]
        return Trainer(self.start(part), self.photos, self.data.labels, part, self.settings, seeds, self.ranks)

    @contextmanager
    def _stage(self, photos: int, name: str) -> Iterator[Progress]:
        """Reports progress on `photos` per epoch; at the end, subtracts what stopping early has saved."""
        done = 0

        def progress(count: int, message: str) -> None:
            nonlocal done
            done += count
            self.progress(count, f"{FINE_TUNING}, {name}, {message}")

        yield progress
        self.progress(0, fewer=self.settings.epochs * photos - done)
