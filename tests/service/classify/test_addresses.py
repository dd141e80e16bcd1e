"""Photos in an object store, and a result that goes there: the rows of the same photos on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq
import pytest
from commands import handful
from handful.service.artifact.errors import DataError, StoreError, UsageError
from handful.service.artifact.sources.reader import read_source
from handful.service.classifier import Classifier
from handful.service.classify.given import GivenPhotos
from handful.service.classify.local import RowsFromHere, classify_in_memory, classify_sources
from handful.service.classify.remote_out import deliver, local_out

pytest.importorskip("moto")
pytest.importorskip("s3fs")
from store_stand_in import Faults, object_store


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Classifier:
    classifier = Classifier.load(artifact)
    classifier.network.make_even()
    return classifier


@pytest.fixture(scope="module")
def store(photos: Path) -> Iterator[tuple[Faults, Any]]:
    with object_store() as (faults, s3):
        for path in photos.rglob("*.*"):
            s3.put_file(str(path), f"photos/set/{path.relative_to(photos)}")
        s3.pipe_file("photos/set/notes.txt", b"words")
        s3.pipe_file("photos/set/.hidden/0.jpg", b"x")
        s3.pipe_file("photos/set/empty.jpg", b"")
        yield faults, s3


def rows_of(classifier: Classifier, *sources: str | Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in classify_in_memory(RowsFromHere(classifier, GivenPhotos(sources)))}


def test_a_folder_there_gives_the_rows_of_one_here(
    classifier: Classifier, store: tuple[Faults, Any], photos: Path
) -> None:
    given = GivenPhotos(["s3://photos/set/"])
    rows = {row["path"]: row for row in classify_in_memory(RowsFromHere(classifier, given))}
    empty = rows.pop("empty.jpg")
    assert empty["error"].startswith("image_unreadable: The image is empty (0 bytes)")
    assert rows == rows_of(classifier, photos)
    assert given.left_out == {".txt": 1, "hidden": 1}
    assert store[0].asked["GET /photos/set/notes.txt"] == 0


def test_busy_and_cut_connections_are_tried_again(
    classifier: Classifier, store: tuple[Faults, Any], photos: Path
) -> None:
    faults, _ = store
    faults.unavailable.update({"blue/00.jpg": 2, "red/01.png": 1})
    faults.cut.update({"blue/02.webp": 2, "red/03.jpg": 1})
    rows = rows_of(classifier, "s3://photos/set")
    rows.pop("empty.jpg")
    assert rows == rows_of(classifier, photos)
    assert not +faults.unavailable + +faults.cut


def test_a_missing_or_forbidden_object_is_a_row_with_its_error(
    classifier: Classifier, store: tuple[Faults, Any], tmp_path: Path, photos: Path
) -> None:
    faults, s3 = store
    faults.denied.add("red/00.jpg")
    (tmp_path / "list.csv").write_text(
        f"url\ns3://photos/set/blue/00.jpg\ns3://photos/set/gone.jpg\ns3://photos/set/red/00.jpg\n{photos}/red/03.jpg\n"
    )
    rows = rows_of(classifier, tmp_path / "list.csv")
    faults.denied.clear()
    denied, gone = rows["s3://photos/set/red/00.jpg"], rows["s3://photos/set/gone.jpg"]
    assert gone["error"] == "image_unreadable: s3://photos/set/gone.jpg cannot be read: it is not there."
    assert "access is denied" in denied["error"]
    assert [bool(row["error"]) for row in rows.values()] == [False, True, True, False]
    s3.put_file(str(tmp_path / "list.csv"), "photos/set/blue/list.csv")
    s3.pipe_file("photos/set/blue/near.csv", b"path\n01.png\n./02.webp\n")
    near = rows_of(classifier, "s3://photos/set/blue/near.csv")
    assert list(near) == ["s3://photos/set/blue/01.png", "s3://photos/set/blue/02.webp"]
    assert not any(row["error"] for row in near.values())


@pytest.mark.usefixtures("store")
def test_a_photo_a_bucket_that_is_not_there_and_a_package_that_is_missing(classifier: Classifier) -> None:
    assert list(rows_of(classifier, "s3://photos/set/blue/00.jpg")) == ["s3://photos/set/blue/00.jpg"]
    for address in ("s3://nowhere/set", "s3://photos/no-such-folder"):
        with pytest.raises((DataError, StoreError), match="is not there"):
            rows_of(classifier, address)
    try:
        fsspec.filesystem("gs")
    except ImportError:
        with pytest.raises(UsageError, match=r"gs:// addresses need `pip install \"handful\[gcs\]\"`"):
            rows_of(classifier, "gs://photos/set")


def test_a_photo_on_the_web(classifier: Classifier, store: tuple[Faults, Any]) -> None:
    _, s3 = store
    base = s3.client_kwargs.get("endpoint_url") or s3._s3.meta.endpoint_url
    s3.call_s3("put_object_acl", Bucket="photos", Key="set/blue/00.jpg", ACL="public-read")
    found = rows_of(classifier, f"{base}/photos/set/blue/00.jpg?v=1", f"{base}/photos/set/gone.jpg")
    first, gone = found.values()
    assert not first["error"]
    assert gone["error"].endswith("cannot be read: it is not there.") or "access is denied" in gone["error"]


@pytest.mark.usefixtures("own_home")
def test_a_result_appears_there_whole(
    classifier: Classifier, store: tuple[Faults, Any], photos: Path, tmp_path: Path
) -> None:
    faults, s3 = store
    target = "s3://photos/out/rows.parquet"
    out = local_out(target)
    assert out is not None
    classify_sources(RowsFromHere(classifier, GivenPhotos([photos])), out)
    faults.unavailable["rows.parquet"] = 2
    deliver(out, target)
    assert not out.exists()
    s3.get_file("photos/out/rows.parquet", str(tmp_path / "rows.parquet"))
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 24
    classify_sources(RowsFromHere(classifier, GivenPhotos([photos])), out)
    with pytest.raises(StoreError, match="the finished file is kept as"):
        deliver(out, "s3://nowhere/rows.parquet")
    assert out.exists()
    with pytest.raises(UsageError, match="cannot be written"):
        local_out("https://example.com/rows.csv")


@pytest.mark.usefixtures("own_home")
def test_photos_to_learn_from(store: tuple[Faults, Any], photos: Path) -> None:
    s3 = store[1]
    for path in photos.rglob("*.*"):
        s3.put_file(str(path), f"photos/labelled/{path.relative_to(photos)}")
    found, here = read_source(Path("s3://photos/labelled")), read_source(photos)
    assert found.source == "s3://photos/labelled"
    assert found.read_as == here.read_as
    assert [path.relative_to(found.train.root) for path, _ in found.train.photos] == [
        path.relative_to(photos) for path, _ in here.train.photos
    ]
    for address, words in (("s3://photos/x.csv", "a table at an address"), ("https://h/photos", "cannot be listed")):
        with pytest.raises(UsageError, match=words):
            read_source(Path(address))


def test_the_command(home: Path, store: tuple[Faults, Any]) -> None:
    done = handful(home, "classify", "s3://photos/set/blue", "--out", "s3://photos/out/blue.csv")
    assert done.returncode == 0, done.stderr
    assert "rows: s3://photos/out/blue.csv" in done.stdout
    assert len(store[1].cat_file("photos/out/blue.csv").decode().splitlines()) == 13
