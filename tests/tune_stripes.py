"""`train --finetune` with settings for tiny networks, run as a process: tune_stripes.py FOLDER BACKBONE HOME."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from handful.training.finetune.distributed import started_rank
from handful.training.finetune.settings import FineTuneSettings
from handful.training.settings import TrainSettings
from handful.training.train import follow_train, train_folder

# in float32: in bfloat16 the sums over a batch round differently when two processes share the batch
QUICK = FineTuneSettings(epochs=5, batch=8, learning_rate=1e-2, lowest_rate_share=0.3, low_precision=False)


def quick_settings(backbone: Path) -> TrainSettings:
    """For a hundred photos or more, where each photo is tested once."""
    finetune = QUICK.model_copy(update={"epochs": 3, "batch": 16})
    return TrainSettings(name="stripes", backbone=str(backbone), head="linear", finetune=finetune)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it
    folder, backbone, home = map(Path, sys.argv[1:])
    os.environ["HANDFUL_HOME"] = str(home)
    (follow_train if started_rank() else train_folder)(folder, quick_settings(backbone))
