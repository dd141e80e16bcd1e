"""A learned model -> the folder of its artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from handful.service.artifact.card import (
    BackboneCard,
    CrossValidationCard,
    DataCard,
    FineTuneCard,
    ForecastCard,
    GateCard,
    HeadCard,
    Int8Card,
    ModelCard,
    UnknownCard,
)
from handful.service.artifact.folder import write_artifact
from handful.service.artifact.scores import ScoreHistogram, ScoresCard
from handful.service.artifact.thumbnails import packed_thumbnails
from handful.service.artifact.verdict import Verdict, verdict_on, verdict_on_one
from handful.service.compute.network import join_weights
from handful.training.backbone import Backbone
from handful.training.head.fit import Fitted
from handful.training.photos.cues import cue_results
from handful.training.photos.inspection import Inspected
from handful.training.report.forecast import forecast_of
from handful.training.report.learning_curve import LearningCurve, curve_of
from handful.training.report.of_training import write_report
from torch import Tensor

LIBRARIES = ("handful", "numpy", "pillow", "scikit-learn", "timm", "torch")


@dataclass(frozen=True)
class Export:
    """Writes one version. The store calls it with a hidden folder and the version's number."""

    name: str
    backbone: Backbone
    inspected: Inspected
    fitted: Fitted
    seed: int
    parent: str | None = None
    finetune: FineTuneCard | None = None
    int8: Int8Card | None = None
    gate: GateCard | None = None
    keep_embeddings: bool = True
    answers: np.ndarray | None = None  # (N, L) probabilities by networks that had not seen the photo

    def __call__(self, folder: Path, version: str) -> None:
        kind = self.fitted.head.kind
        weights = join_weights(self.backbone.config, kind, self.backbone.network.state_dict(), self.fitted.head.tensors)
        write_artifact(
            folder,
            self._config(kind),
            weights,
            self._embeddings(),
            lambda files: self._card(version, files),
            self._thumbnails(),
        )
        card, report = self._card(version, {}), folder / "report"
        write_report(report, card, self.inspected, self.fitted, self.curve, pictures=self.keep_embeddings)

    @cached_property
    def curve(self) -> LearningCurve | None:
        """None also for one label, and for a network that was fine-tuned on the photos: it would look too good."""
        several = len(self.inspected.labels) > 1
        return curve_of(self.inspected, self.fitted, self.seed) if several and not self.finetune else None

    @cached_property
    def forecast(self) -> ForecastCard | None:
        return forecast_of(self.curve, self.fitted.metrics, len(self.inspected.labels))

    def _config(self, kind: str) -> dict[str, Any]:
        outputs = len(self.inspected.labels) if kind == "linear" else 0  # timm cannot build a hidden head
        description = {**self.backbone.config["pretrained_cfg"], "num_classes": outputs}
        return {
            **self.backbone.config,
            "num_classes": outputs,
            "label_names": list(self.inspected.labels),
            "pretrained_cfg": description,
        }

    def _embeddings(self) -> Mapping[str, Tensor]:
        detector = {name: torch.from_numpy(array) for name, array in self.fitted.unknown.tensors.items()}
        if not self.keep_embeddings:
            return detector
        return {
            "embeddings": torch.from_numpy(self.inspected.embeddings),
            "labels": torch.from_numpy(self.inspected.label_index),
            "hashes": _bytes([image.content_sha256 for image in self.inspected.images]),
            "pictures": _bytes([image.pixels_sha256 for image in self.inspected.images]),
            "folds": torch.from_numpy(self.fitted.folds.numbers),
            **self._other(),
            **self._cues(),
            **({} if self.answers is None else {"answers": torch.from_numpy(self.answers.astype(np.float32))}),
            **detector,
        }

    def _other(self) -> Mapping[str, Tensor]:
        images = self.inspected.other
        if not images:
            return {}
        return {
            "other.embeddings": torch.from_numpy(self.inspected.other_embeddings),
            "other.hashes": _bytes([image.content_sha256 for image in images]),
            "other.pictures": _bytes([image.pixels_sha256 for image in images]),
        }

    def _cues(self) -> Mapping[str, Tensor]:
        """(N, 7), what `cue_numbers` measures; nothing where an older version kept none of its photos."""
        numbers = [image.cues for image in self.inspected.images if image.cues is not None]
        return {"cues": torch.from_numpy(np.stack(numbers))} if len(numbers) == len(self.inspected.images) else {}

    def _thumbnails(self) -> Mapping[str, Tensor] | None:
        if not self.keep_embeddings:
            return None
        return {name: torch.from_numpy(array) for name, array in packed_thumbnails(self.inspected.thumbnails).items()}

    def _backbone_card(self) -> BackboneCard:
        backbone, described = self.backbone, self.backbone.config
        return BackboneCard(
            ref=backbone.ref,
            revision=backbone.revision,
            sha256=backbone.sha256,
            architecture=described["architecture"],
            licence=described["pretrained_cfg"].get("license"),
        )

    def _verdict(self) -> Verdict:
        labels, measured = self.inspected.labels, self.fitted.metrics
        if len(labels) == 1:
            share = self.fitted.refused_share(self.fitted.other_scores)
            return verdict_on_one(
                labels[0], measured.accuracy, None if share is None else (share, len(self.inspected.other))
            )
        trend = self.curve.trend if self.curve else None
        images_per_answer = measured.images / measured.effective_images
        return verdict_on(labels, measured.confusion, measured.accuracy_ci95, trend, images_per_answer)

    def _card(self, version: str, files: dict[str, str]) -> ModelCard:
        fitted, inspected, measured = self.fitted, self.inspected, self.fitted.metrics
        return ModelCard(
            name=self.name,
            version=version,
            created_at=datetime.now(UTC).replace(microsecond=0),
            parent=self.parent,
            labels=inspected.labels,
            backbone=self._backbone_card(),
            head=HeadCard(kind=fitted.head.kind, settings=dict(fitted.head.settings)),
            finetune=self.finetune,
            int8=self.int8,
            temperature=fitted.temperature,
            unknown=UnknownCard(
                **fitted.unknown.settings,
                left_out_label_refused=fitted.refused_share(fitted.left_out_scores),
                other_refused=fitted.refused_share(fitted.other_scores),
            ),
            cross_validation=CrossValidationCard(
                folds=fitted.folds.count,
                repeats=fitted.folds.repeats,
                unknown_rate=float(fitted.refused.mean()),
                **measured.model_dump(exclude={"images"}),
            ),
            verdict=self._verdict(),
            forecast=self.forecast,
            gate=self.gate,
            training_scores=scores_card(fitted),
            data=DataCard(
                embeddings_kept=self.keep_embeddings,
                fingerprint=fingerprint(inspected),
                images=len(inspected.images),
                skipped=skipped(inspected),
                per_label=inspected.per_label,
                other=len(inspected.other),
            ),
            seed=self.seed,
            libraries={name: installed(name) for name in LIBRARIES},
            files=files,
        )


def scores_card(fitted: Fitted) -> ScoresCard | None:
    """None where the photos have no scores out of fold, or all the same."""
    unknown = ScoreHistogram.of(fitted.unknown_scores.tolist())
    several = fitted.probabilities.shape[1] > 1
    confidence = ScoreHistogram.of(fitted.probabilities.max(axis=1).tolist()) if several else None
    return ScoresCard(unknown_score=unknown, confidence=confidence) if unknown else None


def _bytes(sha256: list[str]) -> Tensor:
    """(N, 32) uint8"""
    return torch.from_numpy(np.frombuffer(bytes.fromhex("".join(sha256)), np.uint8).reshape(-1, 32).copy())


def skipped(inspected: Inspected) -> int:
    """Number of files below the labels that are left out."""
    return inspected.found - len(inspected.images)


def fingerprint(inspected: Inspected) -> str:
    """Equal for the same files under the same labels, in whatever folder."""
    labels = (inspected.labels[index] for index in inspected.label_index)
    lines = [f"{i.content_sha256} {label}" for i, label in zip(inspected.images, labels, strict=True)]
    lines = sorted([*lines, *(f"{image.content_sha256} /" for image in inspected.other)])  # no label has a slash
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def published_result(card: ModelCard, path: Path, inspected: Inspected, seconds: dict[str, float]) -> dict[str, Any]:
    """The part of a command's JSON that `train` and `retrain` share."""
    return {
        "model": card.model,
        "path": str(path),
        "labels": list(card.labels),
        "head": card.head.kind,
        "verdict": card.verdict.model_dump(mode="json"),
        "cv": card.cross_validation.model_dump(mode="json"),
        "unknown": card.unknown.model_dump(mode="json"),
        "forecast": card.forecast and card.forecast.model_dump(mode="json"),
        "cues": [each.model_dump(mode="json") for each in cue_results(inspected, card.seed)],
        "report": str(path / "report" / "report.html"),
        "images": {
            "found": inspected.found,
            "used": len(inspected.images),
            "skipped": skipped(inspected),
            "left_out": dict(inspected.left_out),
            "per_label": inspected.per_label,
            "other": len(inspected.other),
        },
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "problems": [vars(problem) for problem in inspected.problems],
    }
