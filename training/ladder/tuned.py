"""The top rung: the whole network trained end to end, by the same code as `handful train --finetune`.

It starts from the head of the training part alone, chooses its epochs within that part, and is judged whether or not it
is better than the frozen network: here that is the question.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from handful.service.terminal.progress import Advance
from handful.training.backbone import Backbone
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.cross_validation import Judge
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.photos import Photos
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.trainer import Start
from handful.training.head.folds import Labels
from handful.training.head.linear import Floats
from handful.training.ladder.features import FoldHead
from handful.training.ladder.fit import Indices

SETTINGS = FineTuneSettings()


def photos_seen(images: int) -> int:
    """How often a photo is learned from at most, choosing the epochs included."""
    return 2 * images * SETTINGS.for_photos(images).epochs


def tuned_answer(
    paths: Sequence[Path],
    labels: Labels,
    groups: Labels,
    backbone: Backbone,
    learn: Callable[[Indices], FoldHead],
    train: Indices,
    seed: int,
    progress: Advance,
) -> Callable[[Indices], Floats]:
    """Photos by their rows -> logits (N, L); the training happens when that is asked for the first time."""

    def start(part: Indices) -> Start:
        return Start(backbone.network, "linear", learn(part).for_all_labels())

    def answer(test: Indices) -> Floats:
        with tempfile.TemporaryDirectory() as folder:
            judge = Judge(
                photos=Photos(paths, backbone.preprocessing),
                labels=labels,
                groups=groups,
                label_count=int(labels.max()) + 1,
                settings=SETTINGS.for_photos(len(train)),
                seed=seed,
                ranks=Ranks(),
                checkpoints=Checkpoints(Path(folder), "compare", Ranks()),
                start=start,
                progress=progress,
            )
            return np.asarray(judge.out_of_fold([(train, test)]).logits[test])

    return answer
