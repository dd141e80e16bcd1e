"""A generated sample: the same every time, fair between the labels, whole or not there."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from handful.service.artifact.errors import UsageError
from handful.training.sample.shots import DECK, KINDS, shots, write_sample
from PIL import Image, ImageOps


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _light(count: int, seed: int) -> bool:
    """No 12-megapixel picture among the first ones: a test has no time for it."""
    return all(max(shot.width, shot.height) < 4000 for label in KINDS for shot in shots(label, count, seed))


@pytest.fixture(scope="module")
def seed() -> int:
    """One whose first handbag is stored on its side."""
    return next(seed for seed in range(1000) if shots("handbags", 1, seed)[0].orientation == 6 and _light(3, seed))


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
    other = next(other for other in range(seed + 1, seed + 100) if _light(1, other))
    contents = _contents(write_sample(tmp_path / "other", per_label=1, seed=other))
    assert not set(contents.values()) & set(_contents(sample).values())


def test_sample_holds_both_labels_in_equal_number_and_nothing_else(sample: Path) -> None:
    """Two folders of two pictures, and no staging folder beside them."""
    assert Counter(Path(name).parent.name for name in _contents(sample)) == {"handbags": 2, "shoes": 2}
    assert [path.name for path in sample.parent.iterdir()] == [sample.name]


def test_sample_every_file_opens_upright_at_its_planned_size(sample: Path, seed: int) -> None:
    """What was planned is what is decoded, once EXIF is applied."""
    for shot in (shot for label in KINDS for shot in shots(label, 2, seed)):
        with Image.open(sample / shot.name) as stored:
            assert stored.getexif().get(0x0112, 1) == shot.orientation
            upright = ImageOps.exif_transpose(stored)
        assert upright.size == (shot.width, shot.height)


def test_sample_exif_turned_picture_is_stored_turned(sample: Path, seed: int) -> None:
    """A picture on its side says so, and its pixels lie the other way round."""
    shot = shots("handbags", 1, seed)[0]
    with Image.open(sample / shot.name) as stored:
        assert stored.size == (shot.height, shot.width)
        assert stored.getexif()[0x0112] == 6


@pytest.mark.parametrize("label", KINDS)
def test_plan_covers_formats_turns_and_sizes(label: str) -> None:
    """The first eighty pictures hold every format, turn, kind and class of size."""
    plan = shots(label, 80, 0)
    assert {shot.suffix for shot in plan} == {"jpg", "png", "webp"}
    assert {shot.orientation for shot in plan} == {1, 3, 6, 8}
    assert {shot.kind for shot in plan} == {0, 1, 2, 3}
    assert {sorted((shot.width, shot.height))[1] for shot in plan} >= {4032}
    assert min(shot.width for shot in plan) < 100


def test_plan_gives_both_labels_the_same_formats_and_turns() -> None:
    """Over a deck, neither the format, nor the turn, nor a thumbnail tells the label."""
    dealt = [
        Counter((shot.suffix, shot.orientation, max(shot.width, shot.height) < 100) for shot in shots(label, DECK, 5))
        for label in KINDS
    ]
    assert dealt[0] == dealt[1]


def test_sample_fills_an_empty_folder(tmp_path: Path, seed: int) -> None:
    """An empty folder may be given, and progress hears of every picture."""
    heard: list[int] = []
    (tmp_path / "empty").mkdir()
    write_sample(tmp_path / "empty", per_label=1, seed=seed, progress=heard.append)
    assert heard == [1, 1]
    assert len(_contents(tmp_path / "empty")) == 2


def test_sample_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    """What is there stays as it was."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; allowed is a new or empty folder"):
        write_sample(tmp_path, per_label=1)
    assert _contents(tmp_path) == {"mine.txt": b"mine"}


def test_sample_refuses_a_file(tmp_path: Path) -> None:
    """A file is no place for folders."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_sample(tmp_path / "file", per_label=1)


@pytest.mark.parametrize(("per_label", "seed"), [(0, 0), (-3, 0), (1, -1)])
def test_sample_refuses_numbers_out_of_range(tmp_path: Path, per_label: int, seed: int) -> None:
    """The sentence says what was got and what is allowed, and nothing is written."""
    with pytest.raises(UsageError, match=r"is (0|-3|-1); allowed is \d or more"):
        write_sample(tmp_path / "out", per_label=per_label, seed=seed)
    assert not (tmp_path / "out").exists()


def test_sample_stopped_half_way_leaves_nothing(tmp_path: Path, seed: int) -> None:
    """An interruption removes what was staged."""

    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "out", per_label=1, seed=seed, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_sample_imports_nothing_heavy() -> None:
    """Pictures need no torch; the command answers at once."""
    code = "import sys, training.sample; sys.exit(bool({'torch', 'timm', 'sklearn', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
