"""`train --finetune` with settings for tiny networks, as a process: python tune_stripes.py FOLDER BACKBONE HOME."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from handful.training.finetune.distributed import started_rank
from handful.training.finetune.settings import FineTuneSettings
from handful.training.settings import TrainSettings
from handful.training.train import follow_train, train_folder

# in float32: bfloat16 would round the sums over a batch differently where two processes share it
QUICK = FineTuneSettings(epochs=5, batch=8, learning_rate=1e-2, lowest_rate_share=0.3, low_precision=False)


def quick_settings(backbone: Path) -> TrainSettings:
    """For a hundred photos: from there on each is judged once."""
    finetune = QUICK.model_copy(update={"epochs": 3, "batch": 16})
    return TrainSettings(name="stripes", backbone=str(backbone), head="linear", finetune=finetune)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
    folder, backbone, home = map(Path, sys.argv[1:])
    os.environ["HANDFUL_HOME"] = str(home)
    (follow_train if started_rank() else train_folder)(folder, quick_settings(backbone))
