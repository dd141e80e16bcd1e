"""Shards -> parts -> one file, which is the one that a single process writes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import handful
from handful.service.artifact.errors import UsageError
from handful.service.classifier import Classifier
from handful.service.classify.given import GivenPhotos
from handful.service.classify.local import RowsFromHere, classify_sources
from handful.service.classify.merging import merge_parts
from handful.service.classify.shards import Shard, shard_number

SHARDS = 3
EVER = [11, 1, 1, 7]


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    classifier = Classifier.load(artifact)
    classifier.network.make_even()
    return classifier


def write_part(
    classifier: Classifier,
    source: Path,
    number: int,
    out: Path,
    count: int = SHARDS,
    *,
    tta: bool = False,
    resume: bool = False,
) -> Path:
    photos = GivenPhotos([source], shard=Shard(number, count))
    classify_sources(RowsFromHere(classifier, photos, tta=tta), out, resume=resume)
    return out


@pytest.fixture(scope="module")
def parts(classifier: Classifier, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    return [write_part(classifier, photos, n, folder / f"part-{n}.parquet") for n in range(1, SHARDS + 1)]


def test_merged_parts_are_the_bytes_of_one_process(
    classifier: Classifier, photos: Path, parts: list[Path], tmp_path: Path
) -> None:
    assert all(pq.read_metadata(part).num_rows for part in parts)
    classify_sources(RowsFromHere(classifier, GivenPhotos([photos])), tmp_path / "one.parquet")
    merged = merge_parts(parts[::-1], tmp_path / "all.parquet")
    assert merged.summary.images == 24
    assert (tmp_path / "all.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    classify_sources(RowsFromHere(classifier, GivenPhotos([photos])), tmp_path / "one.csv")
    merge_parts(parts, tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_a_path_keeps_its_shard_for_ever() -> None:
    """These numbers are in files that people have: another hash would need another name of the flag."""
    assert [shard_number(path, 16) for path in ("a.jpg", "b/a.jpg", "靴.jpg", "s3://photos/1.jpg")] == EVER
    counts = [sum(Shard(n, 4).holds(f"{k}.jpg") for k in range(4000)) for n in (1, 2, 3, 4)]
    assert sum(counts) == 4000
    assert all(900 < count < 1100 for count in counts)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="I/N is expected"):
        Shard.parse(text)


def test_missing_double_and_foreign_parts_are_refused(
    classifier: Classifier, photos: Path, parts: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "all.parquet"
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(parts[0].read_bytes())
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(parts[1].read_bytes()[:-20])
    words = tmp_path / "words.parquet"
    words.write_text("words")
    whole = tmp_path / "whole.parquet"
    classify_sources(RowsFromHere(classifier, GivenPhotos([photos])), whole)
    other = write_part(classifier, photos / "red", 2, tmp_path / "other.parquet")
    of_four = write_part(classifier, photos, 2, tmp_path / "four.parquet", count=4)
    ten = write_part(classifier, photos, 2, tmp_path / "ten.parquet", tta=True)
    for given, words_of_it in (
        (parts[:1], "Shards 2, 3 of 3 are missing"),
        (parts[1:], "Shard 1 of 3 is missing"),
        ([*parts, copy], "Shard 1/3 is there twice: .*part-1.parquet and .*copy.parquet"),
        ([parts[0], cut, parts[2]], "cut.parquet is no whole Parquet file"),
        ([parts[0], words, parts[2]], "words.parquet is no whole Parquet file"),
        ([parts[0], tmp_path / "gone.parquet", parts[2]], "gone.parquet is not there"),
        ([*parts, whole], "whole.parquet is no part of a divided run"),
        ([parts[0], other, parts[2]], "other.parquet belongs to another run than .*: the sources: "),
        ([parts[0], ten, parts[2]], "ten.parquet belongs to another run than .*: ten views: true, there false"),
        ([parts[0], of_four, parts[2]], "four.parquet is shard 2/4, but .*part-1.parquet is shard 1/3"),
    ):
        with pytest.raises(UsageError, match=words_of_it):
            merge_parts(given, out)
    assert not out.exists()


def test_a_row_of_another_shard_is_refused(parts: list[Path], tmp_path: Path) -> None:
    table = pq.read_table(parts[0])
    about = json.loads(table.schema.metadata[b"handful"]) | {"shard": "2/3"}
    pq.write_table(table.replace_schema_metadata({"handful": json.dumps(about)}), tmp_path / "wrong.parquet")
    with pytest.raises(UsageError, match="belongs to shard 1/3; classify this shard again"):
        merge_parts([parts[0], tmp_path / "wrong.parquet", parts[2]], tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_the_commands(home: Path, photos: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        done = handful(home, "classify", photos, "--shard", f"{number}/2", "--out", tmp_path / f"{number}.parquet")
        assert done.returncode == 0, done.stderr
    merged = handful(home, "merge", tmp_path / "1.parquet", tmp_path / "2.parquet", "--out", tmp_path / "all.csv")
    assert merged.returncode == 0, merged.stderr
    assert "24 photos with colours:1" in merged.stdout
    wrong = handful(home, "classify", photos, "--shard", "1/2", "--out", tmp_path / "1.csv")
    assert wrong.returncode == 2
    assert "--shard is for a .parquet file" in wrong.stderr


def test_a_shard_is_resumed_as_itself_only(classifier: Classifier, photos: Path, tmp_path: Path) -> None:
    run = {"model": classifier.card.model, "weights": classifier.card.files, "tta": False, "shard": "2/3"}
    (tmp_path / "part.parquet.partial").write_text(json.dumps(run) + "\n")
    with pytest.raises(UsageError, match=r"shard 2/3, this run is .*shard 1/3"):
        write_part(classifier, photos, 1, tmp_path / "part.parquet", resume=True)
    write_part(classifier, photos, 2, tmp_path / "part.parquet", resume=True)
