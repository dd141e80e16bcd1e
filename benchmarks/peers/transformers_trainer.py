"""transformers' Trainer on the same folder, four epochs end to end, its example's augmentation and learning rate.

python transformers_trainer.py BACKBONE_FOLDER TRAIN TEST
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from peer import Clock, answer, photos
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn


class Photos(torch.utils.data.Dataset):
    """Pixels and label of one file."""

    def __init__(self, folder: str, transform: object) -> None:
        self.files = photos(folder)
        self.labels = sorted({Path(file).parent.name for file in self.files})
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, object]:
        image = Image.open(self.files[index]).convert("RGB")
        label = self.labels.index(Path(self.files[index]).parent.name)
        return {"pixel_values": self.transform(image), "labels": label}


class Classifier(nn.Module):
    """A timm network that gives its loss, as Trainer wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixel_values)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def main(backbone: str, train: str, test: str) -> None:
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    network = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=2)
    config = resolve_data_config({}, model=network)
    clock = Clock()
    learned = Photos(train, create_transform(**config, is_training=True, no_aug=False, auto_augment=None))
    tested = Photos(test, create_transform(**config))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = transformers.TrainingArguments(
            scratch,
            num_train_epochs=4,
            per_device_train_batch_size=8,
            learning_rate=5e-5,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            save_strategy="no",
            dataloader_num_workers=2,
            seed=0,
        )
        trainer = transformers.Trainer(Classifier(network), arguments, train_dataset=learned)
        trainer.train()
        seconds = clock.seconds
        predictions = trainer.predict(tested)
    accuracy = float(np.mean(predictions.predictions.argmax(1) == predictions.label_ids))
    answer(seconds=seconds, accuracy=accuracy, version=transformers.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
