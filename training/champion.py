"""The version that a retrain starts from: its backbone, what it knows, and its answers to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.special import softmax

from service.artifact.card import ModelCard
from service.artifact.folder import WEIGHTS, Artifact, open_artifact
from service.classifier import Classifier
from training.backbone import Backbone
from training.calibration import calibrated, fit_temperature
from training.fitting import Fitted
from training.folds import Fold
from training.gate import Answers, Probabilities
from training.head import HeadSettings, fit_head
from training.inspection import Inspected
from training.known import Known, read_known

HeadChoice = Literal["same", "auto", "linear", "hidden"]


@dataclass(frozen=True)
class Champion:
    """One artifact, open."""

    artifact: Artifact
    classifier: Classifier
    known: Known

    @classmethod
    def load(cls, path: Path) -> Champion:
        """`DataError` where it does not keep what a retrain needs, an `ArtifactError` where it cannot be trusted."""
        artifact = open_artifact(path)
        return cls(artifact, Classifier.from_artifact(artifact), read_known(artifact))

    @property
    def card(self) -> ModelCard:
        return self.artifact.card

    @property
    def backbone(self) -> Backbone:
        """As it embeds: the pretrained one, or what fine-tuning made of it, under the name of the pretrained one."""
        named = self.card.backbone
        network = self.classifier.network.backbone
        return Backbone(named.ref, named.revision, named.sha256, self.artifact.config, network)

    @property
    def weights_sha256(self) -> str:
        """What embeddings may be remembered by."""
        return self.card.backbone.sha256 if self.card.finetune is None else self.card.files[WEIGHTS]

    def head_settings(self, choice: HeadChoice) -> HeadSettings:
        """`same`: the kind that the champion has; a hidden one with its width and weight decay."""
        if choice != "same":
            return HeadSettings(kind=choice)
        head = self.card.head
        if head.kind == "linear":
            return HeadSettings(kind="linear")
        width, decay = int(head.settings["width"]), float(head.settings["weight_decay"])
        return HeadSettings(kind="hidden", widths=(width,), weight_decays=(decay,))

    def rivalry(
        self, known: Known, rename: Mapping[str, str], inspected: Inspected, fitted: Fitted
    ) -> tuple[Answers, Answers, np.ndarray]:
        """Answers to known and to new photos, and the rows of `inspected` that are the new ones.

        A known photo whose label has changed is a new one. What the champion says of a known photo comes from heads
        like its own, learned without the photo's fold; of a new one, from itself.
        """
        moved = np.isin(np.arange(len(inspected.images)), [change.row for change in inspected.relabelled])
        fresh = np.arange(len(inspected.images)) >= inspected.known
        out_of_fold = _in_order(self._out_of_fold(known, inspected, fitted), known.labels, inspected.labels)
        names = [rename.get(label, label) for label in self.card.labels]
        plain = _in_order(self._plain(inspected.embeddings[fresh]), names, inspected.labels)
        champion = np.concatenate([out_of_fold, plain])  # (N, L)
        shared = np.isin(inspected.labels, known.labels)

        def answers(rows: np.ndarray) -> Answers:
            return Answers(inspected.label_index[rows], shared, champion[rows], fitted.probabilities[rows])

        return answers(~(fresh | moved)), answers(fresh | moved), np.flatnonzero(fresh | moved)

    def _out_of_fold(self, known: Known, inspected: Inspected, fitted: Fitted) -> Probabilities:
        count = inspected.known
        if len(known.labels) < 2:
            return np.ones((count, len(known.labels)))
        folds = _folds(fitted.fold_of_image[:count])
        embeddings, groups = inspected.embeddings[:count], inspected.groups[:count]
        settings = self.head_settings("same")
        head = fit_head(embeddings, known.label_index, groups, len(known.labels), settings, self.card.seed, folds)
        return calibrated(head.out_of_fold_logits, fit_temperature(head.out_of_fold_logits, known.label_index))

    def _plain(self, embeddings: np.ndarray) -> Probabilities:
        if not len(embeddings):
            return np.empty((0, len(self.card.labels)))
        logits = self.classifier.network.logits(torch.from_numpy(embeddings)).double().numpy()
        return np.asarray(softmax(logits / self.card.temperature, axis=1))


def _folds(numbers: np.ndarray) -> list[Fold]:
    """From fold numbers (N, R)."""
    return [
        (np.flatnonzero(column != fold), np.flatnonzero(column == fold))
        for column in numbers.T
        for fold in np.unique(column)
    ]


def _in_order(answers: Probabilities, names: Sequence[str], labels: Sequence[str]) -> Probabilities:
    """(N, len(names)) -> (N, len(labels)): columns of one name added, those of no label left out."""
    ordered = np.zeros((len(answers), len(labels)))
    for column, name in zip(answers.T, names, strict=True):
        if name in labels:
            ordered[:, labels.index(name)] += column
    return ordered
