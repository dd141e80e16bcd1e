"""`python -m training.pretrain WORK --pictures FILE ... [--teacher FOLDER]`."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch

from training.pretrain.loop import train
from training.pretrain.pictures import read_pictures
from training.pretrain.recipe import Recipe
from training.pretrain.student import Student, export
from training.pretrain.teacher import principal, write_targets
from training.pretrain.views import Batches, Views, write_views


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain a small ResNet by imitating a large one.")
    parser.add_argument("work", type=Path, help="folder for views, targets, checkpoint, log and result")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True)
    parser.add_argument("--views", type=int, nargs="+", help="crops per picture, one number per file")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="any field of Recipe")
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(a.work / "log.txt")],
    )
    given = {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in a.set)}
    recipe = Recipe(views=tuple(a.views or [1] * len(a.pictures)), **given)
    (a.work / "recipe.json").write_text(recipe.model_dump_json(indent=2))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    files = []
    for path, n in zip(a.pictures, recipe.views, strict=True):
        pictures = read_pictures(path)
        views = write_views(pictures, n, recipe, a.work / f"{path.stem}.views.npy")
        targets = write_targets(views, a.teacher, a.work / f"{path.stem}.targets.npy", device) if a.teacher else None
        files.append(Views(views, targets, np.repeat(pictures.labels, n)))
    basis = principal([f.targets for f in files if f.targets is not None], recipe.target_dims) if a.teacher else None
    torch.manual_seed(recipe.seed)
    labels = max(int(f.labels.max()) for f in files) + 1
    student = Student(recipe, labels, recipe.target_dims if a.teacher else 1)
    export(train(student, Batches(files, recipe, basis), recipe, a.work, device), recipe, a.work / "backbone")


if __name__ == "__main__":
    main()
