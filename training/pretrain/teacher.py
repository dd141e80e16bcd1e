"""What a large network sees in every part of every view, computed once; resumes where it was cut off."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from torch import Tensor

from training.pretrain.views import as_batch, normalised

log = logging.getLogger(__name__)

SAMPLE = 4096  # views that the principal directions are taken from
CHUNK = 64


class Basis(NamedTuple):
    """Mean and first principal directions of the teacher's embeddings: what the student imitates."""

    mean: np.ndarray  # (D,)
    directions: np.ndarray  # (D, dims)


class Teacher:
    """A convolutional timm network in the Hub's folder format, without its classifier."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
        self.network = network.eval().to(device).to(memory_format=torch.channels_last)
        self.mean, self.std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
        self.device = device

    @torch.inference_mode()
    def maps(self, views: np.ndarray) -> Tensor:
        """`(N, V, V, 3)` uint8 -> `(N, h, w, D)` float32; their mean over h and w is the embedding."""
        chunk = torch.from_numpy(np.array(views)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            features = self.network.forward_features(normalised(as_batch(chunk), self.mean, self.std))
        maps: Tensor = features.float().permute(0, 2, 3, 1)
        return maps

    def basis(self, files: list[np.ndarray], dims: int, path: Path) -> Basis:
        """Of a sample spread over all views; kept in `path`."""
        if not path.exists():
            every = max(1, sum(len(f) for f in files) // SAMPLE)
            views = np.concatenate([f[::every] for f in files])
            chunks = [self.maps(views[s : s + CHUNK]).mean((1, 2)) for s in range(0, len(views), CHUNK)]
            sample = torch.cat(chunks).double().cpu().numpy()
            mean = sample.mean(0)
            _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
            directions = np.ascontiguousarray(vectors[:, ::-1][:, :dims])
            np.savez(path, mean=mean.astype(np.float32), directions=directions.astype(np.float32))
        with np.load(path) as kept:
            return Basis(kept["mean"], kept["directions"])

    def write_targets(self, views: np.ndarray, basis: Basis, path: Path) -> np.ndarray:
        """The map of every view in the basis, `(views, h, w, dims)` float16."""
        if path.exists():
            return np.asarray(np.lib.format.open_memmap(path, "r"))
        mean, directions = (torch.from_numpy(v).to(self.device) for v in basis)
        part, progress = path.with_suffix(".part.npy"), path.with_suffix(".progress")
        resumed = part.exists() and progress.exists()
        shape = (len(views), *self.maps(views[:1]).shape[1:3], directions.shape[1])
        out = np.lib.format.open_memmap(part, "r+" if resumed else "w+", np.float16, None if resumed else shape)
        first = done = int(progress.read_text()) if resumed else 0
        started = time.monotonic()
        while done < len(views):
            target = (self.maps(views[done : done + CHUNK]) - mean) @ directions
            out[done : done + len(target)] = target.cpu().numpy()
            done += len(target)
            if done % (100 * CHUNK) == 0:
                out.flush()
                progress.write_text(str(done))
                log.info("teacher: %d of %d, %.0f/s", done, len(views), (done - first) / (time.monotonic() - started))
        out.flush()
        part.rename(path)
        progress.unlink(missing_ok=True)
        return np.asarray(np.lib.format.open_memmap(path, "r"))
