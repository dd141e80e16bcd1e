"""requirements-bento.txt -> the other requirements: the same versions with hashes of their wheels.

`make lock`. It asks the index that pip is configured with, takes its answers for each Python and each kind of machine
in PYTHONS and MACHINES, and installs nothing. The Dockerfile installs the files with `--require-hashes`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PINS, COMMON, GPU, LEAN = (ROOT / f"requirements{kind}.txt" for kind in ("-bento", "", "-gpu", "-lean"))
PYTHONS = ("3.11", "3.12")  # the second is that of the Dockerfile's base images
MACHINES = ("x86_64", "aarch64")
TORCH = ("torch", "torchvision")  # another build for CPUs, with other hashes, lies in an index of its own
BENTOML = "bentoml==1.4.39"
ONNXRUNTIME = "onnxruntime==1.32.0"  # the one that no Bento has: torch computes there
# What answering over HTTP and on the command line imports where torch is missing; the same list is in docs/export.md.
ANSWERING = (
    *("bentoml", "click", "filelock", "fsspec", "h11", "huggingface-hub", "multipart", "numpy", "pi-heif", "pillow"),
    *("platformdirs", "prometheus-client", "psutil", "pydantic", "pydantic-settings", "rich", "safetensors"),
    *("setuptools", "starlette", "threadpoolctl", "uvicorn"),  # setuptools builds handful itself
)
GLIBC = 39  # the base images' minor version of glibc: wheels for it or an older one fit
HEADS = {
    COMMON: """\
# The exact versions that the Dockerfile installs, with hashes (--require-hashes); torch is in requirements-gpu.txt.
# `make lock` writes this file from requirements-bento.txt.
""",
    GPU: """\
# As requirements.txt: torch for GPUs, and the parts of CUDA that it needs. The build for CPUs lies in an index of
# PyTorch's own and has other hashes; the Dockerfile takes its version from here.
""",
}
HEADS[LEAN] = """\
# As requirements.txt, for the lean target of the Dockerfile: ONNX Runtime in place of torch, and nothing that learns.
"""
Hashes = dict[str, set[str]]  # name==version -> sha256 of each wheel


def main() -> None:
    pins = [line for line in PINS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    torch = [pin for pin in pins if pin.partition("==")[0] in TORCH]
    common = [*(pin for pin in pins if pin not in torch), BENTOML]
    names = {pin.partition("==")[0] for pin in common}
    brought = {pin for pin in _resolved(torch, common) if pin.partition("==")[0] not in names}
    lean = sorted(_resolved([*ANSWERING, ONNXRUNTIME], common))
    for path, wanted in ((COMMON, common), (GPU, sorted({*torch, *brought})), (LEAN, lean)):
        path.write_text(HEADS[path] + _text(_hashes(wanted)), encoding="utf-8")
        print(f"{path.name}: {len(wanted)} packages")  # noqa: T201


def _hashes(pins: list[str]) -> Hashes:
    hashes: Hashes = defaultdict(set)
    for python in PYTHONS:
        for machine in MACHINES:
            for package in _report(["--no-deps", *pins], python, machine):
                hashes[_pin(package)].add(package["download_info"]["archive_info"]["hashes"]["sha256"])
    return hashes


def _resolved(pins: list[str], constraints: list[str]) -> set[str]:
    """The packages with all that they need."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        return {_pin(package) for package in _report([*pins, "--constraint", file.name], PYTHONS[-1], MACHINES[0])}


def _report(arguments: list[str], python: str, machine: str) -> list[dict[str, Any]]:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)] + [f"manylinux2014_{machine}"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", f"{folder}/report", "--target", folder, "--only-binary", ":all:"]
        command += ["--python-version", python, *(f"--platform={platform}" for platform in platforms)]
        subprocess.run([*command, *arguments], check=True)  # noqa: S603 - our own command
        packages: list[dict[str, Any]] = json.loads((Path(folder) / "report").read_bytes())["install"]
        return packages


def _pin(package: dict[str, Any]) -> str:
    name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
    return f"{name}=={package['metadata']['version']}"


def _text(hashes: Hashes) -> str:
    lines = (" \\\n    ".join([pin, *(f"--hash=sha256:{each}" for each in sorted(hashes[pin]))]) for pin in hashes)
    return "\n".join(sorted(lines)) + "\n"


if __name__ == "__main__":
    main()
