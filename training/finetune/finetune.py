"""A folder's photos with their frozen head -> the fine-tuned network, or the reason why there is none."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.card import FineTuneCard
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import best_device
from handful.service.compute.network import Network
from handful.service.terminal.progress import FINE_TUNING, progress_bar
from handful.training.backbone import Backbone
from handful.training.finetune.checkpoints import Checkpoints
from handful.training.finetune.cross_validation import CrossValidation, OutOfFold
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.layers import layers_from
from handful.training.finetune.photos import PhotoLoader
from handful.training.finetune.settings import FineTuneSettings
from handful.training.finetune.significance import PairedGain, paired_bootstrap
from handful.training.finetune.trainer import Start, embeddings_of
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.fit import Fitted, strangers_of
from handful.training.head.labelled import Floats, LabelledEmbeddings
from handful.training.head.selection import HEADS
from handful.training.head.unknown import detector_of
from handful.training.metrics import metrics
from handful.training.photos.generic import embed_generic
from handful.training.photos.inspection import Inspected

log = logging.getLogger(__name__)

FORMAT = 7  # of checkpoints; raise it where their contents or the arithmetic change


@dataclass(frozen=True)
class FineTuned:
    """What goes into the artifact: the fine-tuned network with everything fitted on it, or the frozen one unchanged.

    `card` is None where the frozen network is kept; `result` is what the command prints about it. Call
    `checkpoints.remove()` once the artifact is published.
    """

    backbone: Backbone
    inspected: Inspected
    fitted: Fitted
    card: FineTuneCard | None
    result: dict[str, Any]
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
    """Starts from the pretrained backbone and what was fitted on its embeddings; reads the photos' files again.

    `UsageError` where `settings.layer` is none of the backbone's. If it is stopped at any moment, the same call
    continues from its checkpoints.
    """
    layers_from(backbone.network, settings.layer)
    started = time.monotonic()
    key = _key(backbone, inspected, frozen, settings, seed)
    settings = settings.for_photos(len(inspected.images))
    checkpoints = Checkpoints(cache, key, ranks)
    job = _FineTuning(backbone, inspected, frozen, settings, seed, ranks, checkpoints)
    try:
        tuned = job.run(PhotoLoader([image.path for image in inspected.images], preprocessing))
    except KeyboardInterrupt:
        if ranks.first:
            folder = checkpoints.folder
            log.warning("Fine-tuning was stopped; run the same command again to continue from here (%s).", folder)
        raise
    return replace(tuned, result={**tuned.result, "seconds": round(time.monotonic() - started, 3)})


def _key(backbone: Backbone, inspected: Inspected, frozen: Fitted, settings: FineTuneSettings, seed: int) -> str:
    """Changes with everything that a checkpoint depends on."""
    depends_on = [
        *(FORMAT, backbone.sha256, backbone.config, settings.model_dump(), seed, best_device().type),
        *(frozen.head.kind, frozen.head.settings, frozen.folds.numbers.tolist()),
        *([image.content_sha256 for image in inspected.images], inspected.label_index.tolist()),
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _FineTuning:
    backbone: Backbone
    inspected: Inspected
    frozen: Fitted
    settings: FineTuneSettings
    seed: int
    ranks: Ranks
    checkpoints: Checkpoints

    def run(self, photos: PhotoLoader) -> FineTuned:
        data = LabelledEmbeddings.of(self.inspected)
        with progress_bar(FINE_TUNING, 0) as progress:
            validation = CrossValidation(
                photos=photos,
                data=data,
                settings=self.settings,
                seed=self.seed,
                ranks=self.ranks,
                checkpoints=self.checkpoints,
                start=lambda part: self._start(data.take(part)),
                progress=progress,
            )
            progress(0, fewer=-validation.most_photos(self.frozen.folds))
            return self._decided(validation, data)

    def _decided(self, validation: CrossValidation, data: LabelledEmbeddings) -> FineTuned:
        out_of_fold = validation.out_of_fold(self.frozen.folds)
        temperature = fit_temperature(out_of_fold.logits, data.labels)
        probabilities = calibrated(out_of_fold.logits, temperature)
        gain = paired_bootstrap(self.frozen.probabilities, probabilities, data.labels, data.groups, self.seed)
        result = {**_result(gain, out_of_fold.epochs), "blend": out_of_fold.blend, "layer": self.settings.layer}
        if not result["kept"]:
            return FineTuned(self.backbone, self.inspected, self.frozen, None, result, self.checkpoints)
        network = validation.train_on_all(out_of_fold.epochs, out_of_fold.blend)
        embeddings = embeddings_of(network, validation.photos, np.arange(len(data)), self.ranks)
        inspected = self._with_strangers(_with_embeddings(self.inspected, embeddings), network)
        fitted = self._fitted(network, inspected, out_of_fold, temperature, probabilities)
        backbone = replace(self.backbone, network=network.backbone)
        return FineTuned(backbone, inspected, fitted, self._card(gain, out_of_fold), result, self.checkpoints)

    def _start(self, part: LabelledEmbeddings) -> Start:
        """The head as cross-validation chose it, fitted on this part, with logits already at their temperature.

        The temperature was fitted on all photos, this fold's test part among them. It is one number from hundreds of
        photos, and the frozen head is measured with the same.
        """
        head = self.frozen.head.refit(part, self.seed)
        return Start(self.backbone.network, head.at_temperature(self.frozen.temperature))

    def _fitted(
        self,
        network: Network,
        inspected: Inspected,
        out_of_fold: OutOfFold,
        temperature: float,
        probabilities: np.ndarray,
    ) -> Fitted:
        frozen, data = self.frozen, LabelledEmbeddings.of(inspected)
        head = HEADS[frozen.head.kind].from_module(network.get_submodule("head"))
        fitted = replace(
            frozen,
            head=replace(frozen.head, head=head, out_of_fold_logits=out_of_fold.logits),
            temperature=temperature,
            metrics=metrics(probabilities, data.labels, self.inspected.labels, data.groups),
            probabilities=probabilities,
        )
        unknown = detector_of(data, out_of_fold.known, out_of_fold.strangers, strangers_of(inspected))
        return fitted.with_unknown(unknown)

    def _with_strangers(self, inspected: Inspected, network: Network) -> Inspected:
        """No run learned from what is of no label, so that its embeddings are as new to the network as a stranger's."""
        photos = PhotoLoader([image.path for image in inspected.other], self.backbone.preprocessing)
        rows = embeddings_of(network, photos, np.arange(len(inspected.other)), self.ranks) if inspected.other else ()
        other = tuple(replace(image, embedding=row) for image, row in zip(inspected.other, rows, strict=True))
        generic = None if inspected.generic is None else embed_generic(network, self.backbone.preprocessing)
        return replace(inspected, other=other, generic=generic)

    def _card(self, gain: PairedGain, out_of_fold: OutOfFold) -> FineTuneCard:
        given = self.settings.model_dump(exclude={"layer", "epochs", "blends"})
        chosen = {"epochs": out_of_fold.epochs, "blend": out_of_fold.blend, "epochs_at_most": self.settings.epochs}
        return FineTuneCard(
            layer=self.settings.layer,
            settings={**chosen, **given},
            accuracy_gain=gain.accuracy,
            accuracy_gain_ci95=gain.accuracy_ci95,
            log_loss_gain=gain.log_loss,
            log_loss_gain_ci95=gain.log_loss_ci95,
        )


def _result(gain: PairedGain, epochs: int) -> dict[str, Any]:
    return {
        "kept": gain.significant and epochs > 0,
        "reason": gain.reason if epochs else "of no use: no epoch lowered the log loss of the photos left out",
        "epochs": epochs,
        "gain": round(gain.accuracy, 5),
        "gain_ci95": [round(end, 5) for end in gain.accuracy_ci95],
        "log_loss_gain": round(gain.log_loss, 5),
        "log_loss_gain_ci95": [round(end, 5) for end in gain.log_loss_ci95],
    }


def _with_embeddings(inspected: Inspected, embeddings: Floats) -> Inspected:
    images = tuple(replace(image, embedding=row) for image, row in zip(inspected.images, embeddings, strict=True))
    return replace(inspected, images=images)
