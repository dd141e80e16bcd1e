"""A backbone as models of OpenVINO's, one after the other: computed, written and read without torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.compute.device import MOST_PARALLEL_BATCHES, SMALL_BATCH, cpu_count
from handful.service.compute.openvino_library import import_openvino
from numpy.typing import NDArray

Model = Any  # OpenVINO's, which leaves it untyped


class OpenVinoModels:
    """(N, S, S, 3) float32 -> (N, D) float32; safe to share between threads.

    Compiled when first called, once for few images and once for full batches, in a third of a second each.
    """

    def __init__(self, parts: Sequence[tuple[Model, str]]) -> None:
        """Each model takes what the one before it gives, and has a precision: `f32` or `bf16`."""
        self._core, self._parts = import_openvino().Core(), [*parts]
        self._lock, self._compiled, self._local = threading.Lock(), dict[bool, list[Any]](), threading.local()

    @classmethod
    def read(cls, folder: Path, precisions: Sequence[str]) -> OpenVinoModels:
        """What `write` wrote. Raises RuntimeError for files that OpenVINO cannot read."""
        core = import_openvino().Core()
        return cls([(core.read_model(folder / f"{i}.xml"), precision) for i, precision in enumerate(precisions)])

    def write(self, folder: Path) -> list[str]:
        """Files with all weights as they are, and the precisions that `read` takes."""
        for i, (model, _) in enumerate(self._parts):
            import_openvino().serialize(model, str(folder / f"{i}.xml"), str(folder / f"{i}.bin"))
        return [precision for _, precision in self._parts]

    @property
    def low_precision(self) -> bool:
        return self._parts[-1][1] == "bf16"

    @property
    def width(self) -> int:
        """D."""
        return int(self._parts[-1][0].output(0).partial_shape[1].get_length())

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        for request in self._requests(few=len(rows) <= SMALL_BATCH):
            request.infer([rows], share_inputs=True)
            rows = request.get_output_tensor(0).data
        return rows.copy()

    def _requests(self, *, few: bool) -> list[Any]:
        """Of each part, for this thread alone: a request holds its activations."""
        requests: dict[bool, list[Any]] = vars(self._local).setdefault("requests", {})
        if few not in requests:
            with self._lock:
                if few not in self._compiled:
                    self._compiled[few] = self._compile(1 if few else min(cpu_count(), MOST_PARALLEL_BATCHES))
            requests[few] = [part.create_infer_request() for part in self._compiled[few]]
        return requests[few]

    def _compile(self, streams: int) -> list[Any]:
        settings = {
            "INFERENCE_NUM_THREADS": cpu_count(),
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with decoding
        }
        return [
            self._core.compile_model(model, "CPU", {**settings, "INFERENCE_PRECISION_HINT": precision})
            for model, precision in self._parts
        ]
