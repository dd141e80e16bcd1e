"""The device that networks run on, its cores, and the precisions that it has instructions for."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    import torch  # what only asks for the cores does without

CPU_BATCH = 16  # images; 13 % faster than 32, as their activations fit the caches better (LOG.md)
SMALL_BATCH = 4  # images up to which the engine that is fastest for one is taken, on all cores
MOST_PARALLEL_BATCHES = 8  # each on its share of the cores; bounds the images in memory


def best_device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def may_have_gpu() -> bool:
    """Whether `best_device` may be another than the CPU, told without torch; where in doubt it may."""
    if sys.platform != "linux":
        return sys.platform != "darwin"
    return any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dxg"))  # also AMD's, and in WSL


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native, not emulated: native bfloat16 is about twice as fast as float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def has_native_int8(device: torch.device) -> bool:
    """Whether the CPU has instructions for products of 8-bit integers: at best twice as fast as bfloat16's."""
    import torch

    return device.type == "cpu" and any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_vnni_supported", "_is_amx_tile_supported")
    )


_most_cpus: list[int] = []


def limit_cpus(count: int) -> None:
    """From now on this process counts on so many cores: others are those of its neighbours."""
    import torch

    _most_cpus[:] = [count]
    torch.set_num_threads(min(count, torch.get_num_threads()))


_threads: list[int] = []


def set_threads(count: int) -> None:
    """How many threads one network of this process is computed with."""
    _threads[:] = [count]
    if sys.modules.get("torch"):
        import torch

        torch.set_num_threads(count)


def threads() -> int:
    """What `set_threads` has set; else torch's own number where torch is loaded, else that of the cores."""
    if _threads:
        return _threads[0]
    if not sys.modules.get("torch"):
        return cpu_count()
    import torch

    return torch.get_num_threads()


def cpu_count() -> int:
    """The cores this process may use, container limits included."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota() or affinity, *_most_cpus))


@cache
def thread_pools() -> ThreadpoolController:
    """The thread pools of the libraries loaded at the first call; cached, as searching takes ten milliseconds."""
    return ThreadpoolController()


def _quota() -> int | None:
    """A container's CPU limit (cgroup v2), rounded up; None without a limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None
