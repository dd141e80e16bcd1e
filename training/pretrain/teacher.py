"""What a large network says of every view, computed once; resumes where it was cut off.

A batch on each core is through sooner than a larger one on all: many small steps wait for the slower half each time.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from handful.training.pretrain.views import normalised

log = logging.getLogger(__name__)

BLOCK = 6400  # views between two records of how far it got


def write_targets(views: np.ndarray, teacher: Path, path: Path, device: torch.device) -> np.ndarray:
    """The teacher's embedding of every view, `(views, D)` float16; resumes by chunks."""
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
    side_by_side, batch = (torch.get_num_threads(), 32) if device.type == "cpu" else (1, 256)

    @torch.inference_mode()
    def ask(start: int) -> None:
        chunk = torch.from_numpy(np.array(views[start : start + batch])).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            embedding = network(normalised(chunk, mean, std))
        out[start : start + len(chunk)] = embedding.float().cpu().numpy()

    with ThreadPoolExecutor(side_by_side, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for block in range(first, len(views), BLOCK):
            done = min(block + BLOCK, len(views))
            list(pool.map(ask, range(block, done, batch)))
            out.flush()
            progress.write_text(str(done))
            log.info("teacher: %d of %d, %.0f/s", done, len(views), (done - first) / (time.monotonic() - started))
    part.rename(path)
    return np.asarray(np.lib.format.open_memmap(path, "r"))
