"""Embeddings to a head, chosen by cross-validation.

A choice is made on the calibrated out-of-fold log loss, since how sure a head is will be corrected anyway, and always
in favour of the simpler head unless another is better by more than one standard error: the strongest penalty, the
linear head. What is gained in-set within that error is lost on photos of another style (training/LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from handful.service.artifact.errors import DataError
from handful.service.compute.device import thread_pools
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Fold, Labels, make_folds
from handful.training.head.hidden import fit_hidden, out_of_fold_hidden
from handful.training.head.linear import Basis, Floats, LinearFits, OutOfFoldLinear, is_small
from pydantic import BaseModel, ConfigDict, Field

SCOUTS = 2  # folds that choose the strength in a large problem


class HeadSettings(BaseModel):
    """What may be tried; the cross-validation decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "linear", "hidden"] = Field("auto", description="auto: the better one out of fold")
    strengths: tuple[float, ...] = Field(
        (1.0, 10.0, 100.0, 1000.0),
        min_length=1,
        description="inverse L2 penalties of the linear head, for embeddings of mean length 1; 1 is the most cautious",
    )
    widths: tuple[int, ...] = Field((32, 128), min_length=1, description="units in the hidden layer")
    weight_decays: tuple[float, ...] = Field((0.3, 3.0), min_length=1, description="AdamW's, for the hidden head")
    hidden_from_images_per_label: int = Field(
        20, ge=2, description="with fewer, auto does not try the hidden head: the folds could not tell"
    )
    scouted_from: int = Field(
        1_000_000_000,
        ge=0,
        description="images x labels x dimensions from which two folds choose the strength of the linear head for all",
    )


@dataclass(frozen=True)
class Candidate:
    """One head that was tried: its calibrated out-of-fold log loss, with the standard error of that mean."""

    kind: Literal["linear", "hidden"]
    settings: dict[str, float]
    log_loss: float
    standard_error: float
    out_of_fold_logits: Floats
    rejected: bool = False  # by the scouts: loss and logits are those of their folds alone


@dataclass(frozen=True)
class FittedHead:
    """A head on raw embeddings.

    linear: `weight` (L, D), `bias` (L,). hidden: `hidden.weight` (H, D), `hidden.bias` (H,), ReLU, `weight` (L, H),
    `bias` (L,). `settings` are the chosen ones; `out_of_fold_logits` (N, L) are theirs, averaged over repeats.
    """

    kind: Literal["linear", "hidden"]
    weights: dict[str, Floats]
    settings: dict[str, float]
    out_of_fold_logits: Floats
    candidates: list[dict[str, Any]]

    def logits(self, embeddings: Floats) -> Floats:
        """(N, L)"""
        if self.kind == "hidden":
            embeddings = np.maximum(embeddings @ self.weights["hidden.weight"].T + self.weights["hidden.bias"], 0)
        return np.asarray(embeddings @ self.weights["weight"].T + self.weights["bias"])


def fit_head(
    embeddings: Floats,
    labels: Labels,
    groups: Labels,
    label_count: int,
    settings: HeadSettings,
    seed: int,
    folds: list[Fold] | None = None,
) -> FittedHead:
    """The chosen head, fitted on every photo; `folds` are made from groups and seed unless given."""
    _raise_unless_learnable(embeddings, labels, label_count)
    folds = make_folds(labels, groups, seed) if folds is None else folds
    small = is_small(embeddings, label_count)
    libraries = None if small else "blas"  # numpy's; torch, under the hidden head, may have all cores
    with thread_pools().limit(limits=1, user_api=libraries):
        basis = Basis.of(embeddings)
        coordinates = basis.coordinates(embeddings)
        candidates = _candidates(coordinates, labels, folds, label_count, settings, seed)
        chosen = _simplest_within_one_error(candidates)
        weights = _weights(chosen, basis, coordinates, labels, label_count, seed)
    tried = [
        {"kind": c.kind, "settings": c.settings, "log_loss": c.log_loss, "standard_error": c.standard_error}
        for c in candidates
    ]
    return FittedHead(chosen.kind, weights, chosen.settings, chosen.out_of_fold_logits, tried)


def refit(head: FittedHead, embeddings: Floats, labels: Labels, label_count: int, seed: int) -> dict[str, Floats]:
    """The weights of the same head, learned from other photos: kind and settings stay as they were chosen."""
    basis = Basis.of(embeddings)
    return _weights(head, basis, basis.coordinates(embeddings), labels, label_count, seed)


def _raise_unless_learnable(embeddings: Floats, labels: Labels, label_count: int) -> None:
    if not np.isfinite(embeddings).all():
        raise DataError("the backbone gave embeddings that are not finite numbers; it cannot be used")
    images = np.bincount(labels, minlength=label_count)
    if label_count < 2 or len(images) != label_count or images.min() == 0:
        raise DataError(f"got images per label {images.tolist()}; at least 2 labels, each with an image, are needed")


def _candidates(
    coordinates: Floats, labels: Labels, folds: list[Fold], label_count: int, settings: HeadSettings, seed: int
) -> list[Candidate]:
    """Simplest first."""
    candidates: list[Candidate] = []
    if settings.kind != "hidden":
        candidates += _linear_candidates(coordinates, labels, folds, label_count, settings)
    if settings.kind == "hidden" or (settings.kind == "auto" and _hidden_could_win(candidates, labels, settings)):
        for width, weight_decay in product(sorted(settings.widths), sorted(settings.weight_decays, reverse=True)):
            fit = out_of_fold_hidden(coordinates, labels, folds, label_count, width, weight_decay, seed)
            chosen: dict[str, float] = {"width": width, "weight_decay": weight_decay, "epochs": fit.epochs}
            candidates.append(_candidate("hidden", chosen, fit.logits, labels))
    return candidates


def _linear_candidates(
    coordinates: Floats, labels: Labels, folds: list[Fold], label_count: int, settings: HeadSettings
) -> list[Candidate]:
    """From the strongest penalty on, until a weaker one no longer helps."""
    scouts = SCOUTS if coordinates.size * label_count >= settings.scouted_from else len(folds)
    out_of_fold = OutOfFoldLinear(coordinates, labels, folds[:scouts], label_count)
    tested = np.unique(np.concatenate([test for _, test in folds[:scouts]]))
    candidates: list[Candidate] = []
    for strength in sorted(settings.strengths):
        logits = out_of_fold.logits(strength)[tested]
        candidates.append(_candidate("linear", {"strength": strength}, logits, labels[tested]))
        if len(candidates) > 1 and candidates[-1].log_loss >= candidates[-2].log_loss:
            break
    if scouts >= len(folds):
        return candidates
    chosen = _simplest_within_one_error(candidates)
    logits = OutOfFoldLinear(coordinates, labels, folds[scouts:], label_count).logits(chosen.settings["strength"])
    logits[tested] = chosen.out_of_fold_logits
    whole = _candidate("linear", chosen.settings, logits, labels)
    return [whole if candidate is chosen else replace(candidate, rejected=True) for candidate in candidates]


def _candidate(
    kind: Literal["linear", "hidden"], settings: dict[str, float], logits: Floats, labels: Labels
) -> Candidate:
    probabilities = calibrated(logits, fit_temperature(logits, labels))
    losses = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-15))  # (N,)
    return Candidate(kind, settings, float(losses.mean()), float(losses.std() / np.sqrt(len(losses))), logits)


def _hidden_could_win(linear: list[Candidate], labels: Labels, settings: HeadSettings) -> bool:
    """With few photos a label, or less than two mistakes left to mend, there is nothing to tell the two heads apart."""
    if len(labels) < settings.hidden_from_images_per_label * len(np.unique(labels)):
        return False
    chosen = _simplest_within_one_error(linear)
    return int((chosen.out_of_fold_logits.argmax(axis=1) != labels).sum()) >= 2


def _simplest_within_one_error(candidates: list[Candidate]) -> Candidate:
    """The first whose log loss is not above the best by more than the standard error of the two together."""
    open_to_choice = [candidate for candidate in candidates if not candidate.rejected]
    best = min(open_to_choice, key=lambda candidate: candidate.log_loss)
    return next(
        c for c in open_to_choice if c.log_loss - best.log_loss <= np.hypot(c.standard_error, best.standard_error)
    )


def _weights(
    chosen: Candidate | FittedHead, basis: Basis, coordinates: Floats, labels: Labels, label_count: int, seed: int
) -> dict[str, Floats]:
    if chosen.kind == "linear":
        weight, bias = basis.undo(*LinearFits(coordinates, labels, label_count).fit(chosen.settings["strength"]))
        return {"weight": weight, "bias": bias}
    width, epochs = int(chosen.settings["width"]), int(chosen.settings["epochs"])
    into, into_bias, out, out_bias = fit_hidden(
        coordinates, labels, label_count, width, chosen.settings["weight_decay"], epochs, seed
    )
    into, into_bias = basis.undo(into, into_bias)
    return {"hidden.weight": into, "hidden.bias": into_bias, "weight": out, "bias": out_bias}
