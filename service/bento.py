"""A version of our store -> BentoML's model store, from which `bentoml build` takes it; inside a Bento, its folder.

BentoML's store is not safe to read while another process writes, so nothing that may change is read from it:
`bentoml build` fixes one version by its tag, and a Bento always serves that version.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ModelNotFound

MODEL = "handful"  # one name for all models, so that bentofile.yaml can say `handful:latest`
PACKED = "handful-packed"  # the alias in bentofile.yaml; BentoML knows it only while it serves a Bento
BENTO = Path(__file__).parents[2] / "bento.yaml"  # beside src/, in which a Bento keeps this package
TAG_KEEPS = 40  # characters of a model's name in a tag, of the 63 that a tag's version may have


def register(folder: Path) -> str:
    """Verifies the artifact, copies it into BentoML's store as the latest `handful` and returns its tag.

    An artifact that is already the latest is not copied again.
    """
    from handful.service.artifact.folder import (  # imports torch, which a Bento's supervisor does not need
        CARD,
        open_artifact,
    )

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")  # else BentoML would report this to its maker
    card = open_artifact(folder).card
    latest = _model(f"{MODEL}:latest")
    if latest and Path(latest.path_of(CARD)).read_bytes() == (folder / CARD).read_bytes():
        return str(latest.tag)
    with bentoml.models.create(_tag(card), labels=_labels(card), metadata=_metadata(card)) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def packed_model() -> Path | None:
    """The folder of the artifact that `bentoml build` packed; None outside a Bento."""
    if not BENTO.is_file():
        return None
    model = _model(PACKED)
    if model is None:
        raise ModelNotFound("This Bento's model was deleted; `bentoml models list` shows those that exist.")
    return Path(model.path)


def _model(tag: str) -> bentoml.Model | None:
    try:
        return bentoml.models.get(tag)
    except NotFound:
        return None


def _tag(card: ModelCard) -> str:
    """Such as `handful:bags-3-1f2e3d4c`: readable in `bentoml models list`, and new each time, so it is the latest."""
    name = re.sub(r"[^a-z0-9]+", "-", card.name.lower())[:TAG_KEEPS].strip("-")
    return f"{MODEL}:{'-'.join(filter(None, (name, card.version, secrets.token_hex(4))))}"


def _labels(card: ModelCard) -> dict[str, str]:
    return {"model": card.name, "version": card.version, "backbone": card.backbone.ref, "head": card.head.kind}


def _metadata(card: ModelCard) -> dict[str, object]:
    return {
        "labels": list(card.labels),
        "created_at": card.created_at.isoformat(),
        "accuracy": card.cross_validation.accuracy,
        "accuracy_ci95": list(card.cross_validation.accuracy_ci95),
        "images": card.data.images,
        "data_fingerprint": card.data.fingerprint,
    }
