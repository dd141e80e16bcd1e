"""Features of the photos -> a head, chosen and learned on the training part alone.

Within the training part the head's settings are chosen by cross-validation, as `handful train` does on all photos. With
very many photos the settings are chosen on a sample of them, and the head is then learned from all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from handful.training.head.calibration import fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels, Rows
from handful.training.head.selection import Head, HeadSettings, Kind, fit_head
from handful.training.report.learning_curve import rank_within_label

MAX_IMAGES = 4000  # that the settings are chosen on


@dataclass(frozen=True)
class TrainedHead:
    """A head for the labels that occur in a training part; its logits are already at their temperature."""

    head: Head  # (P, D), for the labels that occur
    present: Labels  # (P,)
    label_count: int

    @property
    def parameters(self) -> int:
        return self.head.parameters

    def logits(self, features: Floats) -> Floats:
        """(N, L), minus infinity for a label without a training photo."""
        logits = np.full((len(features), self.label_count), -np.inf, dtype=np.float32)
        logits[:, self.present] = self.head.logits(features)
        return logits

    def for_all_labels(self) -> Head:
        return self.head.with_labels(self.present, self.label_count)


def train_head(kind: Kind, data: LabelledEmbeddings, seed: int) -> TrainedHead:
    """From the features (N, D) of the training part."""
    present, labels = np.unique(data.labels, return_inverse=True)
    occurring = replace(data, labels=labels, label_count=len(present))
    sampled = _sample(labels, seed)
    sample = occurring if len(sampled) == len(occurring) else occurring.take(sampled)
    folds = Folds.make(sample.labels, sample.groups, seed)
    selected = fit_head(sample, folds, HeadSettings(kind=kind), seed)
    head = selected.head if len(sample) == len(occurring) else selected.refit(occurring, seed)
    temperature = fit_temperature(selected.out_of_fold_logits, sample.labels)
    return TrainedHead(head.at_temperature(temperature), present, data.label_count)


def _sample(labels: Labels, seed: int) -> Rows:
    """All photos, or evenly from each label at most `MAX_IMAGES` in all, but 5 of each label at least."""
    cap = len(labels)
    images_per_label = np.bincount(labels)
    while cap > 5 and np.minimum(images_per_label, cap).sum() > MAX_IMAGES:
        cap = cap * 9 // 10
    return np.flatnonzero(rank_within_label(labels, np.random.default_rng(seed).permutation(len(labels))) < cap)
