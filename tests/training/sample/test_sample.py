"""A generated sample: reproducible, the same distributions for both labels, complete or not there at all."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from handful.service.artifact.errors import UsageError
from handful.training.sample.shots import BLOCK, KINDS, shots, write_sample
from PIL import Image, ImageOps


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _quick(count: int, seed: int) -> bool:
    """No 12-megapixel picture among the first ones: it would take a test too long."""
    return all(max(shot.width, shot.height) < 4000 for label in KINDS for shot in shots(label, count, seed))


@pytest.fixture(scope="module")
def seed() -> int:
    """A seed whose first handbag is stored on its side."""
    return next(seed for seed in range(1000) if shots("handbags", 1, seed)[0].orientation == 6 and _quick(3, seed))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "new" / "pictures", per_label=2, seed=seed)


def test_sample_same_seed_same_bytes_and_shorter_is_a_prefix(sample: Path, tmp_path: Path, seed: int) -> None:
    """A longer sample with the same seed repeats the shorter one byte for byte."""
    longer = _contents(write_sample(tmp_path / "longer", per_label=3, seed=seed))
    assert len(longer) == 6
    assert {name: longer[name] for name in _contents(sample)} == _contents(sample)


def test_sample_other_seed_other_bytes(sample: Path, tmp_path: Path, seed: int) -> None:
    """No picture of one seed is found under another."""
    other = next(other for other in range(seed + 1, seed + 100) if _quick(1, other))
    contents = _contents(write_sample(tmp_path / "other", per_label=1, seed=other))
    assert not set(contents.values()) & set(_contents(sample).values())


def test_sample_holds_both_labels_in_equal_number_and_nothing_else(sample: Path) -> None:
    """Two folders of two pictures, and no staging folder beside them."""
    assert Counter(Path(name).parent.name for name in _contents(sample)) == {"handbags": 2, "shoes": 2}
    assert [path.name for path in sample.parent.iterdir()] == [sample.name]


def test_sample_every_file_opens_upright_at_its_planned_size(sample: Path, seed: int) -> None:
    """After EXIF is applied, the decoded picture has the planned size."""
    for shot in (shot for label in KINDS for shot in shots(label, 2, seed)):
        with Image.open(sample / shot.name) as stored:
            assert stored.getexif().get(0x0112, 1) == shot.orientation
            upright = ImageOps.exif_transpose(stored)
        assert upright.size == (shot.width, shot.height)


def test_sample_rotated_picture_has_exif_and_rotated_pixels(sample: Path, seed: int) -> None:
    """A picture stored on its side has the EXIF orientation and swapped width and height."""
    shot = shots("handbags", 1, seed)[0]
    with Image.open(sample / shot.name) as stored:
        assert stored.size == (shot.height, shot.width)
        assert stored.getexif()[0x0112] == 6


@pytest.mark.parametrize("label", KINDS)
def test_plan_covers_formats_orientations_and_sizes(label: str) -> None:
    """The first eighty pictures have every format, orientation, kind and class of size."""
    plan = shots(label, 80, 0)
    assert {shot.suffix for shot in plan} == {"jpg", "png", "webp"}
    assert {shot.orientation for shot in plan} == {1, 3, 6, 8}
    assert {shot.kind for shot in plan} == {0, 1, 2, 3}
    assert {sorted((shot.width, shot.height))[1] for shot in plan} >= {4032}
    assert min(shot.width for shot in plan) < 100


def test_plan_gives_both_labels_the_same_formats_and_orientations() -> None:
    """Within a block neither the format, nor the orientation, nor a thumbnail reveals the label."""
    counts = [
        Counter((shot.suffix, shot.orientation, max(shot.width, shot.height) < 100) for shot in shots(label, BLOCK, 5))
        for label in KINDS
    ]
    assert counts[0] == counts[1]


def test_sample_fills_an_empty_folder(tmp_path: Path, seed: int) -> None:
    """An empty folder may be given, and progress is called for every picture."""
    calls: list[int] = []
    (tmp_path / "empty").mkdir()
    write_sample(tmp_path / "empty", per_label=1, seed=seed, progress=calls.append)
    assert calls == [1, 1]
    assert len(_contents(tmp_path / "empty")) == 2


def test_sample_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    """The files in it stay as they were."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; allowed is a new or empty folder"):
        write_sample(tmp_path, per_label=1)
    assert _contents(tmp_path) == {"mine.txt": b"mine"}


def test_sample_refuses_a_file(tmp_path: Path) -> None:
    """A file cannot hold the label folders."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_sample(tmp_path / "file", per_label=1)


@pytest.mark.parametrize(("per_label", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_sample_refuses_numbers_out_of_range(tmp_path: Path, per_label: int, seed: int) -> None:
    """The message names the number and what is allowed, and nothing is written."""
    with pytest.raises(UsageError, match=r"is (0|-3|-1); allowed is \d or more"):
        write_sample(tmp_path / "out", per_label=per_label, seed=seed)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_sample_leaves_nothing(tmp_path: Path, seed: int) -> None:
    """After an interruption the staging folder is removed."""

    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "out", per_label=1, seed=seed, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_sample_imports_nothing_heavy() -> None:
    """Drawing needs no torch, so the command starts at once."""
    heavy = {"torch", "timm", "sklearn", "pydantic"}
    code = f"import sys, handful.training.sample.shots; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
