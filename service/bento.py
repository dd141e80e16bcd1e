"""A version of our store -> BentoML's model store, where `bentoml build` takes it from; and, inside a Bento, back.

BentoML's store is not safe to read while another process writes, so nothing that changes is ever read from it:
`bentoml build` fixes one version by its tag, and a Bento serves that version for ever.
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
PACKED = "handful-packed"  # the alias in bentofile.yaml; it leads somewhere only while a Bento is served
BENTO = Path(__file__).parents[2] / "bento.yaml"  # stands beside src/, where a Bento keeps this package
TAG_KEEPS = 40  # characters of a model's name in a tag, of the 63 that a tag's version may have


def register(folder: Path) -> str:
    """Copies the artifact, checked, into BentoML's store as its latest `handful`; returns the tag.

    An artifact that is the latest already is not copied again.
    """
    from handful.service.artifact.folder import (  # loads torch, which a Bento's supervisor does without
        CARD,
        open_artifact,
    )

    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")  # registering a model would call home
    card = open_artifact(folder).card
    latest = _found(f"{MODEL}:latest")
    if latest and Path(latest.path_of(CARD)).read_bytes() == (folder / CARD).read_bytes():
        return str(latest.tag)
    with bentoml.models.create(_tag(card), labels=_labels(card), metadata=_metadata(card)) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True)
    return str(model.tag)


def packed_model() -> Path | None:
    """The artifact's folder that `bentoml build` packed; None outside a Bento."""
    if not BENTO.is_file():
        return None
    model = _found(PACKED)
    if model is None:
        raise ModelNotFound("This Bento's model is gone; `bentoml models list` shows those that are left.")
    return Path(model.path)


def _found(tag: str) -> bentoml.Model | None:
    try:
        return bentoml.models.get(tag)
    except NotFound:
        return None


def _tag(card: ModelCard) -> str:
    """`handful:bags-3-1f2e3d4c`: readable in `bentoml models list`, and new each time, so that it is the latest."""
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
