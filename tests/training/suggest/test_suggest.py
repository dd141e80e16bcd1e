"""`handful suggest`: what it names is there, unlabelled, different, and readable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import handful
from conftest import write_photo


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """Ten photos of three colours, one of them twice, and one file that is no photo."""
    folder = tmp_path / "new"
    for number in range(10):
        colour = [(200, 50, 40), (40, 60, 200), (60, 200, 50)][number % 3]
        write_photo(folder / f"part/{number}.jpg", colour, 700 + number)
    shutil.copyfile(folder / "part/0.jpg", folder / "copy.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return folder


def test_without_a_model_photos_are_chosen_by_coverage(tmp_path: Path, unlabelled: Path, backbone: Path) -> None:
    sheet = tmp_path / "sheet.html"
    words = ("suggest", unlabelled, "--count", "3", "--backbone", backbone, "--out", sheet, "--json")
    done = handful(tmp_path / "home", *words)
    assert done.returncode == 1, done.stderr  # one file could not be read
    result = json.loads(done.stdout)
    paths = [each["path"] for each in result["suggested"]]
    assert len(set(paths)) == 3
    assert all((unlabelled / path).is_file() for path in paths)
    assert [each["path"] for each in result["failed"]] == ["broken.jpg"]
    assert (result["by"], result["model"], result["images"], result["same_picture"]) == ("coverage", None, 12, 1)
    assert 0 == result["covered"]["before"] < result["covered"]["after"] <= 1
    page = sheet.read_text()
    assert page.count('<img src="data:image/jpeg') == 3
    assert all(path in page for path in paths)
    assert "<script" not in page
    assert handful(tmp_path / "home", *words).stdout.split('"seconds"')[0] == done.stdout.split('"seconds"')[0]


def test_a_model_says_what_it_doubts_and_what_it_knows_is_left_out(
    home: Path, tmp_path: Path, unlabelled: Path, photos: Path
) -> None:
    learned = next(path for path in sorted(photos.glob("red/*")) if path.is_file())
    shutil.copyfile(learned, unlabelled / f"known{learned.suffix}")
    (unlabelled / "broken.jpg").unlink()
    own = shutil.copytree(home, tmp_path / "home")
    done = handful(own, "suggest", unlabelled, "--count", "2", "--model", "colours", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["known"], result["by"]) == (1, "coverage and doubt")
    assert result["model"] == "colours:1"
    first = result["suggested"][0]
    assert set(first) == {"path", "label", "confidence", "margin", "unknown"}
    assert first["label"] in {"red", "blue", None}
    text = handful(own, "suggest", unlabelled, "--count", "2", "--model", "colours").stdout
    assert first["path"] in text
    assert "handful retrain FOLDER --model colours" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere",), "nowhere is not there"),
        (("new", "--out", "sheet.png"), ".html is allowed"),
        (("new", "--model", "nobody"), "nobody"),
        (("new/part/0.jpg",), "is a single photo; a folder, zip or table of unlabelled photos is expected"),
        (("empty",), "empty holds no photo"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, unlabelled: Path, words: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    assert unlabelled.is_dir()
    done = handful(tmp_path / "home", "suggest", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
