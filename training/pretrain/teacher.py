"""The teacher's embeddings: computed once per view, then reduced to the targets of the student."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from handful.training.pretrain.augmentation import standardise_pixels

log = logging.getLogger(__name__)

BLOCK = 6400  # views computed between two records of the progress


def write_targets(views: np.ndarray, teacher: Path, path: Path, device: torch.device) -> np.ndarray:
    """The teacher's embedding of every view, `(views, D)` float16; resumes after the last complete block.

    On a CPU one small batch per core is computed at a time: it is faster than one large batch on all cores, where
    every layer waits for the slowest core.
    """
    if path.exists():
        return np.asarray(np.lib.format.open_memmap(path, "r"))
    network: Any = timm.create_model(f"local-dir:{teacher}", pretrained=True, num_classes=0)
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(network.pretrained_cfg[k], device=device) for k in ("mean", "std"))
    part, progress = path.with_suffix(".part.npy"), path.with_suffix(".progress")
    shape = (len(views), network.num_features)
    resumed = part.exists() and progress.exists()
    out = np.lib.format.open_memmap(part, "r+" if resumed else "w+", np.float16, None if resumed else shape)
    first, started = int(progress.read_text()) if resumed else 0, time.monotonic()
    workers, batch = (torch.get_num_threads(), 32) if device.type == "cpu" else (1, 256)

    @torch.inference_mode()
    def embed(start: int) -> None:
        chunk = torch.from_numpy(np.array(views[start : start + batch])).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            embedding = network(standardise_pixels(chunk, mean, std))
        out[start : start + len(chunk)] = embedding.float().cpu().numpy()

    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for block in range(first, len(views), BLOCK):
            done = min(block + BLOCK, len(views))
            list(pool.map(embed, range(block, done, batch)))
            out.flush()
            progress.write_text(str(done))
            log.info("teacher: %d of %d, %.0f/s", done, len(views), (done - first) / (time.monotonic() - started))
    part.rename(path)
    return np.asarray(np.lib.format.open_memmap(path, "r"))


def principal_components(targets: list[np.ndarray], dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and first principal directions `(D, dims)` of a sample of the embeddings."""
    sample = np.concatenate([t[:: max(1, len(t) // 20000)] for t in targets]).astype(np.float32)
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :dims], dtype=np.float32)


def project_targets(targets: np.ndarray, basis: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`(N, D)` embeddings -> `(N, dims)` float32 of unit length: the directions that the student's projection imitates.

    `basis` is what `principal_components` returned.
    """
    mean, directions = basis
    rows: np.ndarray = (targets.astype(np.float32) - mean) @ directions
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
