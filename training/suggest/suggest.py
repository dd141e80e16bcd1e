"""Unlabelled photos, and a model or none -> the photos whose labels would teach most."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.store import Store
from handful.service.terminal.progress import CHOOSING, LOADING, LOADING_MODEL, next_stage
from handful.training.backbone import load_backbone
from handful.training.embeddings import Embedder
from handful.training.learning import cache_folder, embedder_of
from handful.training.retraining.champion import ChampionModel
from handful.training.suggest.coverage import Coverage
from handful.training.suggest.doubts import FEW, Doubts
from handful.training.suggest.pool import Pool, UnlabelledPhotos, embedded_pool
from handful.training.suggest.sheet import SuggestedPhoto


def suggest_photos(
    photos: UnlabelledPhotos, count: int, model: str | None, backbone: str, *, seed: int = 0
) -> tuple[dict[str, Any], list[SuggestedPhoto]]:
    """What `handful suggest` prints, and the photos for its contact sheet, the best first."""
    started = time.monotonic()
    next_stage(LOADING_MODEL if model else LOADING)
    champion = ChampionModel.load(Store().resolve(model)) if model else None
    cache = cache_folder()
    embedder = _embedder(champion, cache) if champion else embedder_of(load_backbone(backbone))
    with embedded_pool(photos, embedder, _learned(champion), cache) as pool:
        next_stage(CHOOSING)
        doubts = Doubts.of(champion, pool.embeddings) if champion and len(pool.paths) else None
        weighted = doubts is not None and champion is not None and _photos_per_label(champion) >= FEW
        coverage = Coverage(pool.embeddings, doubts.worth if doubts and weighted else None, seed=seed)
        if champion:
            coverage.know(np.stack([each.embedding for each in (*champion.known.images, *champion.known.other)]))
        before = coverage.share
        chosen = coverage.choose(count)
        suggested = [_suggested(photos, pool, row, doubts) for row in chosen]
        result = {
            "model": champion.card.model if champion else None,
            "backbone": champion.card.backbone.ref if champion else backbone,
            "by": "coverage and doubt" if weighted else "coverage",
            "images": len(photos.paths),
            "failed": [{"path": photos.name(path), "error": str(error)} for path, error in pool.failed],
            "known": pool.known,
            "same_picture": pool.twice,
            "covered": {"before": before, "after": coverage.share},
            "suggested": [each.row() for each in suggested],
            "seconds": round(time.monotonic() - started, 3),
        }
    return result, suggested


def _embedder(champion: ChampionModel, cache: Path) -> Embedder:
    """As the champion's own, without thumbnails."""
    own = champion.embedder(cache)
    own.thumbnails = False
    return own


def _learned(champion: ChampionModel | None) -> frozenset[str]:
    known = (*champion.known.images, *champion.known.other) if champion else ()
    return frozenset(each for image in known for each in (image.content_sha256, image.pixels_sha256))


def _photos_per_label(champion: ChampionModel) -> float:
    return len(champion.known.images) / len(champion.known.labels)


def _suggested(photos: UnlabelledPhotos, pool: Pool, row: int, doubts: Doubts | None) -> SuggestedPhoto:
    path = pool.paths[row]
    if doubts is None:
        return SuggestedPhoto(path, photos.name(path))
    return SuggestedPhoto(
        path,
        photos.name(path),
        None if doubts.unknown[row] else doubts.labels[int(doubts.answers[row])],
        float(doubts.confidence[row]),
        float(doubts.margin[row]),
        bool(doubts.unknown[row]),
    )
