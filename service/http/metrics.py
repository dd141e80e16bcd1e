"""What the service counts, for Prometheus. The counts of several workers are added up.

Series are labelled from closed sets only: no path, name or text of a request becomes a series. A model's name does,
once the model has answered a photo.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
from handful.service.drift.psi import LEVELS, ScoreDrift
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
UNKNOWN_SCORES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0)
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
OF_SCORES = ("model", "score", "bin")
TRAINING, PHOTOS = "handful_drift_training_images", "handful_drift_images"


class ServiceMetrics:
    """One per worker."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.images = Counter("handful_images", "Images answered with a prediction", registry=registry)
        self.unknown = Counter("handful_unknown", "Images answered as unknown", registry=registry)
        self.errors = Counter(
            "handful_errors", "Errors by code, those of single images included", ["code"], registry=registry
        )
        self.requests = Counter("handful_requests", "Requests", ["path", "status"], registry=registry)
        self.request_seconds = Histogram(
            "handful_request_seconds", "Time from a request to its answer", ["path"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "handful_batch_images", "Images per batch of the network", buckets=IMAGES, registry=registry
        )
        self.decode_seconds = Histogram(
            "handful_decode_seconds", "Time to decode an image", buckets=SECONDS, registry=registry
        )
        self.network_seconds = Histogram(
            "handful_network_seconds", "Time of the network per batch", buckets=SECONDS, registry=registry
        )
        self.retrains = Counter("handful_retrains", "Retrainings by their end state", ["state"], registry=registry)
        self.jobs = Counter("handful_jobs", "Jobs by their kind and end state", ["kind", "state"], registry=registry)
        self.feedback = Counter("handful_feedback", "Corrected images that were stored", registry=registry)
        self.version = Gauge(
            "handful_model_version", "Version being served", registry=registry, multiprocess_mode="mostrecent"
        )
        self.unknown_score = Histogram(
            "handful_unknown_score",
            "How little an answered image resembles the labels",
            ["model"],
            buckets=UNKNOWN_SCORES,
            registry=registry,
        )
        self.confidence = Histogram(
            "handful_confidence",
            "Probability of an answered image's most probable label",
            ["model"],
            buckets=CONFIDENCES,
            registry=registry,
        )
        self.drift_photos = Gauge(
            PHOTOS,
            "The last answered images, at most 1,000 per worker, in the bins of training's scores",
            OF_SCORES,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.drift_training = Gauge(
            TRAINING, "Training images in the same bins", OF_SCORES, registry=registry, multiprocess_mode="mostrecent"
        )
        self.registry = registry

    def text(self) -> bytes:
        """The counts of all workers in Prometheus's text format."""
        return generate_latest(_Collected(self.families()))

    def families(self) -> list[Metric]:
        """All series of all workers, with those that are computed from them."""
        registry = self.registry
        if folder := os.environ.get(FOLDER):
            _forget_the_dead(Path(folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client types its own calls only in part
        families = list(registry.collect())
        return [*families, *drift_families(families)]


class FollowMetrics:
    """Of a service that follows a store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "handful_follow_up",
            "1 if the last look at the store of HANDFUL_FOLLOW succeeded, else 0",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.seen = Gauge(
            "handful_follow_seen_seconds",
            "When a look at it last succeeded, in seconds since 1970",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.failures = Counter("handful_follow_failures", "Looks at it that failed", registry=registry)


class _Collected:
    """What `generate_latest` takes for a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _forget_the_dead(folder: Path) -> None:
    """A worker that was killed leaves its gauges, whose sums are of the workers that live."""
    for file in folder.glob("gauge_live*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not _lives(process):
            with suppress(FileNotFoundError):  # another worker was faster
                mark_process_dead(process)  # type: ignore[no-untyped-call]  # as above


def _lives(process: int) -> bool:
    """A worker that was killed keeps its number until its supervisor looks after it."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def drift_families(families: Iterable[Metric]) -> list[Metric]:
    """The population stability index of each model and score whose counts are in these families, with its verdict."""
    counts: dict[str, dict[tuple[str, str], dict[int, float]]] = {
        name: defaultdict(dict) for name in (TRAINING, PHOTOS)
    }
    for family in families:
        for sample in family.samples if family.name in counts else ():
            labels = sample.labels
            counts[family.name][labels["model"], labels["score"]][int(labels["bin"])] = sample.value
    by = ("model", "score")
    index = GaugeMetricFamily("handful_drift_psi", "Population stability index of these images", labels=by)
    chance = GaugeMetricFamily("handful_drift_psi_by_chance", "What it is of images that have not moved", labels=by)
    words = ", ".join(f"{number} {level.replace('_', ' ')}" for number, level in enumerate(LEVELS))
    level = GaugeMetricFamily("handful_drift_level", f"The verdict: {words}", labels=by)
    for key, training in counts[TRAINING].items():
        bins = sorted(number for number, count in training.items() if count)
        photos = [counts[PHOTOS][key].get(number, 0.0) for number in bins]
        if len(bins) < 2 or not sum(photos):
            continue
        drift = ScoreDrift.of([training[number] for number in bins], photos)
        for each, value in ((index, drift.psi), (chance, drift.by_chance), (level, LEVELS.index(drift.level))):
            each.add_metric(key, value)
    return [index, chance, level]
