"""The training loop: a checkpoint after every epoch, a log line every hundred steps."""

from __future__ import annotations

import copy
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from handful.training.pretrain.augmentation import standardise_pixels
from handful.training.pretrain.data_parallel import (
    backward_shard,
    replica_of,
    set_learning_rate,
    shard_generator,
    sharded_optimizers,
    step_optimizer,
    sum_gradients,
)
from handful.training.pretrain.pictures import Pictures
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.student import Student
from handful.training.pretrain.views import Batches
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)

State = dict[str, Tensor]


def learning_rate(step: int, steps: int, recipe: PretrainRecipe) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def train_student(
    student: Student, data: Batches, recipe: PretrainRecipe, work: Path, device: torch.device
) -> nn.Module:
    """Trains and saves a checkpoint after every epoch.

    Returns the student with the exponential moving average of its weights (EMA), averaged once more over the ends of
    the last `mean_of` epochs.
    """
    student = student.to(device).to(memory_format=torch.channels_last)
    averaged = ModelEmaV3(student, decay=recipe.ema_decay, use_warmup=True)
    optimizer = create_optimizer_v2(
        student, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    first, ends = load_checkpoint(work / "checkpoint.pt", student, averaged, optimizer)
    replicas = [student, *(replica_of(student) for _ in range(recipe.data_parallel - 1))]
    optimizers = sharded_optimizers(optimizer, recipe.data_parallel)
    threads = max(1, torch.get_num_threads() // recipe.data_parallel)
    per_epoch = data.per_epoch
    with ThreadPoolExecutor(recipe.data_parallel, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        for epoch in range(first, recipe.epochs):
            size = recipe.sizes[epoch * len(recipe.sizes) // recipe.epochs]
            backward = partial(backward_shard, data, recipe, size, device)
            generators = [shard_generator(recipe, epoch, shard) for shard in range(recipe.data_parallel)]
            started, total = time.monotonic(), 0.0
            for number, index in enumerate(data.epoch(epoch), 1):
                step = epoch * per_epoch + number - 1
                set_learning_rate(optimizers, learning_rate(step, per_epoch * recipe.epochs, recipe))
                total += sum(pool.map(backward, replicas, np.array_split(index, recipe.data_parallel), generators))
                sum_gradients(student, replicas[1:])
                list(pool.map(step_optimizer, optimizers))
                optimizer.zero_grad()
                averaged.update(student, step=step)
                if number % 100 == 0:
                    rate = number * recipe.batch / (time.monotonic() - started)
                    done = f"epoch {epoch} {number}/{per_epoch} at {size} px"
                    log.info("%s: loss %.4f, %.0f/s", done, total / number, rate)
            held_out = held_out_scores(averaged.module, data, recipe, device)
            log.info("epoch %d: loss %.4f, held out %s", epoch, total / per_epoch, held_out)
            ends = [*ends, copy.deepcopy(averaged.module.state_dict())][-recipe.mean_of :]
            save_checkpoint(work / "checkpoint.pt", epoch + 1, student, averaged, optimizer, ends)
    module: nn.Module = averaged.module
    module.load_state_dict(mean_of_states(ends))
    return module


def mean_of_states(states: list[State]) -> State:
    """The mean of every weight and statistic (Izmailov et al. 2018, "Averaging weights leads to wider optima")."""
    return {
        name: torch.stack([s[name].float() for s in states]).mean(0).to(one.dtype) for name, one in states[0].items()
    }


def load_checkpoint(
    path: Path, student: nn.Module, averaged: ModelEmaV3, optimizer: torch.optim.Optimizer
) -> tuple[int, list[State]]:
    """The epoch to continue with (0 where there is no checkpoint), and the averaged weights after the epochs before."""
    if not path.exists():
        return 0, []
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    averaged.module.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("resumed at epoch %d", state["epoch"])
    return int(state["epoch"]), state["ends"]


def save_checkpoint(
    path: Path,
    epoch: int,
    student: nn.Module,
    averaged: ModelEmaV3,
    optimizer: torch.optim.Optimizer,
    ends: list[State],
) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "epoch": epoch,
            "student": student.state_dict(),
            "averaged": averaged.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "ends": ends,
        },
        part,
    )
    part.replace(path)


@torch.inference_mode()
def held_out_scores(student: nn.Module, data: Batches, recipe: PretrainRecipe, device: torch.device) -> str:
    """Cosine to the teacher and top-1 accuracy on held-out views without augmentation, as text for the log."""
    student.eval()
    cosine, correct, labelled = 0.0, 0, 0
    index = data.held_out[:: max(1, len(data.held_out) // 2000)]
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    for start in range(0, len(index), recipe.batch):
        pixels, targets, labels = data.read(index[start : start + recipe.batch])
        projected, logits = student(standardise_pixels(pixels.to(device), mean, std))
        cosine += F.cosine_similarity(projected.cpu(), targets).sum().item()
        known = labels >= 0
        correct += int((logits.cpu().argmax(1) == labels)[known].sum())
        labelled += int(known.sum())
    return f"cosine {cosine / len(index):.4f}, top-1 {correct / max(1, labelled):.3f} of {labelled}"


@torch.inference_mode()
def top1(student: nn.Module, pictures: Pictures, recipe: PretrainRecipe, device: torch.device) -> float:
    """Accuracy in [0, 1] of the classifier (dropped later) on whole pictures, at the input size `use_pixels`."""
    student.eval()
    side, correct = recipe.use_pixels, 0
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    for start in range(0, len(pictures), recipe.batch):
        numbers = range(start, min(start + recipe.batch, len(pictures)))
        pixels = np.stack([np.asarray(pictures[i].resize((side, side), Image.Resampling.BICUBIC)) for i in numbers])
        _, logits = student(standardise_pixels(torch.from_numpy(pixels).to(device), mean, std))
        correct += int((logits.argmax(1).cpu().numpy() == pictures.labels[numbers.start : numbers.stop]).sum())
    return correct / len(pictures)
