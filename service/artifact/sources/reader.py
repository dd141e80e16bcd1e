"""Any source -> its photos. What it is is told by its content, not by its name, and said in one line."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.image_files import images
from handful.service.artifact.images import may_be_image
from handful.service.artifact.remote import RemoteFile, url_of
from handful.service.artifact.sources.columns import ColumnNames, LabelColumnMissing
from handful.service.artifact.sources.copies import labelled_copy
from handful.service.artifact.sources.folders import Level, read_layout, unwrapped
from handful.service.artifact.sources.hub_datasets import is_hub_dataset, read_hub_dataset, split_of
from handful.service.artifact.sources.listing import PhotoPart, PhotoSource, SourcePhoto, SourceProblem, part_role
from handful.service.artifact.sources.manifests import Manifest
from handful.service.artifact.sources.table_files import TABLE_SUFFIXES
from handful.service.artifact.sources.tables import TableSettings, opened_table, read_table, read_tables
from handful.service.artifact.sources.unpacking import file_key, unpack_zip, unpacked

EXPECTED = (
    "a folder with one sub-folder of photos per label, a zip of one, a table of paths and labels (.csv, .tsv, .jsonl,"
    " .json, .parquet), an export of Label Studio or Roboflow, or hf://datasets/ORG/NAME"
)
TABLES = {  # in a folder of photos, by their names
    ("metadata.csv", "metadata.jsonl", "metadata.parquet"): "Hugging Face ImageFolder",
    ("_classes.csv",): "Roboflow _classes.csv",
}
LOOSE = ("images", "imgs", "photos", "pictures", "data", "train", "all")  # folders of photos that a table names
ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "a bzip2 archive",
}


class ListedPhotos(NamedTuple):
    """The photos of a source without their labels."""

    root: Path  # their names are relative to it
    photos: Collection[Path | RemoteFile] | Manifest
    left_out: Counter[str]  # other files by kind


def check_source(path: Path) -> None:
    """`UsageError` for a path that is not there. Nothing is read yet."""
    if not (is_hub_dataset(path) or url_of(path) or path.exists()):
        raise UsageError(f"{path} is not there; {EXPECTED} is expected.")


def read_source(path: Path, named: ColumnNames | None = None, known_labels: Collection[str] = ()) -> PhotoSource:
    """The labelled photos of a source. A single folder that bears one of `known_labels` is a label.

    `UsageError` for what is not there, `DataError` for what holds no labelled photos.
    """
    check_source(path)
    if url := url_of(path):
        copy = labelled_copy(RemoteFile(url.rstrip("/")))
        return replace(read_source(copy, named, known_labels), source=url)
    settings = TableSettings(named or ColumnNames())
    if is_hub_dataset(path):
        return read_hub_dataset(path, settings, lambda folder, source: _read_folder(folder, source, settings, ()))
    if path.is_dir():
        return _read_folder(path, str(path), settings, known_labels)
    if _is_zip(path, str(path)):
        folder, problems = _unzipped(path)
        inside = replace(settings, inside=True)
        found = _read_folder(folder, str(path), inside, known_labels, zipped=True)
        train = replace(found.train, problems=(*found.train.problems, *problems))
        return replace(found, kind=f"zip, {found.kind}", train=train)
    return read_table(path, str(path), settings)


def list_photos(path: Path, path_column: str | None = None, base: RemoteFile | None = None) -> ListedPhotos | None:
    """The photos of a table, a zip or a dataset, labelled or not; a table may hold addresses.

    None for a folder or a photo, whose files are the photos themselves. Missing files are listed too. Of a table that
    was fetched from `base`, paths are below the folder there.
    """
    settings, left_out = TableSettings(ColumnNames(path_column), labelled=False), Counter[str]()
    if is_hub_dataset(path):
        found = read_hub_dataset(path, settings, lambda folder, _: _unlabelled(folder, left_out))
    elif not path.is_file() or may_be_image(path):
        settings.named.check_unused(str(path), "a folder" if path.is_dir() else "a photo")
        return None
    elif _is_zip(path, str(path)):
        settings.named.check_unused(str(path), "a zip")
        folder, problems = _unzipped(path)
        left_out["not unpacked"] += len(problems)
        found = _unlabelled(folder, left_out)
    else:
        table = opened_table("", path, 0, str(path), settings)
        if not (table.inside or table.export):
            manifest = Manifest(table, str(path), settings, base)
            return ListedPhotos(manifest.root, manifest, left_out)
        found = read_table(path, str(path), settings)
    return ListedPhotos(found.train.root, list(dict.fromkeys(photo.path for photo in found.train.photos)), +left_out)


def _unlabelled(folder: Path, left_out: Counter[str]) -> PhotoSource:
    photos = tuple(SourcePhoto(path, "") for path in images(folder, left_out))
    return PhotoSource(str(folder), "photos", PhotoPart(folder, photos, ()))


def _is_zip(path: Path, source: str) -> bool:
    """`DataError` for files of other kinds that are no tables either."""
    with path.open("rb") as file:
        head = file.read(512)
    if may_be_image(path):
        raise DataError(f"{source} is a photo; {EXPECTED} is expected.")
    archive = next((kind for magic, kind in ARCHIVES.items() if head.startswith(magic)), None)
    if archive or head[257:262] == b"ustar":
        raise DataError(
            f"{source} is {archive or 'a tar archive'}; unpack it and name its folder, or make a zip of it."
        )
    if not head.startswith(b"PK"):
        return False
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file_zip:
            names = file_zip.namelist()
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise DataError(f"{source} is a workbook or document; save its table as CSV (UTF-8).")
    return True


def _unzipped(path: Path) -> tuple[Path, list[SourceProblem]]:
    problems: list[SourceProblem] = []
    folder = unpacked(("zip", *file_key(path)), lambda out: problems.extend(unpack_zip(path, str(path), out)))
    return folder, problems


def _read_folder(
    folder: Path, source: str, settings: TableSettings, known_labels: Collection[str], *, zipped: bool = False
) -> PhotoSource:
    top = unwrapped(Level(folder), known_labels)
    levels = [top, *(top.below() if len(top.folders) == 1 and not top.photos else ())]  # photos around a table
    unlabelled: DataError | None = None
    for level, (names, kind) in product(levels, TABLES.items()):
        if tables := _tables_named(level, names):
            try:
                return read_tables(tables, source, settings, level.path, kind=kind)
            except LabelColumnMissing as e:
                unlabelled = e  # captions, beside a folder per label perhaps
    if tables := _parquet_files(top):
        return read_tables(tables, source, settings, top.path)
    table = next(filter(None, map(_only_table, levels)), None)
    if unlabelled is None and table:
        return read_table(table, source, settings)
    settings.named.check_unused(source, "a zip of folders" if zipped else "a folder of folders")
    try:
        return read_layout(folder, source, known_labels)
    except DataError as e:
        raise unlabelled or e from e


def _tables_named(top: Level, names: Collection[str]) -> list[tuple[str, Path]]:
    """The part and path of the tables of these names: in the folder itself, or one in each of its parts."""
    for name in names:
        if (top.path / name).is_file():
            return [("", top.path / name)]
        below = [(path.name, path / name) for path in top.folders if part_role(path.name) and (path / name).is_file()]
        if below:
            return below
    return []


def _parquet_files(top: Level) -> list[tuple[str, Path]]:
    """Parquet files and their split, as a dataset of Hugging Face is stored, where the folder holds nothing else."""
    files = [file for level in (top, *top.below()) for file in level.files]
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if not tables or any(may_be_image(file) for file in files):
        return []
    named = [split_of(file.relative_to(top.path).as_posix())[1] for file in tables]
    known = all(part_role(split) for split in named)
    return [(split if known else "", file) for split, file in zip(named, tables, strict=True)]


def _only_table(top: Level) -> Path | None:
    """The only table of a folder whose photos lie loose in it, or in one folder of no label's name."""
    tables = [path for path in top.files if path.suffix.lower() in TABLE_SUFFIXES]
    folders = [path for path in top.folders if path.name.lower() not in LOOSE]
    loose = top.photos and not top.folders
    aside = not top.photos and len(top.folders) == 1 and not folders and not Level(top.folders[0]).folders
    return tables[0] if len(tables) == 1 and (loose or aside) else None
