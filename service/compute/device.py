"""Where a network runs, and what the place can compute: device, cores, precisions."""

from __future__ import annotations

import os
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed, not emulated: there it is about twice as fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def has_native_int8(device: torch.device) -> bool:
    """Whether products of 8-bit integers have instructions of their own: twice as fast as bfloat16's at best."""
    return device.type == "cpu" and any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_vnni_supported", "_is_amx_tile_supported")
    )


def cpu_count() -> int:
    """The cores this process may use, container limits included."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota() or affinity))


@cache
def thread_pools() -> ThreadpoolController:
    """Of the libraries that are loaded when it is first asked for: looking for them takes ten milliseconds."""
    return ThreadpoolController()


def _quota() -> int | None:
    """A container's CPU limit (cgroup v2), rounded up; None where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None
