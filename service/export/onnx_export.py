"""A model -> one ONNX file with the whole answer, which is written only if it answers as the model does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.atomic import move_into_place, partial_folder
from handful.service.artifact.errors import ArtifactError, UsageError
from handful.service.artifact.folder import CARD, Artifact
from handful.service.artifact.preprocessing import Source
from handful.service.lean.classifier import OnnxClassifier
from handful.service.lean.onnx_file import ENDING, installed_runtimes

if TYPE_CHECKING:
    import onnx
    from handful.service.classifier import Classifier
    from handful.service.export.check import Agreement
    from handful.service.export.precision import Precision

CHECKED_ON = 64  # training photos, about
NEEDED = ("onnx", "onnxscript")
INSTALL = 'pip install "handful[onnx]"'


class AnswersDiffer(UsageError):
    """Of a file that was written and compared, and is not kept."""


def check_export(out: Path) -> None:
    """Before any work. Raises `UsageError` for another ending, a place that cannot be written, a missing package."""
    if out.suffix.lower() != ENDING:
        raise UsageError(f"The file is {out}; a name that ends in {ENDING} is expected.")
    if not out.parent.is_dir() or out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"{out} cannot be written; it must be a file in an existing folder that you may write.")
    check_packages()


def check_packages() -> None:
    if not all(map(find_spec, NEEDED)) or not installed_runtimes():
        raise UsageError(f"Writing ONNX files needs further packages: `{INSTALL}` installs them.")


def export_onnx(
    artifact: Artifact,
    out: Path,
    precision: Precision = "fp32",
    photos: Iterable[tuple[str, Source]] | None = None,
) -> dict[str, Any]:
    """Writes the file and returns what `handful export` prints.

    It is compared with the model on `photos`, pairs of a name and a photo; by default on the small pictures that the
    artifact keeps of its training photos, and on generated ones. `AnswersDiffer` where they do, and `UsageError` where
    the network has an operator that ONNX lacks.
    """
    from handful.service.classifier import Classifier
    from handful.service.export.check import generated_photos
    from handful.service.export.graph import onnx_model
    from handful.service.export.precision import reduce_weights

    check_export(out)
    classifier = Classifier.from_artifact(artifact)
    model = onnx_model(classifier)
    reduce_weights(model, precision)
    model.metadata_props.extend(_entries(artifact, classifier, precision))
    if photos is None:
        photos = [*_thumbnails(artifact), *generated_photos()]
    agreement, here = keep_if_same(model, out, classifier, photos, precision)
    return {
        "model": classifier.card.model,
        "out": str(out),
        "precision": precision,
        "bytes": out.stat().st_size,
        "labels": list(classifier.labels),
        "checked": agreement.result,
        "engine": {"label": classifier.network.engine.label, **here.result},
    }


def keep_if_same(
    model: onnx.ModelProto,
    out: Path,
    classifier: Classifier,
    photos: Iterable[tuple[str, Source]],
    precision: Precision,
) -> tuple[Agreement, Agreement]:
    """Writes the file and compares it with the classifier; what was at `out` stays where they differ."""
    from handful.service.export.check import check_file

    with partial_folder(out.parent) as partial:
        file = partial / out.name
        file.write_bytes(model.SerializeToString())
        results = check_file(OnnxClassifier.load(file), classifier, photos)
        _refuse_unless_same(out, precision, results[0])
        move_into_place(file, out)
    return results


def _refuse_unless_same(out: Path, precision: Precision, agreement: Agreement) -> None:
    if not agreement.photos:
        raise UsageError(f"{out} was not written: none of the photos to check it with can be read.")
    if not agreement.holds(precision):
        better = "" if precision == "fp32" else "; --precision fp32 keeps all digits"
        raise AnswersDiffer(f"{out} was not written, as it would answer differently: {agreement}{better}.")


def _thumbnails(artifact: Artifact) -> list[tuple[str, Source]]:
    with contextlib.suppress(ArtifactError):  # damaged ones are no reason not to export
        named: list[tuple[str, Source]] = [(each.name, each.jpeg) for each in artifact.thumbnails() if each.jpeg]
        return named[:: max(1, len(named) // CHECKED_ON)]  # of every label, as they lie in the order of the labels
    return []


def _entries(artifact: Artifact, classifier: Classifier, precision: Precision) -> list[Any]:
    import onnx

    card, text = artifact.card, (artifact.path / CARD).read_text(encoding="utf-8")
    properties = {
        "model": card.model,
        "labels": json.dumps(list(classifier.labels), ensure_ascii=False),
        "threshold": repr(card.unknown.threshold),
        "temperature": repr(card.temperature),
        "precision": precision,
        "preprocessing": classifier.preprocessing.model_dump_json(),
        "min_decode_side": str(classifier.preprocessing.min_decode_side),
        "licence": card.backbone.licence or "not stated",
        "backbone": card.backbone.ref,
        "handful": installed("handful"),
        "card_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "card": text,
    }
    return [onnx.StringStringEntryProto(key=key, value=value) for key, value in properties.items()]
