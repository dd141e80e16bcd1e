"""An installation works wherever it is called, also beside modules of other people that are called like its parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
import pytest
from conftest import COLOURS, write_photo
from running_server import LOCAL, free_port, until

ROOT = Path(__file__).parent.parent
SOURCES = ("handful", "service", "training", "pyproject.toml", "README.md", "LICENSE")
FOREIGN = "raise SystemExit('this module is not of handful')\n"
CACHES = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed handful into, alone; built from a copy, so that the checkout stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in SOURCES:
        path = ROOT / name
        shutil.copytree(path, source / name, ignore=CACHES) if path.is_dir() else shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A person's own folder, with modules that are called as handful's folders are."""
    folder = tmp_path / "own work"
    (folder / "service").mkdir(parents=True)
    for name in ("service.py", "training.py", "service/__init__.py"):
        (folder / name).write_text(FOREIGN)
    shutil.copytree(ROOT / "tests/fixtures/artifact-1", folder / "home/models/colours/1")
    return folder


def environ(installed: Path, elsewhere: Path) -> dict[str, str]:
    path = os.pathsep.join([str(elsewhere), str(installed)])
    return {**os.environ, "PYTHONPATH": path, "HANDFUL_HOME": str(elsewhere / "home")}


def run(installed: Path, elsewhere: Path, *arguments: str) -> str:
    """Standard output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environ(installed, elsewhere),
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_is_the_one_that_is_imported(installed: Path, elsewhere: Path) -> None:
    code = "import handful.service.cli, handful.training.cli as cli; print(cli.__file__)"
    assert Path(run(installed, elsewhere, "-c", code).strip()).is_relative_to(installed)
    assert not {path.name for path in installed.iterdir()} & {"service", "training"}


def test_every_file_of_the_checkout_is_installed(installed: Path) -> None:
    """Counted on the disk: in an editable environment an import finds what a wheel lacks."""
    for room, below in (("handful", "handful"), ("service", "handful/service"), ("training", "handful/training")):
        files = {path.relative_to(ROOT / room) for path in (ROOT / room).rglob("*") if path.is_file()}
        wanted = {path for path in files if "__pycache__" not in path.parts and path.suffix != ".md"}
        assert {path for path in wanted if not (installed / below / path).is_file()} == set()


def test_every_command_is_there_and_one_classifies(installed: Path, elsewhere: Path) -> None:
    listed = run(installed, elsewhere, "-m", "handful", "--help")
    assert {"classify", "retrain", "serve", "train"} <= set(listed.split())
    assert "colours" in run(installed, elsewhere, "-m", "handful", "models", "list")
    for number, (name, colour) in enumerate(COLOURS.items()):
        write_photo(elsewhere / "photos" / f"{name}.png", colour, number)
    out = run(installed, elsewhere, "-m", "handful", "classify", "photos", "--out", "answers.jsonl", "--json")
    assert json.loads(out)["images"] == 2
    rows = [json.loads(line) for line in (elsewhere / "answers.jsonl").read_text().splitlines()]
    assert [(row["path"], row["label"], row["error"]) for row in rows] == [
        ("blue.png", "blue", ""),
        ("red.png", "red", ""),
    ]


def listening(process: int) -> set[int]:
    """The TCP ports of a process and of those that it started."""
    family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    connections = [each for member in family for each in member.net_connections("tcp")]
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("way", ["installed", pytest.param("checkout", marks=pytest.mark.slow)])
def test_the_service_answers(installed: Path, elsewhere: Path, way: str) -> None:
    """`handful serve` out of the installation; `bentoml serve` in the checkout, where people try things.

    Either way nothing else listens, and a killed worker is replaced.
    """
    port = str(free_port())
    if way == "installed":
        cwd, command, environment = elsewhere, ["handful", "serve"], environ(installed, elsewhere)
    else:
        cwd, command = ROOT, ["bentoml", "serve", "service.app:ImageClassifier"]
        environment = {**os.environ, "HANDFUL_HOME": str(elsewhere / "home"), "BENTOML_DO_NOT_TRACK": "true"}
    with (elsewhere / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", port], cwd=cwd, env=environment, stdout=log, stderr=log
        )

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", **LOCAL).text == "colours:1\n"
        except httpx.TransportError:
            assert process.poll() is None, (elsewhere / "log").read_text()
            return False

    try:
        until(ready)
        assert listening(process.pid) == {int(port)}
        killed = psutil.Process(process.pid).children()[0]
        killed.kill()
        until(lambda: not killed.is_running())
        until(ready)
    finally:
        process.terminate()
        process.wait()
