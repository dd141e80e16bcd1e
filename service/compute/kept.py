"""Networks as OpenVINO reads them, for processes that do without torch: `HANDFUL_HOME/cache/openvino/`.

A folder there belongs to the weights of one backbone, its input, this processor and the versions of torch, timm and
OpenVINO:

    network.json   under which key timings.py has the engines' rates for this network, and what the files hold
    0.xml 0.bin …  its models; only where OpenVINO was the fastest

Whether OpenVINO answers is decided anew each time, by the rates.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.artifact.atomic import partial_folder, rename_unless_taken, sweep
from handful.service.artifact.folder import WEIGHTS, Artifact, file_sha256
from handful.service.artifact.store import home
from handful.service.compute.device import CPU_BATCH, MOST_PARALLEL_BATCHES, SMALL_BATCH, cpu_count, may_have_gpu
from handful.service.compute.openvino_library import is_installed
from handful.service.compute.openvino_models import OpenVinoModels
from handful.service.compute.timings import Rates, Workload, fastest_of, processor_name, remembered
from handful.service.compute.weights import head_prefix, sha256_without
from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from handful.service.compute.network import Network

logger = logging.getLogger(__name__)
FORMAT = 1
MOST = 8  # networks; the one that was not used for longest gives way
DESCRIPTION = "network.json"
OPENVINO = "openvino"


class KeptNetwork(BaseModel):
    """What network.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timings: str
    engines: tuple[str, ...]  # that were timed, the simplest first
    precisions: tuple[str, ...] = ()  # of the models; none: they were not kept
    files: dict[str, str] = {}  # sha256 of each

    def timed(self) -> dict[Workload, Rates]:
        """For one image and for full batches; empty rates where they are not known (any more)."""
        full = Workload(CPU_BATCH, min(cpu_count(), MOST_PARALLEL_BATCHES))
        known = {workload: remembered(self.timings, workload) for workload in (Workload(1, 1), full)}
        return {
            workload: {name: rates[name] for name in self.engines} if set(self.engines) <= set(rates) else {}
            for workload, rates in known.items()
        }


def can_be_kept() -> bool:
    """Whether OpenVINO may be the engine of a classifier here."""
    return is_installed() and not may_have_gpu()


def kept_folder(artifact: Artifact) -> Path:
    """Where the artifact's backbone is kept, if it is. Raises PackageNotFoundError without torch."""
    config, prefix = artifact.config, head_prefix(artifact.config, artifact.card.head.kind)
    identity = [
        FORMAT,
        sha256_without(artifact.path / WEIGHTS, prefix),
        *(config.get(key) for key in ("architecture", "model_args")),
        config["pretrained_cfg"]["input_size"],
        bool(artifact.card.int8),
        *(processor_name(), cpu_count()),
        *map(version, ("torch", "timm", "openvino")),
    ]
    return _root() / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def kept_network(folder: Path) -> KeptNetwork | None:
    """None where nothing usable is kept."""
    try:
        return KeptNetwork.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError):
        return None


def kept_of(artifact: Artifact) -> KeptNetwork | None:
    """As `kept_network`, of the artifact's network."""
    try:
        return kept_network(kept_folder(artifact))
    except (OSError, PackageNotFoundError):
        return None


def is_fastest(kept: KeptNetwork, *, even: bool = False) -> bool:
    """Whether OpenVINO is, by what is remembered: for one image and for full batches; `even`: for the latter alone."""
    asked = [rates for workload, rates in kept.timed().items() if not even or workload.images > SMALL_BATCH]
    return all(rates and fastest_of(rates) == OPENVINO for rates in asked)


def is_measured(kept: KeptNetwork | None) -> bool:
    """Whether torch has nothing to add: the engines were timed, and the models are there if they are needed."""
    return kept is not None and all(kept.timed().values()) and (bool(kept.precisions) or not is_fastest(kept))


def read_models(folder: Path, kept: KeptNetwork) -> OpenVinoModels | None:
    """None where they are not kept, or are damaged."""
    try:
        if not kept.precisions or any(file_sha256(folder / name) != digest for name, digest in kept.files.items()):
            return None
        models = OpenVinoModels.read(folder, kept.precisions)
        with suppress(OSError):
            (folder / DESCRIPTION).touch()  # used
    except (OSError, RuntimeError) as e:
        logger.info("%s cannot be read (%s)", folder, e)
        return None
    return models


def keep_network(artifact: Artifact, network: Network) -> bool:
    """Remembers which timings are the network's and, where OpenVINO was the fastest, its models.

    `network` is the artifact's, its engines chosen by timing; else nothing is done. Returns whether models are kept.
    """
    from handful.service.compute.openvino import OpenVinoNetwork

    if network.timings_key is None or not network.timed or not can_be_kept():
        return False
    run = network.engine.run
    models = run.models if isinstance(run, OpenVinoNetwork) else None
    try:
        folder = kept_folder(artifact)
        _write(folder, network.timings_key, next(iter(network.timed.values())), models)
    except (OSError, PackageNotFoundError) as e:
        logger.info("The network cannot be kept for OpenVINO (%s)", e)
        return False
    return models is not None


def _write(folder: Path, timings: str, engines: Iterable[str], models: OpenVinoModels | None) -> None:
    root = folder.parent
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    with partial_folder(root) as partial:
        precisions = models.write(partial) if models else []
        files = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
        kept = KeptNetwork(timings=timings, engines=tuple(engines), precisions=tuple(precisions), files=files)
        (partial / DESCRIPTION).write_text(kept.model_dump_json(indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        rename_unless_taken(partial, folder)
    for old in sorted(_folders(root), key=_last_use, reverse=True)[MOST:]:
        shutil.rmtree(old, ignore_errors=True)


def _folders(root: Path) -> list[Path]:
    return [each for each in root.iterdir() if not each.name.startswith(".")]


def _last_use(folder: Path) -> float:
    try:
        return (folder / DESCRIPTION).stat().st_mtime
    except OSError:
        return 0.0


def _root() -> Path:
    return home() / "cache" / "openvino"
