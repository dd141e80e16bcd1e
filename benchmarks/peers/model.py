"""The torch model that the HTTP peers serve: the same artifact through timm, bfloat16, timm's own transform."""

from __future__ import annotations

import io
import threading

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config


class Model:
    """Bytes of images -> JSON answers."""

    def __init__(self, folder: str) -> None:
        self.network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        self.network = self.network.to(memory_format=torch.channels_last)
        config = resolve_data_config({}, model=self.network)
        self.transform = create_transform(**config)
        self.labels = list(self.network.pretrained_cfg.get("label_names") or ["handbags", "shoes"])
        self.lock = threading.Lock()
        self.probabilities(torch.zeros(1, *config["input_size"]))

    def decode(self, data: bytes) -> torch.Tensor:
        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))

    def probabilities(self, batch: torch.Tensor) -> list[list[float]]:
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return self.network(batch).float().softmax(-1).tolist()

    def answer(self, probabilities: list[float]) -> dict[str, object]:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return {"label": self.labels[best], "confidence": probabilities[best]}
