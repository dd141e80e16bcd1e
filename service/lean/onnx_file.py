"""An exported model in one ONNX file: what it says of itself, and its answers to arrays of pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from handful.service.artifact.card import ModelCard, parse_card
from handful.service.artifact.errors import ArtifactIncomplete, ArtifactInconsistent, UsageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import threads
from numpy.typing import NDArray

ENDING = ".onnx"
IMAGES = "images"  # the input: (N, H, W, 3) uint8, N upright RGB images of one size
OUTPUTS = ("probabilities", "unknown_score", "unknown", "embedding")
INSTALL = 'pip install "handful[lean]"'


@dataclass(frozen=True)
class OnnxAnswers:
    """To N images, as the file's outputs."""

    probabilities: NDArray[np.float32]  # (N, L)
    unknown_score: NDArray[np.float32]  # (N,)
    unknown: NDArray[np.bool_]  # (N,)
    embedding: NDArray[np.float32]  # (N, D)


class Runtime(Protocol):
    """What computes the file."""

    name: str

    def properties(self) -> dict[str, str]: ...

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]: ...


class OnnxRuntime:
    """Microsoft's; opens a file in a fifth of a second."""

    name = "onnxruntime"

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3  # errors alone
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave cores to decoders
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def properties(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        return cast("list[NDArray[Any]]", self._session.run(list(OUTPUTS), {IMAGES: images}))


class OpenVino:
    """Intel's; computes in float32, where its own default may be bfloat16."""

    name = "openvino"

    def __init__(self, path: Path) -> None:
        from handful.service.compute.openvino_library import import_openvino

        core = import_openvino().Core()
        self._model = core.read_model(path)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
        self._compiled = core.compile_model(self._model, "CPU", settings)

    def properties(self) -> dict[str, str]:
        information = self._model.get_rt_info()
        described = information["framework"] if "framework" in information else {}  # noqa: SIM401 - no dictionary
        return {key: str(each.value) for key, each in described.items()}

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        results = self._compiled({IMAGES: images})
        return [results[name] for name in OUTPUTS]


_RUNTIMES: dict[str, Callable[[Path], Runtime]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}  # module -> what runs on it


def installed_runtimes() -> list[str]:
    return [module for module in _RUNTIMES if find_spec(module) is not None]


class OnnxFile:
    """Raises an `ArtifactError` for a file that is not there or was not exported by handful.

    `UsageError` where neither runtime is installed.
    """

    def __init__(self, path: Path, runtime: str | None = None) -> None:
        if not path.is_file():
            raise ArtifactIncomplete(f"{path} is not there; a file that `handful export` wrote is expected.")
        found = installed_runtimes()
        if not found:
            raise UsageError(f"An exported file is answered by ONNX Runtime or OpenVINO; `{INSTALL}` installs one.")
        self.path = path
        try:
            self.runtime: Runtime = _RUNTIMES[runtime or found[0]](path)
            properties = self.runtime.properties()
        except Exception as e:
            raise ArtifactInconsistent(f"{path} cannot be opened as an ONNX file ({_short(e)}).") from e
        if "card" not in properties:
            raise ArtifactInconsistent(f"{path} has no card; a file that `handful export` wrote is expected.")
        self.card: ModelCard = parse_card(properties["card"], path)
        try:
            self.preprocessing = Preprocessing.model_validate(json.loads(properties["preprocessing"]))
            self.precision = properties["precision"]
        except (KeyError, ValueError) as e:
            raise ArtifactInconsistent(f"{path} does not describe its input ({_short(e)}).") from e
        self.properties = properties

    def answers(self, images: NDArray[np.uint8]) -> OnnxAnswers:
        """To `(N, H, W, 3)` uint8."""
        return OnnxAnswers(*self.runtime.run(images))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
