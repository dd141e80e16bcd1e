"""Fixtures: a tiny random network, a folder of tiny photos, and a model trained on them."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from chromium import chromium, studio, visit  # noqa: F401  # fixtures, found by their names
from commands import handful
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from PIL import Image
from tiny_networks import TINY, save_network

COLOURS = {"blue": (40, 60, 200), "red": (200, 50, 40)}
KINDS = ("jpg", "png", "webp")


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
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("backbone"), TINY)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos per label, two labels, three formats."""
    folder = tmp_path_factory.mktemp("photos")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(12):
            write_photo(folder / name / f"{number:02}.{KINDS[number % 3]}", colour, 100 * label + number)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, backbone: Path, photos: Path) -> Path:
    """A HANDFUL_HOME with one model, `colours:1`."""
    home = tmp_path_factory.mktemp("home")
    with home_at(home):
        train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))
    return home


@pytest.fixture(scope="session")
def artifact(home: Path) -> Path:
    return home / "models/colours/1"


@pytest.fixture(scope="session")
def exported(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`colours:1` as `handful export` writes it."""
    file = tmp_path_factory.mktemp("exported") / "colours.onnx"
    done = handful(home, "export", "colours", file, "--json")
    assert done.returncode == 0, done.stderr
    file.with_suffix(".json").write_text(done.stdout)
    return file
