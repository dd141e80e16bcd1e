"""What the service counts, for Prometheus. The counts of several workers are added up.

Series are labelled from closed sets only: no path, name or text of a request becomes a series.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


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
        self.registry = registry

    def text(self) -> bytes:
        """The counts of all workers in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        workers = CollectorRegistry()
        MultiProcessCollector(workers)  # type: ignore[no-untyped-call]  # prometheus_client types its own calls only in part
        return generate_latest(workers)


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
