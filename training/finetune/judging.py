"""Fine-tuning judged as the frozen head was: on the same folds, each photo by a network that has not seen it.

How long is learned inside each fold: a first run leaves out a fifth of the training part, groups together, and finds
the epoch and the blend with the lowest log loss on it; a second one trains on the whole training part for so long. No
epoch at all is among the choices, so a fold in which nothing is to be gained answers as the frozen head does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from service.artifact.network import Network
from service.artifact.progress import Advance
from training.evaluation import log_loss
from training.finetune.checkpoints import Checkpoints
from training.finetune.photos import Photos
from training.finetune.ranks import Ranks
from training.finetune.run import Numbers, Progress, Run, Start, embeddings_of
from training.finetune.schedule import best_epoch, has_ended
from training.finetune.settings import FineTuneSettings
from training.folds import Fold, Labels, make_folds
from training.linear import Floats
from training.unknown import fold_scores

INNER, OUTER, FINAL = range(3)  # which kind of run; each has random numbers of its own


@dataclass(frozen=True)
class OutOfFold:
    """What the folds' networks answered, averaged over repeats where a photo was tested more than once."""

    logits: Floats  # (N, L)
    known: Floats  # (N,) distances to the nearest label, NaN where the label itself was held out
    strangers: Floats  # (N,) distances to the nearest other label
    epochs: tuple[int, ...]  # a fold
    blends: tuple[float, ...]  # a fold


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
        epochs, blends = [], []
        for number, (train, test) in enumerate(folds):
            answer = self._fold(number, train, test, len(folds))
            found[number * repeats // len(folds), test] = answer["found"].numpy()
            epochs.append(int(answer["epochs"]))
            blends.append(float(answer["blend"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a photo whose label was held out with it each time: NaN is the answer
            means = np.nanmean(found, axis=0)
        return OutOfFold(means[:, :-2], means[:, -2], means[:, -1], tuple(epochs), tuple(blends))

    def final(self, epochs: int, blend: float) -> Network:
        """What every photo together has taught."""
        run = self._run(np.arange(len(self.labels)), [FINAL, 0])
        with self._piece(len(self.labels), "all photos") as progress:
            self._train(run, "final", epochs, progress)
        return run.answers(blend)

    def most_photos(self, folds: Sequence[Fold]) -> int:
        """How many times a photo is learned from if nothing stops early."""
        return self.settings.epochs * (sum(2 * len(train) for train, _ in folds) + len(self.labels))

    def _fold(self, number: int, train: Numbers, test: Numbers, count: int) -> dict[str, Any]:
        with self._piece(2 * len(train), f"fold {number + 1} of {count}") as progress:

            def choose() -> dict[str, Any]:
                epochs, blend = self._choose(number, train, progress)
                return {"epochs": epochs, "blend": blend}

            def answer() -> dict[str, Any]:
                chosen = self.checkpoints.remember(f"epochs-{number}", choose)
                run = self._run(train, [OUTER, number])
                self._train(run, f"fold-{number}", chosen["epochs"], progress)
                return {"found": self._answers(run.answers(chosen["blend"]), train, test), **chosen}

            return self.checkpoints.remember(f"answers-{number}", answer)

    def _choose(self, number: int, train: Numbers, progress: Progress) -> tuple[int, float]:
        """How many epochs, and which blend."""
        inner, held_out = (train[part] for part in make_folds(self.labels[train], self.groups[train], self.seed)[0])
        run = self._run(inner, [INNER, number])
        saved = self.checkpoints.running(f"stopping-{number}")
        losses: list[float] = saved["losses"] if saved else [self._loss(run, held_out, 0.0)]
        blends: list[float] = saved["blends"] if saved else [0.0]
        if saved:
            run.load(saved["run"])
        while not has_ended(losses, self.settings):
            run.train_epoch(progress)
            loss, blend = min((self._loss(run, held_out, blend), blend) for blend in self.settings.blends)
            losses.append(loss)
            blends.append(blend)
            found = {"losses": losses, "blends": blends}
            self.checkpoints.save_running(f"stopping-{number}", lambda: {"run": run.state(), **found})  # noqa: B023
        return best_epoch(losses), blends[best_epoch(losses)]

    def _loss(self, run: Run, held_out: Numbers, blend: float) -> float:
        """Log loss on photos that the run does not learn from; one number for all processes."""
        logits = run.logits(held_out, blend).double().numpy()
        loss = torch.tensor(log_loss(softmax(logits, axis=1), self.labels[held_out]), device=run.device)
        self.ranks.copy_from_first([loss])
        return float(loss)

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
