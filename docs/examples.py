"""The output of commands that the pages show, from real runs on generated photos.

One run in a folder of its own: later commands use what the earlier ones made. The texts are stored as they were
printed, but for the paths of that folder and the breaks of long lines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from docs.blocks import replace_blocks
from docs.server import serving

SHOWN_HOME = "~/.local/share/handful"  # where HANDFUL_HOME is by default on Linux
COLUMNS = 100
SETUP = (
    "handful sample photos",
    "handful sample new-photos --per-label 10 --seed 1",
    "handful sample messy --per-label 8 --seed 2",
    "cp messy/shoes/0001.jpg messy/handbags/again.jpg",
    "head -c 2000 messy/shoes/0000.jpg > messy/shoes/broken.jpg",
    "echo text > messy/shoes/notes.txt",
)
EXAMPLES = {  # name of the part of a page -> commands; in the order in which they run
    "check": ("handful check messy",),
    "train": ("handful train photos --name bags --backbone builtin",),
    "evaluate": ("handful evaluate new-photos --model bags",),
    "classify one": ("handful classify new-photos/handbags/0007.jpg --model bags",),
    "classify": ("handful classify new-photos --out predictions.csv --model bags", "head -n 3 predictions.csv"),
    "drift": ("handful drift predictions.csv --model bags",),
    "explain": ("handful explain new-photos/handbags/0007.jpg --out why.png",),
    "predict": ("curl -F image=@new-photos/handbags/0007.jpg http://127.0.0.1:3000/predict | python3 -m json.tool",),
    "retrain": ("handful retrain new-photos --model bags",),
    "models": ("handful models list",),
    "compare": (
        "handful compare photos --backbone builtin-resnet --rungs majority,pixels,hog,dense,lenet5,cnn,linear,hidden",
    ),
}
SERVED = {"predict"}  # these need a running service
SLOW = {"compare"}  # run only when they are named


def renew(names: Collection[str]) -> None:
    """Runs all but the slow examples and those slow ones that are named, and writes those named, or all that ran."""
    run = [name for name in EXAMPLES if name in names or name not in SLOW]
    with generated_photos() as folder:
        texts = {name: _transcript(name, folder) for name in run}
    replace_blocks({f"output {name}": text for name, text in texts.items() if not names or name in names})


@contextmanager
def generated_photos() -> Iterator[Path]:
    """A folder with `photos`, `new-photos` and `messy`, generated; `home` in it is HANDFUL_HOME for its commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command in SETUP:
            shell(command, folder)
        yield folder


def shell(command: str, folder: Path) -> str:
    """Runs it as a person would, and returns what it printed; exit status 1, done with remarks, is no failure."""
    print(f"$ {command}", file=sys.stderr)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    own = {"PATH": path, "HANDFUL_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "COLUMNS": str(COLUMNS)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HANDFUL_")}
    return {**kept, **own, "CURL_HOME": str(folder)}


def _transcript(name: str, folder: Path) -> str:
    """A fenced block: each command after a `$`, then what it printed."""
    lines = []
    for command in EXAMPLES[name]:
        if name in SERVED:
            with serving(folder, environment(folder)) as address:
                printed = shell(command.replace("curl", "curl --silent").replace("127.0.0.1:3000", address), folder)
        else:
            printed = shell(command, folder)
        lines += [f"$ {command}", *_broken(printed.replace(str(folder / "home"), SHOWN_HOME).strip("\n"))]
    return "\n".join(["```console", *lines, "```"])


def _broken(text: str) -> Iterator[str]:
    """Its lines, long ones broken between words as a terminal would."""
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        yield from textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_long_words=False) or [""]
