"""ONNX Runtime (fp32, int8 after calibration) and OpenVINO (bf16) on the same network.

Speed and, for int8, the smallest cosine to the fp32 embedding. Random weights are kinder to int8 than trained ones.

python engines.py BACKBONE_FOLDER SIDE_PIXELS BATCH
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import timm
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from peer import Clock, answer


class Noise(CalibrationDataReader):
    """Eight batches to calibrate with."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        generator = np.random.default_rng(0)
        self.left = [{name: generator.normal(size=shape).astype(np.float32)} for _ in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def onnx_run(session: onnxruntime.InferenceSession) -> object:
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def openvino_run(compiled: openvino.CompiledModel) -> object:
    return lambda pixels: compiled(pixels)[0]


def rate(run: object, batch: np.ndarray) -> float:
    run(batch)
    seconds = []
    for _ in range(5):
        clock = Clock()
        run(batch)
        seconds.append(clock.seconds)
    return len(batch) / statistics.median(seconds)


def main(backbone: str, side: str, size: str) -> None:
    model = timm.create_model(f"local-dir:{backbone}", pretrained=True, num_classes=0).eval()
    batch = torch.randn(int(size), 3, int(side), int(side), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(batch).numpy()
    rates, cosines = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        plain, small = str(Path(scratch) / "plain.onnx"), str(Path(scratch) / "int8.onnx")
        torch.onnx.export(model, (batch,), plain, input_names=["pixels"], dynamo=True, external_data=False)
        quantize_static(plain, small, Noise("pixels", tuple(batch.shape)), QuantFormat.QDQ)
        for name, file in (("ONNX Runtime fp32", plain), ("ONNX Runtime int8", small)):
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            run = onnx_run(session)
            rates[name], cosines[name] = rate(run, batch.numpy()), cosine(run(batch.numpy()), expected)
        for precision in ("bf16", "f32"):
            config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
            compiled = openvino.compile_model(openvino.convert_model(plain), "CPU", config)
            run = openvino_run(compiled)
            rates[f"OpenVINO {precision}"] = rate(run, batch.numpy())
            cosines[f"OpenVINO {precision}"] = cosine(run(batch.numpy()), expected)
    answer(rates=rates, cosines=cosines, version=f"{onnxruntime.__version__}, {openvino.__version__}")


def cosine(got: np.ndarray, expected: np.ndarray) -> float:
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((got * expected).sum(1) / lengths).min())


if __name__ == "__main__":
    main(*sys.argv[1:])
