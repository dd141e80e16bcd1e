"""What a large network says of every view, computed once; resumes where it was cut off."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from training.pretrain.views import normalised

log = logging.getLogger(__name__)


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
    done, started = int(progress.read_text()) if resumed else 0, time.monotonic()
    first = done
    while done < len(views):
        chunk = torch.from_numpy(np.array(views[done : done + 64])).to(device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            embedding = network(normalised(chunk, mean, std))
        out[done : done + len(chunk)] = embedding.float().cpu().numpy()
        done += len(chunk)
        if done % 6400 == 0:
            out.flush()
            progress.write_text(str(done))
            log.info("teacher: %d of %d, %.0f/s", done, len(views), (done - first) / (time.monotonic() - started))
    out.flush()
    part.rename(path)
    return np.asarray(np.lib.format.open_memmap(path, "r"))
