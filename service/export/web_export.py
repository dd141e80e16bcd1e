"""A model -> a static folder whose page answers photos in the browser, and uploads nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.atomic import partial_folder, rename_unless_taken
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import Artifact
from handful.service.artifact.label_names import in_one_form
from handful.service.artifact.preprocessing import Preprocessing, Source
from handful.service.artifact.store import home
from handful.service.export.onnx_export import AnswersDiffer, check_packages, export_onnx

if TYPE_CHECKING:
    from handful.service.export.precision import Precision

PACKAGE = "onnxruntime-web"
PACKAGE_VERSION = "1.30.0"  # what `npm install` fetches; another one may be named
PAGE = Path(__file__).parent / "web"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MODEL = "model.onnx"
NPM_SECONDS = 300


def check_web_export(out: Path) -> None:
    """Before any work. Raises `UsageError` for a folder that is not empty, and for a missing package."""
    check_packages()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; a new or empty folder is expected.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out} cannot be made; the folder {out.absolute().parent} is not there.")


def export_web(
    artifact: Artifact,
    out: Path,
    precision: Precision | None = None,
    photos: Iterable[tuple[str, Source]] | None = None,
    node_modules: Path | None = None,
) -> dict[str, Any]:
    """Makes the folder `out`, whole or not at all; returns what `handful export` prints.

    Without a `precision` the weights are fp16, or fp32 where the answers would otherwise differ.

    The errors of `export_onnx`, and `UsageError` where onnxruntime-web is not to be had.
    """
    check_web_export(out)
    runtime = runtime_folder(node_modules)
    target = out.absolute()
    with partial_folder(target.parent) as partial:
        result = _export(artifact, partial / MODEL, precision, photos)
        write_page(partial, artifact, runtime)
        if target.is_dir():
            target.rmdir()
        if not rename_unless_taken(partial, target):
            raise UsageError(f"{out} has just been made by somebody else; a new or empty folder is expected.")
    size = sum(file.stat().st_size for file in target.iterdir())
    return {**result, "out": str(out), "bytes": size}


def _export(
    artifact: Artifact, file: Path, precision: Precision | None, photos: Iterable[tuple[str, Source]] | None
) -> dict[str, Any]:
    if precision is not None:
        return export_onnx(artifact, file, precision, photos)
    photos = photos and list(photos)
    try:
        return export_onnx(artifact, file, "fp16", photos)
    except AnswersDiffer:
        return {**export_onnx(artifact, file, "fp32", photos), "refused": "fp16"}


def write_page(folder: Path, artifact: Artifact, runtime: Path) -> None:
    """Everything beside the model; `runtime` is the package onnxruntime-web."""
    for file in (*sorted(PAGE.iterdir()), *(runtime / "dist" / name for name in RUNTIME)):
        shutil.copy(file, folder)
    card = artifact.card
    facts = {
        "model": card.model,
        "labels": in_one_form(card.labels),
        "min_decode_side": Preprocessing.from_pretrained_cfg(artifact.config["pretrained_cfg"]).min_decode_side,
        "backbone": card.backbone.ref,
        "licence": card.backbone.licence or "not stated",
        "handful": installed("handful"),
    }
    (folder / "model.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")


def runtime_folder(node_modules: Path | None) -> Path:
    """The package onnxruntime-web: in the folder that was named, or fetched by npm and kept below `HANDFUL_HOME`."""
    folder = node_modules or home() / "cache" / PACKAGE / PACKAGE_VERSION / "node_modules"
    package = folder / PACKAGE
    if not _is_whole(package) and node_modules is None:
        _npm_install(folder.parent)
    if not _is_whole(package):
        raise UsageError(
            f"{folder} has no {PACKAGE} with {', '.join(RUNTIME)}; `npm install {PACKAGE}` makes such a folder."
        )
    return package


def _is_whole(package: Path) -> bool:
    return all((package / "dist" / name).is_file() for name in RUNTIME)


def _npm_install(folder: Path) -> None:
    npm = shutil.which("npm")
    ways = f"--node-modules takes a folder that holds {PACKAGE}"
    if npm is None:
        raise UsageError(f"The page needs {PACKAGE}, and npm, which fetches it, is not installed; {ways}.")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed package of a fixed version
            [*command, f"{PACKAGE}@{PACKAGE_VERSION}"], capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
        said = done.stderr.strip().splitlines() if done.returncode else []
    except subprocess.TimeoutExpired:
        said = [f"no end within {NPM_SECONDS} seconds"]
    if said:
        raise UsageError(f"npm could not fetch {PACKAGE} ({said[0][:200].rstrip('.')}); {ways}.")
