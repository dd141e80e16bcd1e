"""Fixtures: a tiny random network, a folder of tiny photos, and a model trained on them.

Nothing here imports torch before a fixture needs it: a run's first process, which only deals out the files, waits for
these imports before it starts the others.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from chromium import chromium, studio, visit  # noqa: F401  # fixtures, found by their names
from commands import handful
from filelock import FileLock
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 40)}
KINDS = ("jpg", "png", "webp")
Shared = Callable[[str, Callable[[Path], object]], Path]

gc.disable()  # until the tests are collected: the million objects that are imported with them are no garbage


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def write_photo(path: Path, colour: tuple[int, int, int], seed: int, side: int = 48) -> Path:
    """Writes noise around one colour, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 40, (side, side + seed % 5, 3))
    Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(path)
    return path


@contextmanager
def home_at(folder: Path) -> Iterator[None]:
    """`HANDFUL_HOME` is this folder inside the block."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HANDFUL_HOME", str(folder))
        yield


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `HANDFUL_HOME` for one test."""
    monkeypatch.setenv("HANDFUL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Makes a folder that all of the run's workers read: the first that asks for it fills it, the others wait."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = root / name, root / f"{name}.filled"
        with FileLock(root / f"{name}.lock"):
            if not filled.exists():
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def backbone(shared: Shared) -> Path:
    def save(folder: Path) -> None:
        from tiny_networks import TINY, save_network

        save_network(folder, TINY)

    return shared("backbone", save)


@pytest.fixture(scope="session")
def photos(shared: Shared) -> Path:
    """12 photos per label, two labels, three formats."""
    return shared("photos", _write_photos)


def _write_photos(folder: Path) -> None:
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(12):
            write_photo(folder / name / f"{number:02}.{KINDS[number % 3]}", colour, 100 * label + number)


@pytest.fixture(scope="session")
def home(shared: Shared, tmp_path_factory: pytest.TempPathFactory, backbone: Path, photos: Path) -> Path:
    """A HANDFUL_HOME with one model, `colours:1`: this worker's copy."""

    def train(folder: Path) -> None:
        from handful.training.settings import TrainSettings
        from handful.training.train import train_folder

        with home_at(folder):
            train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))

    home = tmp_path_factory.mktemp("home")
    shutil.copytree(shared("trained", train), home, dirs_exist_ok=True)
    return home


@pytest.fixture(scope="session")
def artifact(home: Path) -> Path:
    return home / "models/colours/1"


@pytest.fixture(scope="session")
def exported_home(shared: Shared, home: Path) -> Path:
    """The same home after `handful export colours --to artifact`, for reading, and beside it what the command printed.

    `handful export colours FILE` is what an export over HTTP runs.
    """

    def export(folder: Path) -> None:
        shutil.copytree(home / "models", folder / "home/models")
        done = handful(folder / "home", "export", "colours", "--to", "artifact", "--json")
        assert done.returncode == 0, done.stderr
        (folder / "printed.json").write_text(done.stdout)

    return shared("exported", export) / "home"


@pytest.fixture(scope="session")
def exported(exported_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only the file."""
    file = tmp_path_factory.mktemp("file") / "colours.onnx"
    shutil.copyfile(exported_home / "models/colours/1/model.onnx", file)
    return file
