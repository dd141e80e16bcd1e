"""What the service counts, as Prometheus reads it; counts of several workers are added up.

Labels take values from closed sets only: no path, name or text from a request becomes a series.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One a worker."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.images = Counter("handful_images", "Images answered with a prediction", registry=own)
        self.unknown = Counter("handful_unknown", "Images refused as unknown", registry=own)
        self.errors = Counter("handful_errors", "Errors by code, each image's own included", ["code"], registry=own)
        self.requests = Counter("handful_requests", "Requests", ["path", "status"], registry=own)
        self.request_seconds = Histogram(
            "handful_request_seconds", "From a request's head to its answer", ["path"], buckets=SECONDS, registry=own
        )
        self.batch = Histogram("handful_batch_images", "Images the network took at once", buckets=IMAGES, registry=own)
        self.decode_seconds = Histogram("handful_decode_seconds", "An image's decoding", buckets=SECONDS, registry=own)
        self.network_seconds = Histogram("handful_network_seconds", "A batch's network", buckets=SECONDS, registry=own)
        self.retrains = Counter("handful_retrains", "Retrainings by how they ended", ["state"], registry=own)
        self.feedback = Counter("handful_feedback", "Images that came with their right label", registry=own)
        self.version = Gauge(
            "handful_model_version", "Version being served", registry=own, multiprocess_mode="mostrecent"
        )
        self._registry = own

    def text(self) -> bytes:
        """All workers' counts in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]  # prometheus_client types its own calls only in part
        return generate_latest(everyone)
