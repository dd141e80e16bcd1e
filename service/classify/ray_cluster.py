"""The cluster on which `classify --engine ray` runs, and what each of its actors gets."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from handful.service.artifact.errors import UsageError

OBJECT_STORE_BYTES = 256_000_000  # of a cluster that is started here


@dataclass(frozen=True)
class RaySettings:
    """What one actor gets. By default one GPU if the cluster has any, else all cores of the smallest node."""

    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class ActorPool:
    """How many actors there may be, and what each gets."""

    actors: int
    cpus: float
    gpus: float


def actor_pool(settings: RaySettings) -> ActorPool:
    """`UsageError` where no node has what one actor is to get."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray's
    gpus = settings.gpus
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) for node in nodes) else 0.0
    usable = [node for node in nodes if node.get("CPU", 0) >= (settings.cpus or 1) and node.get("GPU", 0) >= gpus]
    if not usable:
        existing = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UsageError(
            f"No node of the Ray cluster has {settings.cpus or 1:g} CPUs and {gpus:g} GPUs for one actor; the nodes"
            f" have {existing or 'nothing'}."
        )
    cpus = settings.cpus or (1.0 if gpus else min(node["CPU"] for node in usable))
    actors = sum(int(min(node["CPU"] / cpus, node["GPU"] / gpus if gpus else node["CPU"] / cpus)) for node in usable)
    return ActorPool(max(1, actors), cpus, gpus)


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster at RAY_ADDRESS, or one on this machine, which ends with the block."""
    import ray
    from ray.data import DataContext

    mine = not ray.is_initialized()
    if mine:
        _connect()
    DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def _connect() -> None:
    import ray
    from handful.service.compute.device import cpu_count

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it would write between the command's own lines
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            ray.init(
                address="local",
                num_cpus=cpu_count(),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
    except (ConnectionError, ValueError, RuntimeError) as e:
        address, why = os.environ.get("RAY_ADDRESS"), " ".join(str(e).split())[:300].rstrip(".")
        if not address:
            raise UsageError(f"Ray cannot be started on this machine: {why}.") from e
        token = "" if "RAY_AUTH_MODE" in os.environ else " If it asks for a token, set RAY_AUTH_MODE=token."
        raise UsageError(f"The Ray cluster {address} cannot be reached: {why}.{token}") from e
