"""A folder of any files -> one row per image, in three formats, resumable after a kill."""

from __future__ import annotations

import csv
import json
import os
import time
import zipfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import Command
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.classifier import Classifier, Prediction
from handful.service.classify.given import GivenPhotos, Photo
from handful.service.classify.local import RowsFromHere, classify_sources
from handful.service.classify.result_files import Journal, Row, columns
from zips import zipped


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    return Classifier.load(artifact)


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """Eight readable images with unusual names, and some files that are no readable image."""
    root = tmp_path / "in"
    good = sorted(photos.rglob("*.jpg"))
    for path, name in zip(
        good, ("a.jpg", "b/a.jpg", 'q"uo,te.jpg', "new\nline.jpg", "靴.jpg", "-rf.jpg"), strict=False
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(path.read_bytes())
    (root / os.fsdecode(b"caf\xe9.jpg")).write_bytes(good[0].read_bytes())
    (root / "no-ending").write_bytes(good[1].read_bytes())
    (root / "broken.jpg").write_bytes(good[0].read_bytes()[:200])
    (root / "empty.png").touch()
    (root / "words.jpg").write_text("no image")
    (root / "notes.txt").write_text("not even called one")
    (root / "gone.jpg").symlink_to(root / "nowhere")
    (root / "b/loop").symlink_to(root)
    return root


NAMES = {
    "a.jpg", "b/a.jpg", 'q"uo,te.jpg', "new\nline.jpg", "靴.jpg", "-rf.jpg", "caf\\xe9.jpg", "no-ending",
    "broken.jpg", "empty.png", "words.jpg", "gone.jpg",
}  # fmt: skip
FAILED = {"broken.jpg", "empty.png", "words.jpg", "gone.jpg"}


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_every_file_is_one_row_with_its_answer_or_its_error(
    classifier: Classifier, folder: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    summary = classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), out)
    rows = {row["path"]: row for row in read(out)}
    assert (summary.images, summary.failed) == (12, 4)
    assert set(rows) == NAMES
    assert all(list(row) == columns(classifier.labels) for row in rows.values())
    assert {name for name, row in rows.items() if row["error"]} == FAILED
    for name in NAMES - FAILED:
        probabilities = [float(rows[name][f"probability_{label}"]) for label in classifier.labels]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert float(rows[name]["confidence"]) == pytest.approx(max(probabilities))
    assert not list(tmp_path.glob("out*.partial")) + list(tmp_path.glob("out*.writing"))


def test_the_rows_are_those_of_classifying_each_file_alone(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), tmp_path / "out.jsonl")
    for row in read(tmp_path / "out.jsonl"):
        if row["error"] or "\\" in row["path"]:
            continue
        [alone] = classifier.predict(classifier.read(folder / row["path"])[None])
        assert row["confidence"] == pytest.approx(alone.confidence, abs=1e-3)
        assert row["label"] == (alone.label or "")


@pytest.mark.usefixtures("own_home")
def test_zips_and_tables_are_sources_beside_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.zip").write_bytes(zipped({"x/0.jpg": (folder / "a.jpg").read_bytes(), "x/notes.txt": b"words"}))
    (folder / "list.csv").write_text("image,anything\nb/a.jpg,1\ngone.png,2\n")
    alone = GivenPhotos([folder / "list.csv"])
    assert [alone.name(path) for path in alone] == ["b/a.jpg", "gone.png"]
    several = GivenPhotos([tmp_path / "in.zip", folder / "a.jpg"])
    assert [several.name(path) for path in several] == [str(tmp_path / "in.zip/x/0.jpg"), str(folder / "a.jpg")]
    assert several.read_as == [f"{tmp_path / 'in.zip'}: 1 photo"]


def test_an_unfinished_run_is_not_overwritten_unasked(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    (tmp_path / "out.csv.partial").write_text("{}\n")
    with pytest.raises(UsageError, match="add --resume"):
        classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), out)
    with pytest.raises(UsageError, match="needs the same"):
        classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), out, resume=True)


class Failing(RowsFromHere):
    """Fails after so many rows, as a cluster does that cannot be reached, or is lost."""

    after = 0

    def rows(self, photos: Iterator[Photo]) -> Generator[Row]:
        yield from islice(super().rows(photos), self.after)
        raise UsageError("The cluster is gone.")


@pytest.mark.parametrize("after", [0, 2])
def test_a_run_that_fails_keeps_its_rows_and_nothing_else(
    classifier: Classifier, folder: Path, tmp_path: Path, after: int
) -> None:
    computed = Failing(classifier, GivenPhotos([folder]))
    computed.after = after
    with pytest.raises(UsageError, match="gone"):
        classify_sources(computed, tmp_path / "out.csv")
    left = tmp_path / "out.csv.partial"
    assert left.exists() is (after > 0)
    assert not after or len(left.read_text().splitlines()) == 1 + after


def test_a_run_that_fails_leaves_the_journal_of_another(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path / "out.csv", {"model": "bags:1"}) for _ in range(2))
    first.open(resume=False)
    second.open(resume=True)
    with suppress(KeyboardInterrupt), second.appending():
        raise KeyboardInterrupt
    assert first.path.exists()


@pytest.mark.parametrize("name", ["out.txt", "out", "nowhere/out.csv"])
def test_an_out_that_cannot_be_written_is_refused_at_once(
    classifier: Classifier, folder: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="--out"):
        classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), tmp_path / name)


def test_ten_views_are_averaged_and_refuse_what_one_view_refuses(classifier: Classifier, folder: Path) -> None:
    plain, ten = (
        list(classifier.classify([folder / "a.jpg", folder / "broken.jpg"], tta=tta)) for tta in (False, True)
    )
    image = classifier.preprocessing.read(folder / "a.jpg")
    each = classifier.predict(classifier.preprocessing.ten_views(image))
    one, averaged = plain[0][1], ten[0][1]
    assert isinstance(one, Prediction)
    assert isinstance(averaged, Prediction)
    assert averaged.unknown == one.unknown
    assert averaged.probabilities == pytest.approx(np.mean([p.probabilities for p in each], axis=0), abs=0.01)
    assert isinstance(ten[1][1], ImageError)


def test_a_run_with_ten_views_is_not_resumed_without(classifier: Classifier, folder: Path, tmp_path: Path) -> None:
    assert (
        classify_sources(RowsFromHere(classifier, GivenPhotos([folder]), tta=True), tmp_path / "ten.csv").images == 12
    )
    header = {"model": classifier.card.model, "weights": classifier.card.files, "tta": True}
    (tmp_path / "out.csv.partial").write_text(json.dumps(header) + "\n")
    with pytest.raises(UsageError, match="with --tta"):
        classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), tmp_path / "out.csv", resume=True)
    assert (
        classify_sources(
            RowsFromHere(classifier, GivenPhotos([folder]), tta=True), tmp_path / "out.csv", resume=True
        ).images
        == 12
    )


def test_an_out_inside_the_folder_is_no_image_of_it(classifier: Classifier, folder: Path) -> None:
    classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), folder / "out.csv")
    assert classify_sources(RowsFromHere(classifier, GivenPhotos([folder])), folder / "out.csv").images == 12


def test_what_is_left_out_is_counted_and_a_former_result_is_not(classifier: Classifier, folder: Path) -> None:
    photos = GivenPhotos([folder])
    classify_sources(RowsFromHere(classifier, photos), folder / "out.csv")
    assert photos.left_out == {".txt": 1, "linked folder that leads back": 1}
    classify_sources(RowsFromHere(classifier, photos), folder / "out.csv")
    assert photos.left_out == {".txt": 1, "linked folder that leads back": 1}
    packed = folder.parent / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("a.jpg", "notes.txt"):
            archive.write(folder / name, name)
    photos = GivenPhotos([packed])
    assert [path.name for path in photos] == ["a.jpg"]
    assert photos.left_out == {".txt": 1}


def test_a_csv_for_excel_shows_its_letters_and_runs_nothing(
    classifier: Classifier, folder: Path, tmp_path: Path
) -> None:
    photo = (folder / "a.jpg").read_bytes()
    for name in ("=1+1.jpg", "@SUM(A1).jpg", " +1.jpg", "-1.png", "\ttab.jpg", "plain.jpg"):
        (tmp_path / "in2").mkdir(exist_ok=True)
        (tmp_path / "in2" / name).write_bytes(photo)
    summary = classify_sources(RowsFromHere(classifier, GivenPhotos([tmp_path / "in2"])), tmp_path / "plain.csv")
    classify_sources(RowsFromHere(classifier, GivenPhotos([tmp_path / "in2"])), tmp_path / "excel.csv", excel=True)
    assert summary.formulas == 5
    data = (tmp_path / "excel.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfpath,")
    rows = list(csv.reader(data.decode("utf-8-sig").splitlines()))
    assert {row[0] for row in rows[1:]} == {
        "'=1+1.jpg", "'@SUM(A1).jpg", "' +1.jpg", "'-1.png", "'\ttab.jpg", "plain.jpg",
    }  # fmt: skip
    plain = read(tmp_path / "plain.csv")
    assert [{**row, "path": f"'{row['path']}" if row["path"] != "plain.jpg" else row["path"]} for row in plain] == [
        dict(zip(rows[0], row, strict=True)) for row in rows[1:]
    ]


def test_the_command_says_what_it_left_out_and_that_there_was_no_photo(
    home: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none/film.mov").write_bytes(b"x")
    result = classified(home, tmp_path / "none")
    assert result.returncode == 1
    assert "left out: 1 .mov" in result.stdout
    assert "No photo was found" in result.stdout
    wrong = classified(home, folder, "--excel")
    assert wrong.returncode == 2
    assert "--excel is for a .csv file" in wrong.stderr
    refused = classified(home, folder / "a.jpg", "--max-megapixels", "0.0001")
    assert refused.returncode == 1
    assert "at most 0.0001 megapixels are allowed" in refused.stdout
    assert classified(home, folder / "a.jpg", "--max-megabytes", "0").returncode == 2


def classified(home: Path, *words: Any) -> Any:
    return Command("classify", *words, environment={"HANDFUL_HOME": str(home)}).wait()


@pytest.mark.slow
def test_killed_again_and_again_a_resumed_run_repeats_and_loses_nothing(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "many"
    originals = sorted(photos.rglob("*.jpg"))
    root.mkdir()
    for number in range(600):
        (root / f"{number:04}.jpg").write_bytes(originals[number % len(originals)].read_bytes())
    out = tmp_path / "out.csv"
    kills = sum(killed_while_classifying(home, root, out) for _ in range(3))
    run(home, root, out)
    rows = read(out)
    assert [row["path"] for row in rows] == [f"{number:04}.jpg" for number in range(600)]
    assert kills


def command(home: Path, root: Path, out: Path) -> Command:
    return Command("classify", root, "--out", out, "--resume", "--json", environment={"HANDFUL_HOME": str(home)})


def run(home: Path, root: Path, out: Path) -> None:
    assert command(home, root, out).wait().returncode == 0


def killed_while_classifying(home: Path, root: Path, out: Path) -> bool:
    """Starts a run and kills it once its journal has grown; False where it was done before."""
    journal = out.with_name(out.name + ".partial")
    before = journal.stat().st_size if journal.exists() else 0
    running = command(home, root, out)
    for _ in polls():
        if not running.process.is_alive():
            return False
        if journal.exists() and journal.stat().st_size > before + 5000:
            break
    running.kill()
    with journal.open("a") as file:
        file.write('{"path": "torn')  # as a kill in the middle of a write leaves it
    return True


def polls() -> Iterator[None]:
    for _ in range(6000):
        time.sleep(0.01)
        yield
