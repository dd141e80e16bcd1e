"""The three rules of the layout, read from the code's own imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("training/**/*.py")])
BENTOML = {"service/app.py", "service/errors.py", "service/packaging.py"}
DECODERS = {"service/artifact/images.py"}


def imports(path: Path) -> set[str]:
    """Every module that the file names in an import, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_nothing_under_service_imports_training() -> None:
    wrong = {
        name(path)
        for path in MODULES
        if name(path).startswith("service/") and any(i.partition(".")[0] == "training" for i in imports(path))
    }
    assert not wrong


def test_training_imports_of_service_only_what_the_contract_allows() -> None:
    allowed = ("service.artifact", "service.classifier")
    wrong = {
        (name(path), module)
        for path in MODULES
        if name(path).startswith("training/")
        for module in imports(path)
        if module.startswith("service") and module != "service" and not module.startswith(allowed)
    }
    assert not wrong


def test_only_the_service_and_its_packaging_know_bentoml() -> None:
    knowing = {name(path) for path in MODULES if any(i.partition(".")[0] == "bentoml" for i in imports(path))}
    assert knowing <= BENTOML


def test_only_one_file_opens_images() -> None:
    """Pillow's `Image.open` anywhere else would be a second way to read a picture."""
    opening = {name(path) for path in MODULES if "Image.open(" in path.read_text(encoding="utf-8")}
    assert opening == DECODERS


def test_a_module_stays_under_three_hundred_lines() -> None:
    long = {name(path): n for path in MODULES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long


@pytest.mark.parametrize("module", ["service.cli", "training.cli"])
def test_the_command_line_loads_nothing_heavy(module: str) -> None:
    heavy = {"torch", "timm", "numpy", "PIL", "bentoml", "sklearn", "pyarrow", "huggingface_hub", "rich"}
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


def test_the_readmes_map_names_every_module_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Map")[2]
    named = {
        word for line in text.splitlines() if line.startswith("    ") for word in line.split() if word.endswith(".py")
    }
    measuring = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("benchmarks/peers/*.py")]
    there = {path.name for path in [*MODULES, *measuring] if path.name != "__init__.py"}
    assert named == there
