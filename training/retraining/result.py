"""What `handful retrain` prints as JSON."""

from __future__ import annotations

from typing import Any

from handful.service.artifact.card import ComparisonCard, GateCard
from handful.training.evaluate import held_out_result
from handful.training.export import published_result
from handful.training.retraining.challenger import Challenger
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.corrections import Corrections, corrections_result, corrections_sentence
from handful.training.retraining.photos import RetrainPhotos
from handful.training.retraining.publishing import PublishedVersion


def retrain_result(
    champion: ChampionModel, challenger: Challenger, version: PublishedVersion, total_seconds: float
) -> dict[str, Any]:
    photos, learned, gate = challenger.photos, challenger.learned, challenger.gate
    seconds = {
        **learned.seconds,
        "embed": photos.seconds,
        "fit": learned.seconds["fit"] + challenger.seconds,
        "total": total_seconds,
    }
    return {
        **_photos_result(champion, photos),
        **published_result(version.card, version.path, photos.inspected, seconds),
        "missing": photos.missing,
        "suspected": challenger.suspected,
        "corrections": challenger.corrections,
        **({"finetune": learned.tuned.result} if learned.tuned else {}),
        "champion": {"model": gate.champion, **_side(gate, "champion")},
        "challenger": {"model": version.card.model, **_side(gate, "challenger")},
        "gate": gate.model_dump(
            mode="json", include={"passed", "p_forgets", "p_worse", "wrong_labels", "wrong_labels_at_least", "other"}
        ),
        "promoted": version.promoted,
        "reason": version.reason,
        **held_out_result(version.path, photos.dataset, photos.inspected),
    }


def unchanged_result(
    champion: ChampionModel, photos: RetrainPhotos, corrections: Corrections, total_seconds: float
) -> dict[str, Any]:
    """The result where there is no new version."""
    held_back = corrections_result([], corrections.held_back)
    said = corrections_sentence(held_back)
    seconds = {"embed": 0.0, "fit": 0.0, "total": total_seconds}
    return {
        **_photos_result(champion, photos),
        **published_result(champion.card, champion.artifact.path, photos.inspected, seconds),
        "missing": 0,
        "suspected": [],
        "corrections": held_back,
        "champion": None,
        "challenger": None,
        "promoted": False,
        "reason": " ".join(["There is nothing new to learn, so there is no new version.", *([said] if said else [])]),
    }


def _photos_result(champion: ChampionModel, photos: RetrainPhotos) -> dict[str, Any]:
    inspected = photos.inspected
    return {
        "previous": champion.card.model,
        "new": len(inspected.images) - inspected.known,
        "new_other": int(photos.new_other.sum()),
        "known": inspected.recognised,
        "relabelled": [
            {"path": change.path, "former": change.former, "label": change.label}
            for change in (*inspected.relabelled, *photos.moved)
        ],
    }


def _side(gate: GateCard, side: str) -> dict[str, Any]:
    """One side's numbers on known and on new photos."""
    return {part: _numbers(card, side) for part, card in (("known", gate.known), ("new", gate.new))}


def _numbers(card: ComparisonCard | None, side: str) -> dict[str, Any] | None:
    if card is None:
        return None
    return {"images": card.images, **{each: getattr(card, f"{side}_{each}") for each in ("accuracy", "log_loss")}}
