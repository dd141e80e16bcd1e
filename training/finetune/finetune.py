"""A folder's photos with their frozen head -> the fine-tuned network, or the reason why there is none."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from handful.service.artifact.card import FineTuneCard
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import best_device
from handful.service.compute.network import Network
from handful.service.terminal.progress import progress_bar
from handful.training.backbone import Backbone
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.cross_validation import Judge, OutOfFold
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.layers import layers_from
from handful.training.finetune.photos import Photos
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.significance import Verdict, compare
from handful.training.finetune.trainer import Numbers, Start, embeddings_of
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.fit import Fitted
from handful.training.head.folds import Fold, make_folds
from handful.training.head.linear import Floats
from handful.training.head.selection import refit
from handful.training.head.unknown import detector_of
from handful.training.metrics import metrics
from handful.training.photos.inspection import Inspected
from torch import nn

log = logging.getLogger(__name__)

FORMAT = 6  # of checkpoints; another number where the arithmetic changes


@dataclass(frozen=True)
class FineTuned:
    """What goes into the artifact: the tuned network and what it says of the photos, or all of it as it was frozen.

    `card` is None where the frozen one was better; `found` is what the command tells of it. Once the artifact is
    published, `checkpoints.remove()`.
    """

    backbone: Backbone
    inspected: Inspected
    fitted: Fitted
    card: FineTuneCard | None
    found: dict[str, Any]
    checkpoints: Checkpoints


def fine_tune(
    backbone: Backbone,
    preprocessing: Preprocessing,
    inspected: Inspected,
    frozen: Fitted,
    settings: FineTuneSettings,
    seed: int,
    cache: Path,
    ranks: Ranks,
) -> FineTuned:
    """From the pretrained backbone and what was fitted on its embeddings; the photos' files are read again.

    `UsageError` where `settings.layer` is none of the backbone's. Stopped at any instant, the same call goes on.
    """
    layers_from(backbone.network, settings.layer)
    started = time.monotonic()
    key = _key(backbone, inspected, frozen, settings, seed)
    settings = settings.for_photos(len(inspected.images))
    tuning = _Tuning(backbone, inspected, frozen, settings, seed, ranks, Checkpoints(cache, key, ranks))
    photos = Photos([image.path for image in inspected.images], preprocessing)
    try:
        tuned = tuning.run(photos)
    except KeyboardInterrupt:
        if ranks.first:
            log.warning("Fine-tuning was stopped; the same command goes on from what is done (%s).", tuning.folder)
        raise
    return replace(tuned, found={**tuned.found, "seconds": round(time.monotonic() - started, 3)})


def _key(backbone: Backbone, inspected: Inspected, frozen: Fitted, settings: FineTuneSettings, seed: int) -> str:
    """Changes with all that a checkpoint depends on."""
    described = [
        *(FORMAT, backbone.sha256, backbone.config, settings.model_dump(), seed, best_device().type),
        *(frozen.head.kind, frozen.head.settings, frozen.fold_of_image.tolist()),
        *([image.content_sha256 for image in inspected.images], inspected.label_index.tolist()),
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Tuning:
    backbone: Backbone
    inspected: Inspected
    frozen: Fitted
    settings: FineTuneSettings
    seed: int
    ranks: Ranks
    checkpoints: Checkpoints

    @property
    def folder(self) -> Path:
        return self.checkpoints.folder

    def run(self, photos: Photos) -> FineTuned:
        inspected, labels = self.inspected, self.inspected.label_index
        folds = make_folds(labels, inspected.groups, self.seed, inspected.folds)
        with progress_bar("fine-tune", 0) as progress:
            judge = Judge(
                photos=photos,
                labels=labels,
                groups=inspected.groups,
                label_count=len(inspected.labels),
                settings=self.settings,
                seed=self.seed,
                ranks=self.ranks,
                checkpoints=self.checkpoints,
                start=self._start,
                progress=progress,
            )
            progress(0, fewer=-judge.most_photos(folds))
            return self._judged(judge, folds)

    def _judged(self, judge: Judge, folds: list[Fold]) -> FineTuned:
        out_of_fold = judge.out_of_fold(folds)
        labels, groups = self.inspected.label_index, self.inspected.groups
        temperature = fit_temperature(out_of_fold.logits, labels)
        probabilities = calibrated(out_of_fold.logits, temperature)
        verdict = compare(self.frozen.probabilities, probabilities, labels, groups, self.seed)
        epochs, blend = out_of_fold.epochs, out_of_fold.blend
        found = _found(verdict, epochs) | {"blend": blend, "layer": self.settings.layer}
        if not found["kept"]:
            return FineTuned(self.backbone, self.inspected, self.frozen, None, found, self.checkpoints)
        network = judge.final(epochs, blend)
        everything = np.arange(len(labels))
        embeddings = embeddings_of(network, judge.photos, everything, self.ranks)
        inspected = _with_embeddings(self.inspected, embeddings)
        fitted = self._fitted(network, inspected, out_of_fold, temperature)
        backbone = replace(self.backbone, network=network.backbone)
        return FineTuned(backbone, inspected, fitted, self._card(verdict, epochs, blend), found, self.checkpoints)

    def _start(self, part: Numbers) -> Start:
        """The head as cross-validation chose it, fitted on this part; its logits already at their temperature.

        The temperature was found on all photos, this fold's test part among them: one number out of hundreds, and the
        frozen head is judged with the same.
        """
        embeddings, labels = self.inspected.embeddings[part], self.inspected.label_index[part]
        head = dict(refit(self.frozen.head, embeddings, labels, len(self.inspected.labels), self.seed))
        for name in ("weight", "bias"):
            head[name] = head[name] / np.float32(self.frozen.temperature)
        return Start(self.backbone.network, self.frozen.head.kind, head)

    def _fitted(
        self, network: Network, inspected: Inspected, out_of_fold: OutOfFold, temperature: float
    ) -> Fitted:  # fmt: skip
        labels = inspected.label_index
        probabilities = calibrated(out_of_fold.logits, temperature)
        head = replace(
            self.frozen.head,
            weights=head_weights(network.get_submodule("head"), self.frozen.head.kind),
            out_of_fold_logits=out_of_fold.logits,
        )
        unknown = detector_of(
            inspected.embeddings, labels, out_of_fold.known, out_of_fold.strangers, len(inspected.labels)
        )
        return replace(
            self.frozen,
            head=head,
            temperature=temperature,
            unknown=unknown,
            metrics=metrics(probabilities, labels, inspected.labels),
            probabilities=probabilities,
            unknown_scores=out_of_fold.known,
        )

    def _card(self, verdict: Verdict, epochs: int, blend: float) -> FineTuneCard:
        given = self.settings.model_dump(exclude={"layer", "epochs", "blends"})
        return FineTuneCard(
            layer=self.settings.layer,
            settings={"epochs": epochs, "blend": blend, "epochs_at_most": self.settings.epochs, **given},
            accuracy_gain=verdict.gain,
            accuracy_gain_ci95=verdict.gain_ci95,
            log_loss_gain=verdict.log_loss_gain,
            log_loss_gain_ci95=verdict.log_loss_gain_ci95,
        )


def _found(verdict: Verdict, epochs: int) -> dict[str, Any]:
    return {
        "kept": verdict.kept and epochs > 0,
        "reason": verdict.reason if epochs else "of no use: no epoch lowered the log loss of photos left out",
        "epochs": epochs,
        "gain": round(verdict.gain, 5),
        "gain_ci95": [round(end, 5) for end in verdict.gain_ci95],
        "log_loss_gain": round(verdict.log_loss_gain, 5),
        "log_loss_gain_ci95": [round(end, 5) for end in verdict.log_loss_gain_ci95],
    }


def _with_embeddings(inspected: Inspected, embeddings: Floats) -> Inspected:
    images = tuple(replace(image, embedding=row) for image, row in zip(inspected.images, embeddings, strict=True))
    return replace(inspected, images=images)


def head_weights(head: nn.Module, kind: str) -> dict[str, Floats]:
    """The inverse of `network.build_head`."""
    weights: Mapping[str, torch.Tensor] = head.state_dict()
    names = {"weight": "weight", "bias": "bias"}
    if kind == "hidden":
        names = {"0.weight": "hidden.weight", "0.bias": "hidden.bias", "2.weight": "weight", "2.bias": "bias"}
    return {ours: weights[theirs].cpu().numpy() for theirs, ours in names.items()}
