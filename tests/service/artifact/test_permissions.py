"""What tells of single photos can be read by its owner alone; the rest of a model by everybody."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from conftest import home_at
from handful.service.artifact.atomic import private_file, private_folder
from handful.training.evaluate import evaluate_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_embeddings_and_the_report_are_private_and_the_model_is_not(artifact: Path) -> None:
    assert mode(artifact) == 0o755
    assert {mode(artifact / name) for name in ("model.safetensors", "card.json", "config.json")} == {0o644}
    personal = [artifact / "embeddings.safetensors", artifact / "report", *(artifact / "report").rglob("*")]
    assert len(personal) > 3
    for path in personal:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_the_cache_of_embeddings_is_private(home: Path) -> None:
    cache = home / "cache"
    assert mode(cache) == 0o700
    for path in cache.glob("*.sqlite3"):
        assert mode(path) == 0o600


def test_the_report_of_an_evaluation_is_private_wherever_it_is_written(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    with home_at(home):
        evaluate_folder(photos, None, tmp_path / "mine")
    assert mode(tmp_path / "mine") == 0o755  # the user's own
    assert {mode(path) for path in (tmp_path / "mine").iterdir()} == {0o600}


@pytest.mark.parametrize("before", [None, 0o644])
def test_an_older_file_becomes_private_and_keeps_its_content(tmp_path: Path, before: int | None) -> None:
    path = private_folder(tmp_path / "new") / "file"
    if before:
        path.write_text("kept")
        path.chmod(before)
    assert private_file(path).read_text() == ("kept" if before else "")
    assert mode(path) == 0o600
