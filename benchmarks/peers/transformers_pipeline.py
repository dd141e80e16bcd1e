"""transformers' image-classification pipeline, batched, with the same weights as a timm checkpoint.

python transformers_pipeline.py MODEL_FOLDER PRECISION PHOTOS
"""

from __future__ import annotations

import sys

import torch
import transformers
from peer import BATCH, Clock, answer, photos


def main(model_folder: str, precision: str, folder: str) -> None:
    dtype = getattr(torch, precision)
    classify = transformers.pipeline("image-classification", model=model_folder, device="cpu", dtype=dtype)
    files = photos(folder)
    classify(files[:1])
    clock = Clock()
    images = sum(1 for _ in classify((file for file in files), batch_size=BATCH))
    answer(images=images, seconds=clock.seconds, version=transformers.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
