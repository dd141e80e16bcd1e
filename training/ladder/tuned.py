"""The top rung: the whole network trained end to end, by the same code as `handful train --finetune`.

It starts from a head of the training part alone and chooses its epochs within that part. It is used whether or not it
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
from handful.training.finetune.cross_validation import CrossValidation
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.photos import PhotoLoader
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.trainer import Start
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Rows
from handful.training.ladder.features import train_head

SETTINGS = FineTuneSettings()


def photos_seen(images: int) -> int:
    """The most photos that training goes through, over all epochs, choosing their number included."""
    return 2 * images * SETTINGS.for_photos(images).epochs


def fine_tuned_answer(
    paths: Sequence[Path], data: LabelledEmbeddings, backbone: Backbone, train: Rows, seed: int, progress: Advance
) -> Callable[[Rows], Floats]:
    """Test photos by their rows -> logits (N, L). Training begins at the first call: its test part must be known."""

    def start(part: Rows) -> Start:
        return Start(backbone.network, train_head("linear", data.take(part), seed).for_all_labels())

    def answer(test: Rows) -> Floats:
        with tempfile.TemporaryDirectory() as folder:
            validation = CrossValidation(
                photos=PhotoLoader(paths, backbone.preprocessing),
                data=data,
                settings=SETTINGS.for_photos(len(train)),
                seed=seed,
                ranks=Ranks(),
                checkpoints=Checkpoints(Path(folder), "compare", Ranks()),
                start=start,
                progress=progress,
            )
            return np.asarray(validation.out_of_fold(Folds.single(test, len(data))).logits[test])

    return answer
