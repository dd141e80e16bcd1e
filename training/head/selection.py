"""Labelled embeddings -> a head, chosen by cross-validation.

The choice is made on the calibrated out-of-fold log loss, because the temperature corrects a head's confidence anyway.
A more complex head is taken only where it is better by more than one standard error: the linear head with the label
means and the usual penalty comes first. What is gained in-set within that error is lost on photos of another style
(training/LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from handful.service.artifact.errors import DataError
from handful.service.compute.device import thread_pools
from handful.training.head.basis import Basis
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.hidden import HiddenHead, out_of_fold_hidden
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels
from handful.training.head.linear import LinearHead, OutOfFoldLinear, is_small
from handful.training.head.objective import is_large
from handful.training.metrics import image_log_losses
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Kind = Literal["linear", "hidden"]
Head = LinearHead | HiddenHead
CHOOSING_FOLDS = 2  # of a large problem
NOTICEABLE = 0.05  # of a standard error: a gain of the log loss that is worth another strength
HEADS: dict[Kind, type[LinearHead] | type[HiddenHead]] = {"linear": LinearHead, "hidden": HiddenHead}


class HeadSettings(BaseModel):
    """What may be tried; the cross-validation decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "linear", "hidden"] = Field("auto", description="auto: the better one out of fold")
    strengths: tuple[float, ...] = Field(
        (3.0, 30.0, 300.0, 3000.0),
        min_length=1,
        description="inverse L2 penalties of the linear head, for embeddings of mean length 1",
    )
    usual_strength: float = Field(3.0, gt=0, description="taken unless another one is clearly better")
    means: tuple[float, ...] = Field(
        (50.0, 0.0),
        min_length=1,
        description="weights of the label means in the linear head, as photos per label: with as many, half of the"
        " regression's weight; 0: the regression alone",
    )
    widths: tuple[int, ...] = Field((32, 128), min_length=1, description="units in the hidden layer")
    weight_decays: tuple[float, ...] = Field((0.3, 3.0), min_length=1, description="AdamW's, for the hidden head")
    hidden_from_images_per_label: int = Field(
        20, ge=2, description="with fewer, auto does not try the hidden head: the folds could not tell"
    )


@dataclass(frozen=True)
class Candidate:
    """One head that was tried: its calibrated out-of-fold log loss, with the standard error of that mean."""

    kind: Kind
    settings: dict[str, float]
    log_loss: float
    standard_error: float
    out_of_fold_logits: Floats


@dataclass(frozen=True)
class SelectedHead:
    """A head on raw embeddings, with the settings that were chosen for it.

    `out_of_fold_logits` (N, L) are those of the chosen settings, averaged over repeats.
    """

    head: Head
    settings: dict[str, float]
    out_of_fold_logits: Floats
    candidates: list[dict[str, Any]]

    @property
    def kind(self) -> Kind:
        return self.head.kind

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Of the head, under the names that they have in an artifact."""
        return self.head.tensors

    def logits(self, embeddings: Floats) -> Floats:
        """(N, L)"""
        return self.head.logits(embeddings)

    def again(self, data: LabelledEmbeddings, folds: Folds, seed: int) -> SelectedHead:
        """The same settings on photos with other weights, out of fold too."""
        if self.kind == "linear":
            strength, means = self.settings["strength"], self.settings["means"]
            settings = HeadSettings(kind="linear", strengths=(strength,), usual_strength=strength, means=(means,))
        else:
            width, decay = int(self.settings["width"]), self.settings["weight_decay"]
            settings = HeadSettings(kind="hidden", widths=(width,), weight_decays=(decay,))
        return replace(fit_head(data, folds, settings, seed), candidates=self.candidates)

    def refit(self, data: LabelledEmbeddings, seed: int) -> Head:
        """A head of the same kind and settings, learned from other photos."""
        return _towards_mean(data) if data.label_count == 1 else HEADS[self.kind].fit(data, self.settings, seed)


def fit_head(data: LabelledEmbeddings, folds: Folds, settings: HeadSettings, seed: int) -> SelectedHead:
    """The chosen head, fitted on every photo. `DataError` where a label has none, or an embedding is not finite."""
    _raise_unless_learnable(data)
    if data.label_count == 1:
        return SelectedHead(_towards_mean(data), {}, np.zeros((len(data), 1), np.float32), [])
    libraries = None if is_small(data) else "blas"  # numpy's; torch, under the hidden head, may use all cores
    with thread_pools().limit(limits=1, user_api=libraries):
        if folds.repeats == 1 and _few_folds_choose(data, settings):
            candidates = _linear_candidates(data, folds.first_folds(CHOOSING_FOLDS), settings)
            chosen = _on_all_folds(_simplest_within_one_error(candidates), data, folds)
        else:
            candidates = _candidates(data, folds, settings, seed)
            chosen = _simplest_within_one_error(candidates)
        head = HEADS[chosen.kind].fit(data, chosen.settings, seed)
    tried = [
        {"kind": c.kind, "settings": c.settings, "log_loss": c.log_loss, "standard_error": c.standard_error}
        for c in candidates
    ]
    return SelectedHead(head, chosen.settings, chosen.out_of_fold_logits, tried)


def _few_folds_choose(data: LabelledEmbeddings, settings: HeadSettings) -> bool:
    """Where every fit is dear and only the linear head is tried, which two folds of many photos can choose for."""
    only_linear = settings.kind == "linear" or (
        settings.kind == "auto" and len(data) < settings.hidden_from_images_per_label * data.label_count
    )
    return only_linear and is_large(data)


def _on_all_folds(chosen: Candidate, data: LabelledEmbeddings, folds: Folds) -> Candidate:
    """With the logits of the folds that did not choose; those that did have theirs."""
    strength, means = chosen.settings["strength"], chosen.settings["means"]
    [logits] = OutOfFoldLinear(data, folds.later_folds(CHOOSING_FOLDS)).logits(strength, [means])
    logits[folds.first_folds(CHOOSING_FOLDS).tested] = chosen.out_of_fold_logits
    return replace(chosen, out_of_fold_logits=logits)


def _towards_mean(data: LabelledEmbeddings) -> LinearHead:
    """Of a single label, which needs no choice: its logit is the likeness to the label's mean, which `explain` maps."""
    mean = data.embeddings.mean(axis=0, dtype=np.float64)
    weight = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return LinearHead(weight[None].astype(np.float32), np.zeros(1, np.float32))


def _raise_unless_learnable(data: LabelledEmbeddings) -> None:
    if not np.isfinite(data.embeddings).all():
        raise DataError("the backbone gave embeddings that are not finite numbers; it cannot be used")
    images = np.bincount(data.labels, minlength=data.label_count)
    if len(images) != data.label_count or images.min(initial=len(data)) == 0:
        raise DataError(f"got images per label {images.tolist()}; at least one label, each with an image, is needed")


def _candidates(data: LabelledEmbeddings, folds: Folds, settings: HeadSettings, seed: int) -> list[Candidate]:
    """Simplest first."""
    candidates: list[Candidate] = []
    if settings.kind != "hidden":
        candidates += _linear_candidates(data, folds, settings)
    if settings.kind == "hidden" or (settings.kind == "auto" and _hidden_could_win(candidates, data.labels, settings)):
        candidates += _hidden_candidates(data, folds, settings, seed)
    return candidates


def _linear_candidates(data: LabelledEmbeddings, folds: Folds, settings: HeadSettings) -> list[Candidate]:
    """With the label means first, and the usual strength before stronger and weaker penalties.

    Tried from the strongest penalty on, at least to the usual one, until a weaker one no longer helps.
    """
    out_of_fold = OutOfFoldLinear(data, folds)
    tested = folds.tested
    weights = sorted(settings.means, reverse=True)
    tried: dict[float, list[Candidate]] = {means: [] for means in weights}
    for strength in sorted(settings.strengths):
        for means, logits in zip(weights, out_of_fold.logits(strength, weights), strict=True):
            chosen = {"strength": strength, "means": means}
            tried[means].append(_candidate("linear", chosen, logits[tested], data.labels[tested]))
        last = tried[weights[-1]]
        helps = len(last) < 2 or last[-2].log_loss - last[-1].log_loss > NOTICEABLE * last[-1].standard_error
        if strength >= settings.usual_strength and not helps:
            break
    usual = np.log(settings.usual_strength)
    return [
        candidate
        for each in tried.values()
        for candidate in sorted(each, key=lambda one: abs(np.log(one.settings["strength"]) - usual))
    ]


def _hidden_candidates(data: LabelledEmbeddings, folds: Folds, settings: HeadSettings, seed: int) -> list[Candidate]:
    coordinates = data.with_embeddings(Basis.of(data.embeddings).coordinates(data.embeddings))
    candidates: list[Candidate] = []
    for width, weight_decay in product(sorted(settings.widths), sorted(settings.weight_decays, reverse=True)):
        tried = out_of_fold_hidden(coordinates, folds, width, weight_decay, seed)
        chosen: dict[str, float] = {"width": width, "weight_decay": weight_decay, "epochs": tried.epochs}
        candidates.append(_candidate("hidden", chosen, tried.logits, data.labels))
    return candidates


def _candidate(kind: Kind, settings: dict[str, float], logits: Floats, labels: Labels) -> Candidate:
    """From the logits (N, L) and labels (N,) of the photos that a fold tested."""
    losses = image_log_losses(calibrated(logits, fit_temperature(logits, labels)), labels)  # (N,)
    return Candidate(kind, settings, float(losses.mean()), float(losses.std() / np.sqrt(len(losses))), logits)


def _hidden_could_win(linear: list[Candidate], labels: Labels, settings: HeadSettings) -> bool:
    """With few photos per label, or fewer than two mistakes to correct, the folds cannot tell the two heads apart."""
    if len(labels) < settings.hidden_from_images_per_label * len(np.unique(labels)):
        return False
    chosen = _simplest_within_one_error(linear)
    return int((chosen.out_of_fold_logits.argmax(axis=1) != labels).sum()) >= 2


def _simplest_within_one_error(candidates: list[Candidate]) -> Candidate:
    """The first whose log loss is not above the best by more than the standard error of the two together."""
    best = min(candidates, key=lambda candidate: candidate.log_loss)
    return next(c for c in candidates if c.log_loss - best.log_loss <= np.hypot(c.standard_error, best.standard_error))
