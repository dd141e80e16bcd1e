"""The version that a retrain starts from: its backbone, what it knows, and its answers to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import BackboneUnsupported
from handful.service.artifact.folder import WEIGHTS, Artifact, open_artifact
from handful.service.classifier import Classifier
from handful.service.compute.network import Network
from handful.training.backbone import Backbone, load_backbone
from handful.training.embeddings import Embedder
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.fit import Fitted
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, fit_head
from handful.training.photos.inspection import Inspected
from handful.training.photos.known import Known, in_order, read_known
from handful.training.retraining.gate import Answers, Probabilities
from scipy.special import softmax

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

    def pretrained(self) -> Backbone:
        """What fine-tuning starts from: its own backbone where that is frozen, else the one that its card pins.

        A `BackboneError` or `HubError` where that is not to be had any more.
        """
        if self.card.finetune is None:
            return self.backbone
        named = self.card.backbone
        backbone = load_backbone(named.ref if named.revision is None else f"{named.ref}@{named.revision}")
        if backbone.sha256 != named.sha256:
            raise BackboneUnsupported(
                f"The weights in {named.ref} are not those that {self.card.model} was fine-tuned from: their sha256 is"
                f" {backbone.sha256[:12]}…, that of the card {named.sha256[:12]}…."
            )
        return backbone

    @property
    def weights_sha256(self) -> str:
        """What embeddings may be remembered by."""
        return self.card.backbone.sha256 if self.card.finetune is None else self.card.files[WEIGHTS]

    def embedder(self, cache: Path) -> Embedder:
        """Of its backbone as it is now, in its own precision even where it answers in 8-bit integers."""
        network = Network(self.classifier.network.backbone)
        return Embedder(network, self.classifier.preprocessing, self.weights_sha256, cache)

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
        self, known: Known, rename: Mapping[str, str], inspected: Inspected, fitted: Fitted, fresh: np.ndarray
    ) -> tuple[Answers, Answers, np.ndarray]:
        """Answers to known and to new photos, and the rows of `inspected` that are the new ones.

        A known photo whose label has changed is a new one. What the champion says of a known photo comes from heads
        like its own, learned without the photo's fold, or is kept in `known`; of a new one, embedded as `fresh`, from
        itself.
        """
        moved = np.isin(np.arange(len(inspected.images)), [change.row for change in inspected.relabelled])
        later = np.arange(len(inspected.images)) >= inspected.known
        before = self._out_of_fold(known, inspected, fitted) if known.answers is None else known.answers
        names = [rename.get(label, label) for label in self.card.labels]
        plain = in_order(self._plain(fresh), names, inspected.labels)
        champion = np.concatenate([in_order(before, known.labels, inspected.labels), plain])  # (N, L)
        shared = np.isin(inspected.labels, known.labels)

        def answers(rows: np.ndarray) -> Answers:
            return Answers(inspected.label_index[rows], shared, champion[rows], fitted.probabilities[rows])

        return answers(~(later | moved)), answers(later | moved), np.flatnonzero(later | moved)

    def _out_of_fold(self, known: Known, inspected: Inspected, fitted: Fitted) -> Probabilities:
        count, seed = inspected.known, self.card.seed
        answers = np.zeros((count, len(known.labels)))
        present, labels = np.unique(known.label_index, return_inverse=True)
        if len(present) < 2:
            answers[:, present] = 1
            return answers
        data = LabelledEmbeddings(known.embeddings, labels, inspected.groups[:count], len(present))
        head = fit_head(data, fitted.folds.first_images(count), self.head_settings("same"), seed)
        answers[:, present] = calibrated(head.out_of_fold_logits, fit_temperature(head.out_of_fold_logits, labels))
        return answers

    def _plain(self, embeddings: np.ndarray) -> Probabilities:
        if not len(embeddings):
            return np.empty((0, len(self.card.labels)))
        logits = self.classifier.network.logits(torch.from_numpy(embeddings)).double().numpy()
        return np.asarray(softmax(logits / self.card.temperature, axis=1))
