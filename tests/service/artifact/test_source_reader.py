"""What a source is taken for, how each layout is read, and what is said where it is not clear."""

from __future__ import annotations

import io
import json
import os
import unicodedata
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.artifact.sources.hub_datasets import split_of
from handful.service.artifact.sources.listing import PhotoSource, part_role
from handful.service.artifact.sources.reader import list_photos, read_source

JPEG = b"\xff\xd8\xff\xe0" + bytes(20)

pytestmark = pytest.mark.usefixtures("own_home")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(JPEG)
    return root


def table(root: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def listed(source: PhotoSource) -> dict[str, list[str]]:
    """Names of files by label."""
    labels: dict[str, list[str]] = {label: [] for label in source.train.labels}
    for photo in source.train.photos:
        labels[photo.label].append(photo.path.name)
    return labels


def kinds(source: PhotoSource) -> set[str]:
    return {problem.kind for problem in source.train.problems}


@pytest.mark.parametrize("labels", [("test", "train"), ("train", "val"), ("images", "labels"), ("train",)])
def test_in_a_photo_library_every_folder_is_a_label(tmp_path: Path, labels: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"{label}/{number}.jpg" for label in labels for number in range(2)))
    (tmp_path / ".library").mkdir()
    found = read_source(tmp_path)
    assert listed(found) == {label: ["0.jpg", "1.jpg"] for label in labels}
    assert (found.kind, found.held_out) == ("photo library", ())


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *[(name, "train") for name in ("train", "Training", "training_set", "train_data", "TRAIN IMAGES", "seg_train")],
        *[(name, "val") for name in ("val", "valid", "Validation", "dev", "validation-set")],
        *[(name, "test") for name in ("test", "Testing", "test_set", "test1", "testset", "hold_out", "held-out set")],
        *[(name, None) for name in ("trains", "tests of time", "handbags", "validators", "contest", "device")],
    ],
)
def test_parts_are_known_by_their_usual_names(name: str, role: str | None) -> None:
    assert part_role(name) == role


@pytest.mark.parametrize(
    ("train", "test", "beside"),
    [
        ("training_set", "test_set", ()),
        ("Training", "Testing", ("pred/0.jpg", "notes.txt")),
        ("seg_train/seg_train", "seg_test/seg_test", ("seg_pred/seg_pred/0.jpg",)),
        ("wrapper/photos/train", "wrapper/photos/val", ()),
    ],
)
def test_parts_are_no_labels_whatever_lies_around_them(
    tmp_path: Path, train: str, test: str, beside: tuple[str, ...]
) -> None:
    touch(
        tmp_path, *(f"{part}/{label}/{part[:2]}.jpg" for part in (train, test) for label in ("cats", "dogs")), *beside
    )
    source = read_source(tmp_path)
    assert source.train.labels == ("cats", "dogs")
    assert [part.labels for part in source.held_out] == [("cats", "dogs")]
    assert [part.name for part in source.held_out] == [test.removeprefix("wrapper/photos/").partition("/")[0]]
    assert ("extra_folder" in kinds(source)) == bool(beside)
    assert f"4 photos ({source.train.name} 2, {source.held_out[0].name} 2), 2 labels" in source.read_as


def test_parts_may_lie_in_the_labels(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{part}/0.jpg" for label in ("cats", "dogs") for part in ("train", "test")))
    source = read_source(tmp_path)
    assert [(part.name, part.labels, len(part.photos)) for part in (source.train, *source.held_out)] == [
        ("train", ("cats", "dogs"), 2),
        ("test", ("cats", "dogs"), 2),
    ]


def test_folders_of_the_same_names_below_unknown_ones_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{top}/{label}/0.jpg" for top in ("monday", "friday") for label in ("cats", "dogs")))
    with pytest.raises(
        DataError, match=r"friday/ and monday/ .* hold folders of the same names .*call them train and test"
    ):
        read_source(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("handbags/images/0.jpg", "shoes/images/0.jpg"),  # one common name is no sign of labels
        ("handbags/0.jpg", "handbags/red/1.jpg", "shoes/0.jpg", "shoes/red/1.jpg", "shoes/blue/1.jpg"),
        ("photos/handbags/0.jpg", "photos/shoes/1.jpg", "photos/shoes/deep/er/2.jpg"),  # one level too many
    ],
)
def test_folders_inside_a_label_belong_to_it(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = read_source(touch(tmp_path, *names))
    assert source.train.labels == ("handbags", "shoes")
    assert len(source.train.photos) == len(names)


def test_a_single_folder_that_the_model_knows_is_a_label(tmp_path: Path) -> None:
    touch(tmp_path, "shoes/boots/0.jpg", "shoes/sandals/1.jpg")
    assert read_source(tmp_path).train.labels == ("boots", "sandals")
    assert read_source(tmp_path, known_labels=["shoes"]).train.labels == ("shoes",)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("0.jpg", "1.jpg"), r"holds 2 photos and no sub-folders.*such as .*/handbags/ and .*/shoes/"),
        (("train/0.jpg", "test/1.jpg"), r"train/ of .* holds 1 photo and no sub-folders"),
        (("images/a/0.jpg", "labels/a/0.txt"), "data sets for detecting objects"),
    ],
)
def test_photos_without_labels_get_a_sentence_that_says_how_it_should_look(
    tmp_path: Path, names: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        read_source(touch(tmp_path, *names))


def test_one_label_in_two_forms_or_in_latin_1_is_one_text(tmp_path: Path) -> None:
    nfc = "größe"
    touch(tmp_path, f"{nfc}/0.jpg", f"{unicodedata.normalize('NFD', nfc)}/1.jpg", "b/2.jpg")
    touch(tmp_path, f"{os.fsdecode(nfc.encode('latin-1'))}/3.jpg")
    source = read_source(tmp_path)
    assert {label: sorted(names) for label, names in listed(source).items()} == {
        "b": ["2.jpg"],
        nfc: ["0.jpg", "1.jpg", "3.jpg"],
    }
    assert kinds(source) == {"one_label", "label_not_utf8"}


@pytest.mark.parametrize(
    ("text", "name", "encoding", "said"),
    [
        ("path,label\na/0.jpg,cat\na/1.jpg,dog\n", "list.csv", "utf-8", "CSV, paths in 'path', labels in 'label'"),
        ("Klasse;Class;File Name\nx;cat;a\\0.jpg\ny;dog;a\\1.jpg\n", "l.txt", "utf-8-sig", "CSV with semicolons"),
        ("filename\tspecies\na/0.jpg\tcat\na/1.jpg\tdog\n", "list.csv", "utf-16", "TSV"),
        ("a/0.jpg,cat\na/1.jpg,dog\n", "list.csv", "utf-8", "no header"),
        ("id,category\na/0,cat\na/1,dog\n", "list.csv", "utf-8", "CSV"),
        ("picture of it,label\na/0.jpg,cat\na/1.jpg,dog\n", "list.csv", "utf-8", "paths in 'picture of it'"),
        (
            '{"file_name": "a/0.jpg", "label": "cat"}\n{"file_name": "a/1.jpg", "label": "dog"}',
            "x",
            "utf-8",
            "JSON lines",
        ),
        ('[{"image": "a/0.jpg", "label": ["cat"]}, {"image": "a/1.jpg", "label": "dog"}]', "x.json", "utf-8", "JSON"),
    ],
)
def test_tables_are_known_by_their_content(tmp_path: Path, text: str, name: str, encoding: str, said: str) -> None:
    touch(tmp_path, "a/0.jpg", "a/1.jpg")
    source = read_source(table(tmp_path, text, name, encoding))
    assert listed(source) == {"cat": ["0.jpg"], "dog": ["1.jpg"]}
    assert said in source.read_as
    assert source.read_as.endswith("2 photos, 2 labels")
    assert not source.train.problems


def test_a_table_in_windows_1252_is_read_with_a_word(tmp_path: Path) -> None:
    touch(tmp_path, "0.jpg")
    source = read_source(table(tmp_path, "path,label\n0.jpg,größe\n", encoding="cp1252"))
    assert source.train.labels == ("größe",)
    assert "not UTF-8, read as Windows-1252" in source.read_as


def test_each_row_that_cannot_be_used_is_a_problem_of_that_row(tmp_path: Path) -> None:
    touch(tmp_path, "0.jpg")
    rows = ["0.jpg,cat", "gone.jpg,cat", "https://example.org/1.jpg,cat", ",cat", "0.jpg,"]
    source = read_source(table(tmp_path, "\n".join(["path,label", *rows])))
    assert [(problem.path, problem.kind) for problem in source.train.problems] == [
        ("gone.jpg", "row_points_nowhere"),
        ("https://example.org/1.jpg", "row_points_nowhere"),
        ("row 4", "row_without_path"),
        ("0.jpg", "row_without_label"),
    ]
    assert "Row 2 points to gone.jpg, which is no file" in source.train.problems[0].detail
    assert len(source.train.photos) == 1


def test_a_table_that_points_nowhere_or_has_no_known_columns_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "0.jpg")
    with pytest.raises(DataError, match=r"None of the 1 rows .* points to a file. Row 1 points to gone.jpg"):
        read_source(table(tmp_path, "path,label\ngone.jpg,cat\n"))
    odd = table(tmp_path, "path,what it shows\n0.jpg,cat\n")
    with pytest.raises(DataError, match=r"columns are 'path', 'what it shows': name the right one by --label-column"):
        read_source(odd)
    assert read_source(odd, ColumnNames(label="what it shows")).train.labels == ("cat",)
    with pytest.raises(UsageError, match=r"--label-column is 'none'; the columns of .* are 'path'"):
        read_source(odd, ColumnNames(label="none"))
    with pytest.raises(UsageError, match="--path-column x names a column of a table"):
        read_source(touch(tmp_path / "f", "a/0.jpg", "b/1.jpg"), ColumnNames(path="x"))


def test_a_column_of_splits_and_paths_below_parts_make_parts(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{part}/{label}.jpg" for part in ("train", "test") for label in ("cat", "dog")))
    rows = [f"{part}/{label}.jpg,{label},{part}" for part in ("train", "test") for label in ("cat", "dog")]
    for text in (["path,label,split", *rows], ["path,label,x", *rows]):
        source = read_source(table(tmp_path, "\n".join(text)))
        assert [(part.name, len(part.photos)) for part in source.held_out] == [("test", 2)]
        assert len(source.train.photos) == 2


def test_a_stranger_s_table_reads_nothing_beside_itself(tmp_path: Path) -> None:
    secret = touch(tmp_path, "secret.jpg") / "secret.jpg"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("in/metadata.csv", f"file_name,label\n{secret},cat\n0.jpg,dog\n../../../secret.jpg,cat\n")
        archive.writestr("in\\0.jpg", JPEG)
        archive.writestr("../1.jpg", JPEG)
    (tmp_path / "x.zip").write_bytes(out.getvalue())
    source = read_source(tmp_path / "x.zip")
    assert listed(source) == {"dog": ["0.jpg"]}
    assert kinds(source) == {"row_points_nowhere", "not_unpacked"}
    assert source.read_as.startswith("read as: zip, Hugging Face ImageFolder")


def test_one_column_per_label_is_one_label_per_photo(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{part}/{number}.jpg" for part in ("train", "valid") for number in range(3)))
    for part in ("train", "valid"):
        table(tmp_path / part, "filename, cat, dog\n0.jpg, 1, 0\n1.jpg, 0, 1\n2.jpg, 1, 1\n", "_classes.csv")
    source = read_source(tmp_path)
    assert source.read_as == "read as: Roboflow _classes.csv, 4 photos (train 2, valid 2), 2 labels"
    [problem] = source.train.problems
    assert problem.kind == "several_labels"
    assert "Row 3 has 2 labels (cat, dog); handful learns one label per photo" in problem.detail.replace(" and ", ", ")


@pytest.mark.parametrize("kind", ["tasks", "rows"])
def test_label_studio_exports_find_their_uploads(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "media/0.jpg", "media/1.jpg", "other/1.jpg")
    if kind == "rows":
        text = (
            "image,id,choice,annotator,annotation_id,lead_time\n/data/upload/7/0123abcd-0.jpg,1,cat,2,3,4\n"
            'http://localhost:8080/data/local-files/?d=media/1.jpg,2,"{""choices"": [""dog""]}",2,4,4\n'
        )
        path = table(tmp_path, text, "export.csv")
    else:
        results = [
            [{"from_name": "kind", "type": "choices", "value": {"choices": [label]}}] for label in ("cat", "dog")
        ]
        images = ["/data/upload/7/0123abcd-0.jpg", "/data/local-files/?d=media/1.jpg"]
        tasks = [
            {
                "data": {"image": image},
                "annotations": [{"result": result}, {"was_cancelled": True, "result": results[0]}],
            }
            for image, result in zip(images, results, strict=True)
        ]
        tasks.append({"data": {"image": "media/0.jpg"}, "annotations": []})
        path = table(tmp_path, json.dumps(tasks), "export.json")
    source = read_source(path)
    assert source.read_as == "read as: Label Studio export, 2 photos, 2 labels"
    assert [(p.label, p.path.relative_to(tmp_path).as_posix()) for p in source.train.photos] == [
        ("cat", "media/0.jpg"),
        ("dog", "media/1.jpg"),
    ]


def test_captions_beside_labels_are_no_labels(tmp_path: Path) -> None:
    touch(tmp_path, "cats/0.jpg", "dogs/1.jpg")
    table(tmp_path, "file_name,text\ncats/0.jpg,a cat\n", "metadata.csv")
    assert read_source(tmp_path).train.labels == ("cats", "dogs")
    table(touch(tmp_path / "flat", "0.jpg"), "file_name,text\n0.jpg,a cat\n", "metadata.csv")
    with pytest.raises(DataError, match="--label-column"):
        read_source(tmp_path / "flat")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"\0\1\2 binary", "neither text"),
        (b"\x1f\x8b\x08", "is a gzip archive; unpack it"),
        (b"PK\5\6 cut off", "damaged or cut-off zip"),
        (b"PAR1 cut off", "damaged Parquet file"),
        (b'{"a": 1', "line 1 is not a whole JSON object"),
        (b"[1, 2]", "not of objects"),
        (JPEG, "is a photo"),
    ],
)
def test_any_other_file_is_one_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(DataError, match=sentence):
        read_source(tmp_path / "file")


def test_without_labels_a_table_lists_its_photos_and_those_that_are_missing(tmp_path: Path) -> None:
    touch(tmp_path, "0.jpg")
    path = table(tmp_path, "name,image\nx,0.jpg\ny,gone.jpg\nz,0.jpg\n")
    listed = list_photos(path)
    assert listed is not None
    assert (listed.root, list(listed.photos)) == (tmp_path, [tmp_path / "0.jpg", tmp_path / "gone.jpg"])
    assert list_photos(tmp_path) is None


def test_images_inside_a_table_are_unpacked_by_split(tmp_path: Path) -> None:
    images = [{"bytes": JPEG + bytes([number]), "path": f"x/{number}.jpg"} for number in range(4)]
    columns = {"image": images, "label": ["cat", "dog"] * 2, "split": ["train", "train", "test", "test"]}
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    source = read_source(tmp_path / "all.parquet")
    assert listed(source) == {"cat": ["0000001-0.jpg"], "dog": ["0000002-1.jpg"]}
    assert source.train.photos[0].path.read_bytes() == JPEG + b"\0"
    assert [len(part.photos) for part in source.held_out] == [2]


def test_the_split_of_a_parquet_file_is_told_by_its_name() -> None:
    assert split_of("data/train-00000-of-00002.parquet") == ("", "train")
    assert split_of("default/partial-test/0000.parquet") == ("default", "test")
    assert split_of("en/validation.parquet") == ("en", "validation")
