"""hf://datasets/ORG/NAME[@REVISION][/CONFIG][/SPLIT] -> its photos, from the Parquet files of the Hub.

Most datasets have Parquet files of their own, or the Hub has made some, at the revision `refs/convert/parquet`. A
dataset without either is downloaded and read as a folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from handful.service.artifact.errors import DataError, HubNotFound, UsageError
from handful.service.artifact.sources.listing import PhotoSource, part_role
from handful.service.artifact.sources.tables import TableSettings, read_tables

CONVERTED = "refs/convert/parquet"
DEFAULT = "default"
_ADDRESS = re.compile(r"hf:/{1,2}datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?P<inner>(?:/[^/]+){0,2})/?")
_SHARD = re.compile(r"(?P<split>.+?)-\d+(?:-of-\d+)?")


def is_hub_dataset(path: Path) -> bool:
    """Whether it is meant as an address on the Hub; `Path` makes one slash of two."""
    return path.as_posix().startswith(("hf:/", "hf://"))


def hub_address(path: Path) -> str:
    """As a person writes it, with two slashes."""
    return re.sub(r"^hf:/+", "hf://", path.as_posix())


def read_hub_dataset(
    path: Path, settings: TableSettings, read_folder: Callable[[Path, str], PhotoSource]
) -> PhotoSource:
    """`UsageError` for an address of another form, a `HubError` where the Hub does not deliver it."""
    from handful.service.artifact.hub import HubRef, large_file, parse_ref, repo_files, repo_folder  # takes 0.25 s

    source = hub_address(path)
    match = _ADDRESS.fullmatch(path.as_posix())
    if match is None or parse_ref(match["repo"]) is None:
        raise UsageError(
            f"{source} is no dataset of the Hub; hf://datasets/ORG/NAME[@REVISION][/CONFIG][/SPLIT] is one."
        )
    ref = HubRef(source, match["repo"], match["revision"] or "main", kind="dataset")
    settings = replace(settings, inside=True)
    wanted = PurePosixPath(match["inner"]).parts[1:] if match["inner"] else ()
    commit, files = repo_files(ref)
    tables = [file for file in files if file.endswith(".parquet")]
    if not tables and match["revision"] is None:
        try:
            converted = replace(ref, revision=CONVERTED)
            converted_commit, converted_files = repo_files(converted)
            tables = [file for file in converted_files if file.endswith(".parquet")]
            ref, commit = (converted, converted_commit) if tables else (ref, commit)
        except HubNotFound:
            pass
    if not tables:
        if wanted:
            raise DataError(f"{source} has no Parquet files, so no split can be chosen; leave out /{'/'.join(wanted)}.")
        found = read_folder(repo_folder(ref, commit), source)
        return replace(found, kind=f"dataset of the Hub, {found.kind}")
    chosen = _chosen(tables, wanted, source)
    local = [(split, large_file(ref, file, commit)) for split, file in chosen]
    found = read_tables(local, source, settings, local[0][1].parent)
    return replace(found, kind=f"dataset of the Hub, {found.kind}")


def split_of(file: str) -> tuple[str, str]:
    """A Parquet file's configuration, which may be empty, and its split: both are told by its name and folders."""
    path = PurePosixPath(file)
    folders = [folder for folder in path.parts[:-1] if folder != "data"]
    if match := _SHARD.fullmatch(path.stem):
        return "/".join(folders), match["split"]
    if folders and path.stem.isdigit():
        return "/".join(folders[:-1]), folders[-1].removeprefix("partial-")
    return "/".join(folders), path.stem


def _chosen(files: Sequence[str], wanted: Sequence[str], source: str) -> list[tuple[str, str]]:
    """Split and path of the files to read; `DataError` where it is not clear which are meant."""
    named = [(*split_of(file), file) for file in sorted(files)]
    for word in wanted:
        named = [(config, split, file) for config, split, file in named if word in {config, split}]
    configs = dict.fromkeys(config for config, _, _ in named)
    if DEFAULT in configs:
        named, configs = [each for each in named if each[0] == DEFAULT], {DEFAULT: None}
    if len(configs) != 1:
        existing = dict.fromkeys("/".join(filter(None, split_of(file))) for file in sorted(files))
        raise DataError(
            f"{source} {'holds several configurations' if configs else 'is not among its splits'}; name one:"
            f" {', '.join(existing)}."
        )
    splits = dict.fromkeys(split for _, split, _ in named)
    if len(splits) > 1 and not all(part_role(split) for split in splits):
        raise DataError(
            f"{source} has the splits {', '.join(splits)}; name one of them: {source}/{next(iter(splits))}."
        )
    return [(split if len(splits) > 1 else "", file) for _, split, file in named]
