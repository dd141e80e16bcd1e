"""Runs handful with the real huggingface_hub in a process of its own, with a chosen environment."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]

# huggingface_hub reads the environment once, at import, so every environment needs its own process.
CLIENT = """
import json, resource, sys
import torch
from handful.training.backbone import load_backbone

def outcome(ref, largest_file):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    try:
        b = load_backbone(ref)
    except Exception as e:
        return {"error": type(e).__name__, "message": str(e), "cause": type(e.__cause__).__name__}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    embedding = b.network(torch.zeros(2, *b.config["pretrained_cfg"]["input_size"]))
    return {"ref": b.ref, "revision": b.revision, "sha256": b.sha256, "shape": list(embedding.shape)}

for line in sys.stdin:
    print(json.dumps(outcome(*json.loads(line))), flush=True)
"""

SHARING = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
import timm, torch
from handful.service.artifact.store import Store
from handful.service.models.publishing import PushSettings, pull_version, push_version

def push(folder, repo, settings):
    return asdict(push_version(Path(folder), repo, PushSettings(**settings)))

def pull(ref, root, name=None, promote=False):
    return {"path": str(pull_version(ref, Store(Path(root)), name, promote=promote))}

def logits(repo, pixels):
    network = timm.create_model("hf-hub:" + repo, pretrained=True).eval()
    with torch.inference_mode():
        return {"logits": network(torch.tensor(pixels)).tolist()}

for line in sys.stdin:
    call, token, arguments = json.loads(line)
    os.environ.pop("HF_TOKEN", None)
    os.environ |= {"HF_TOKEN": token} if token else {}
    try:
        answer = {"push": push, "pull": pull, "logits": logits}[call](*arguments)
    except Exception as e:
        answer = {"error": type(e).__name__, "message": str(e)}
    print(json.dumps(answer), flush=True)
"""


@dataclass
class Outcome:
    """The result of loading one reference, or its error."""

    ref: str | None = None
    revision: str | None = None
    sha256: str | None = None
    shape: list[int] = field(default_factory=list)
    error: str | None = None
    message: str = ""
    cause: str | None = None


class Client:
    """A process that answers questions in turn; of the Hub's environment variables it has only the given ones."""

    def __init__(self, home: Path, code: str = CLIENT, **environment: str) -> None:
        self.code = code
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        self.environment = kept | environment | {"HF_HOME": str(home)}
        self.stderr = home.with_suffix(".stderr")

    def __enter__(self) -> Self:
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.code],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.communicate()

    def load(self, ref: str, largest_file: int = resource.RLIM_INFINITY) -> Outcome:
        return Outcome(**self.ask(ref, largest_file))

    def ask(self, *question: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.stderr.read_text()
        return dict(json.loads(answer))

    def load_all(self, *refs: str) -> dict[str, Outcome]:
        return {ref: self.load(ref) for ref in refs}

    @property
    def output(self) -> str:
        return self.stderr.read_text()
