"""Ultralytics' classify task over a folder, batched, a ResNet-18 from torchvision under its head.

Its head adds a 1 x 1 convolution to 1,280 channels, 2 % of the work. bfloat16 is not offered on a CPU.

python ultralytics_predict.py SIDE_PIXELS PHOTOS
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ultralytics
from peer import BATCH, Clock, answer, photos

NETWORK = """
nc: 2
backbone:
  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def main(side: str, folder: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        description = Path(scratch) / "resnet18-cls.yaml"
        description.write_text(NETWORK)
        model = ultralytics.YOLO(description, task="classify")
        how = {"imgsz": int(side), "batch": BATCH, "stream": True, "verbose": False, "device": "cpu", "save": False}
        list(model.predict(photos(folder)[0], **how))
        clock = Clock()
        images = sum(1 for _ in model.predict(folder + "/**/*.*", **how))
    answer(images=images, seconds=clock.seconds, version=ultralytics.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
