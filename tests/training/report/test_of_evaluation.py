"""The report of `handful evaluate`: for photos of the model's labels, of other labels, and without kept embeddings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import COLOURS, home_at, write_photo
from handful.service.artifact.errors import UsageError
from handful.training.evaluate import evaluate_folder
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from PIL import Image
from test_of_training import Page

PICTURES = {"confusion.png", "embedding_map.png", "reliability.png", "refusal.png"}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four new photos per label and one under the wrong label, a green label, and a broken file."""
    folder = tmp_path_factory.mktemp("others")
    for label, colour in enumerate([*COLOURS.values(), (30, 200, 40)]):
        for number in range(4):
            write_photo(folder / ([*COLOURS, "green"][label]) / f"{number}.png", colour, 3000 + 100 * label + number)
    write_photo(folder / "blue/odd.png", COLOURS["red"], 4000)
    (folder / "blue/broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def evaluated(home: Path, others: Path) -> tuple[dict[str, Any], int]:
    with home_at(home):
        result, problems = evaluate_folder(others, "colours")
    return result, len(problems)


def text_of(report: str) -> str:
    return " ".join("".join(Page(Path(report).read_text(encoding="utf-8")).texts).split())


def test_the_report_lies_under_the_home_with_its_pictures(
    home: Path, others: Path, evaluated: tuple[dict[str, Any], int]
) -> None:
    folder = home / "reports/colours-1" / others.name
    assert Path(evaluated[0]["report"]) == folder / "report.html"
    written = {path.name for path in folder.iterdir()}
    assert written - {"accepted.png"} == PICTURES | {"mistakes.png", "report.html"}
    for name in written - {"report.html"}:
        with Image.open(folder / name) as picture:
            picture.verify()


def test_the_page_agrees_with_the_json(others: Path, evaluated: tuple[dict[str, Any], int]) -> None:
    result, problem_count = evaluated
    json.dumps(result)
    assert (result["images"], result["foreign"]["images"], problem_count) == (9, 4, 1)
    text = text_of(result["report"])
    assert f"colours:1 on {others.name}" in text
    assert re.search(r"(guessing|reliable|Good) on these photos \d", text)
    assert f"{100 * result['accuracy']:.1f} % of the photos were labelled right" in text
    assert "4 photos lie under labels that the model does not know (green)" in text
    assert "held 14 files: 9 measured, 4 of labels that the model does not know, 1 left out" in text
    assert "blue/broken.png" in text
    assert "blue/odd.png" in text
    assert "Would more photos help" not in text


def test_the_page_asks_for_nothing_outside_itself(others: Path, evaluated: tuple[dict[str, Any], int]) -> None:
    page = Page(Path(evaluated[0]["report"]).read_text(encoding="utf-8"))
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.elements)
    assert page.open == []
    assert str(others) not in "".join(page.texts)


@pytest.mark.usefixtures("own_home")
def test_a_version_without_embeddings_has_a_map_of_the_new_photos_alone(
    photos: Path, backbone: Path, others: Path
) -> None:
    train_folder(photos, TrainSettings(name="bare", backbone=str(backbone), keep_embeddings=False))
    result, _ = evaluate_folder(others, "bare")
    assert "keeps nothing of its training photos" in text_of(result["report"])
    assert "Pale dots" not in text_of(result["report"])


def test_one_photo_of_one_label_is_enough(tmp_path: Path, home: Path) -> None:
    write_photo(tmp_path / "data/red/0.png", COLOURS["red"], 5000)
    with home_at(home):
        result, _ = evaluate_folder(tmp_path / "data", "colours", tmp_path / "report")
    assert Path(result["report"]) == tmp_path / "report/report.html"
    text = text_of(result["report"])
    assert "1 of the model's labels has no photo here" in text
    assert "nan" not in text


def test_a_report_never_changes_a_version(tmp_path: Path, home: Path, artifact: Path, others: Path) -> None:
    before = {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()}
    with home_at(home), pytest.raises(UsageError, match="never change"):
        evaluate_folder(others, "colours", artifact / "report")
    (tmp_path / "file").touch()
    with home_at(home), pytest.raises(UsageError, match="is a file"):
        evaluate_folder(others, "colours", tmp_path / "file")
    assert {path: path.read_bytes() for path in artifact.rglob("*") if path.is_file()} == before
