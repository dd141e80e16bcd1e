"""The version that a retrain starts from: its backbone, the photos it knows, and its answers to photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import BackboneUnsupported
from handful.service.artifact.folder import WEIGHTS, Artifact, open_artifact
from handful.service.artifact.label_names import normal_label
from handful.service.classifier import Classifier
from handful.service.compute.network import Network
from handful.training.backbone import Backbone, load_named
from handful.training.builtin.networks import present_ref
from handful.training.embeddings import Embedder
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.fit import Fitted
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, fit_head
from handful.training.learning import LearnSettings
from handful.training.photos.inspection import Inspected
from handful.training.photos.known import KnownPhotos, read_known
from handful.training.retraining.gate import Probabilities
from handful.training.settings import HeadChoice, RetrainSettings
from scipy.special import softmax


@dataclass(frozen=True)
class ChampionModel:
    """The champion's artifact, loaded, with the photos that it knows."""

    artifact: Artifact
    classifier: Classifier
    known: KnownPhotos

    @classmethod
    def load(cls, path: Path) -> ChampionModel:
        """`DataError` where it keeps no embeddings of its photos, an `ArtifactError` where it is damaged."""
        artifact = open_artifact(path)
        known = read_known(artifact)
        one_form = {label: normal_label(label) for label in known.labels if normal_label(label) != label}
        return cls(artifact, Classifier.from_artifact(artifact), known.relabelled((), one_form))

    @property
    def card(self) -> ModelCard:
        return self.artifact.card

    @property
    def backbone(self) -> Backbone:
        """The network that embeds: pretrained, or fine-tuned and still named by the pretrained one."""
        named = self.card.backbone
        network = self.classifier.network.backbone
        ref = present_ref(named.ref, named.sha256)
        return Backbone(ref, named.revision, named.sha256, self.artifact.config, network)

    def pretrained(self) -> Backbone:
        """The backbone that fine-tuning starts from: its own where that is frozen, else the one that its card pins.

        A `BackboneError` or `HubError` where that one cannot be loaded any more.
        """
        if self.card.finetune is None:
            return self.backbone
        named = self.card.backbone
        ref = present_ref(named.ref, named.sha256)
        backbone = load_named(ref if named.revision is None else f"{named.ref}@{named.revision}")
        if backbone.sha256 != named.sha256:
            raise BackboneUnsupported(
                f"The weights in {named.ref} are not those that {self.card.model} was fine-tuned from: their sha256 is"
                f" {backbone.sha256[:12]}…, that of the card {named.sha256[:12]}…."
            )
        return backbone

    @property
    def weights_sha256(self) -> str:
        """Names the backbone's weights in the cache of embeddings."""
        return self.card.backbone.sha256 if self.card.finetune is None else self.card.files[WEIGHTS]

    def embedder(self, cache: Path) -> Embedder:
        """Embeds with its own backbone, in float even where the champion answers in 8-bit integers."""
        network = Network(self.classifier.network.backbone)
        return Embedder(network, self.classifier.preprocessing, self.weights_sha256, cache, thumbnails=True)

    def learn_settings(self, settings: RetrainSettings) -> LearnSettings:
        """As the champion was learned: its seed, and what `settings` leave open of head and fine-tuned layer."""
        finetune, former = settings.finetune, self.card.finetune
        if finetune and former and finetune.layer is None:
            finetune = finetune.model_copy(update={"layer": former.layer})
        return LearnSettings(self._head_settings(settings.head), finetune, self.card.seed)

    def _head_settings(self, choice: HeadChoice) -> HeadSettings:
        """`same`: the champion's own kind; of a hidden head also its width and weight decay."""
        if choice != "same":
            return HeadSettings(kind=choice)
        head = self.card.head
        if head.kind == "linear":
            return HeadSettings(kind="linear")
        width, decay = int(head.settings["width"]), float(head.settings["weight_decay"])
        return HeadSettings(kind="hidden", widths=(width,), weight_decays=(decay,))

    def out_of_fold_answers(self, known: KnownPhotos, inspected: Inspected, fitted: Fitted) -> Probabilities:
        """(K, L) to the known photos: of heads like its own, each fitted without the photo's fold."""
        count, seed = inspected.known, self.card.seed
        answers = np.zeros((count, len(known.labels)))
        present, labels = np.unique(known.label_index, return_inverse=True)
        if len(present) < 2:
            answers[:, present] = 1
            return answers
        data = LabelledEmbeddings(known.embeddings, labels, inspected.groups[:count], len(present))
        head = fit_head(data, fitted.folds.first_images(count), self._head_settings("same"), seed)
        answers[:, present] = calibrated(head.out_of_fold_logits, fit_temperature(head.out_of_fold_logits, labels))
        return answers

    def answers_to(self, embeddings: np.ndarray) -> Probabilities:
        """(N, L) of the champion as it is, to embeddings (N, D) of photos that it has not seen."""
        if not len(embeddings):
            return np.empty((0, len(self.card.labels)))
        logits = self.classifier.network.logits(torch.from_numpy(embeddings)).double().numpy()
        return np.asarray(softmax(logits / self.card.temperature, axis=1))
