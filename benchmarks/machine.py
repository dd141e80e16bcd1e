"""The machine and the versions behind the numbers, without the machine's name."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import torch
from handful.service.compute.device import cpu_count, has_native_bfloat16

from benchmarks.bench import PEERS

OWN = ("torch", "timm", "pillow", "numpy", "bentoml")
THEIRS = ("fastai", "ultralytics", "transformers", "timm", "torch", "scikit-learn", "fastapi", "litserve")


def described() -> str:
    """The machine and versions as a few lines of Markdown."""
    bf16 = "with" if has_native_bfloat16(torch.device("cpu")) else "without"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    own = ", ".join(f"{name} {version(name)}" for name in OWN)
    theirs = ", ".join(f"{name} {peer}" for name in THEIRS if (peer := peer_version(name)))
    return (
        f"- machine: {_processor()}, {cpu_count()} cores, {bf16} native bfloat16,"
        f" {psutil.virtual_memory().total / 2**30:.0f} GiB memory, {gpu}\n"
        f"- system: {platform.system()}, Python {platform.python_version()}\n"
        f"- handful {version('handful')} with {own}\n"
        f"- peers: {theirs or 'not installed'}"
    )


def busy() -> str:
    """The load on the cores when a benchmark began."""
    return f"load average {psutil.getloadavg()[0]:.1f}"


def peer_version(name: str) -> str | None:
    """The version installed in the peers' environment."""
    folders = PEERS.glob(f"lib/python*/site-packages/{name.replace('-', '_')}-*.dist-info")
    return next((path.name.removesuffix(".dist-info").rpartition("-")[2] for path in folders), None)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
