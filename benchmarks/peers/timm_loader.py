"""timm as its inference.py does it: dataset, loader with workers; float32, or --channels-last with --amp to bfloat16.

python timm_loader.py MODEL_FOLDER PRECISION PHOTOS
"""

from __future__ import annotations

import os
import sys

import timm
import torch
from peer import BATCH, Clock, answer
from timm.data import create_dataset, create_loader, resolve_data_config


def main(model_folder: str, precision: str, folder: str) -> None:
    model = timm.create_model(f"local-dir:{model_folder}", pretrained=True).eval()
    low = precision == "bfloat16"
    layout = torch.channels_last if low else torch.contiguous_format
    model = model.to(memory_format=layout)
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
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        for batch, _ in loader:
            output = model(batch.contiguous(memory_format=layout)).softmax(-1)
            labels += output.topk(1).indices[:, 0].tolist()
            images += len(batch)
    answer(images=images, seconds=clock.seconds, version=timm.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
