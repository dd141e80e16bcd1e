"""fastai's vision_learner way: default augmentation, fine_tune(4), the same weights below its head.

vision_learner itself only knows networks by name; what it builds (create_head, default split, normalisation by the
network's statistics) is put together here around a local folder's weights.

python fastai_finetune.py BACKBONE_FOLDER SIDE_PIXELS TRAIN TEST
"""

from __future__ import annotations

import sys

import fastai
import timm
import torch
from fastai.vision.all import (
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    create_head,
    default_split,
    get_image_files,
)
from peer import Clock, answer
from torch import nn


def main(backbone: str, side: str, train: str, test: str) -> None:
    body = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=0, global_pool="")
    clock = Clock()
    data = ImageDataLoaders.from_folder(
        train,
        valid_pct=0.2,
        seed=0,
        item_tfms=Resize(int(side)),
        batch_tfms=[
            *aug_transforms(),
            Normalize.from_stats(body.pretrained_cfg["mean"], body.pretrained_cfg["std"]),
        ],
        bs=32,
        num_workers=2,
        device=torch.device("cpu"),
    )
    model = nn.Sequential(body, create_head(body.num_features, data.c))
    learner = Learner(data, model, splitter=default_split, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(4)
    seconds = clock.seconds
    files = get_image_files(test)
    with learner.no_bar(), learner.no_logging():
        probabilities, _ = learner.get_preds(dl=data.test_dl(files))
    right = sum(data.vocab[int(p.argmax())] == f.parent.name for p, f in zip(probabilities, files, strict=True))
    answer(seconds=seconds, accuracy=right / len(files), version=fastai.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
