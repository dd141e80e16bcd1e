"""timm as its inference.py does it: dataset, loader with workers, channels_last, autocast to bfloat16.

python timm_loader.py MODEL_FOLDER PHOTOS
"""

from __future__ import annotations

import os
import sys

import timm
import torch
from peer import BATCH, Clock, answer
from timm.data import create_dataset, create_loader, resolve_data_config


def main(model_folder: str, folder: str) -> None:
    model = timm.create_model(f"local-dir:{model_folder}", pretrained=True).eval()
    model = model.to(memory_format=torch.channels_last)
    config = resolve_data_config({}, model=model)
    model(torch.zeros(1, *config["input_size"]))
    clock, images, labels = Clock(), 0, []
    loader = create_loader(
        create_dataset("", root=folder),
        batch_size=BATCH,
        use_prefetcher=False,
        num_workers=len(os.sched_getaffinity(0)),
        device=torch.device("cpu"),
        **config,
    )
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for batch, _ in loader:
            output = model(batch.contiguous(memory_format=torch.channels_last)).softmax(-1)
            labels += output.topk(1).indices[:, 0].tolist()
            images += len(batch)
    answer(images=images, seconds=clock.seconds, version=timm.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
