"""scikit-learn on embeddings, as people write it: one image at a time through timm, then LogisticRegression.

With cross-validation, which is what stands behind handful's numbers: cross_val_score with five folds.

python sklearn_embeddings.py BACKBONE_FOLDER TRAIN TEST
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import sklearn
import timm
import torch
from peer import Clock, answer, photos
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from timm.data import create_transform, resolve_data_config


def main(backbone: str, train: str, test: str) -> None:
    model = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    clock = Clock()
    embeddings, labels = embed(model, transform, train)
    cross_val_score(LogisticRegression(max_iter=1000), embeddings, labels, cv=5)
    head = LogisticRegression(max_iter=1000).fit(embeddings, labels)
    seconds = clock.seconds
    accuracy = head.score(*embed(model, transform, test))
    answer(seconds=seconds, accuracy=float(accuracy), version=sklearn.__version__)


def embed(model: torch.nn.Module, transform: object, folder: str) -> tuple[np.ndarray, list[str]]:
    files = photos(folder)
    with torch.no_grad():
        rows = [model(transform(Image.open(file).convert("RGB")).unsqueeze(0))[0].numpy() for file in files]
    return np.stack(rows), [Path(file).parent.name for file in files]


if __name__ == "__main__":
    main(*sys.argv[1:])
