"""A folder -> its photos, by one of the layouts that people have; what could be meant in two ways is asked about.

LABEL/photo                 one folder per label; folders inside a label's folder belong to it
PART/LABEL/photo            parts: train beside val or test, under any of their usual names
LABEL/PART/photo            the same, the other way round
WRAPPER/...                 one level too many, also inside a part
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from handful.service.artifact.errors import DataError
from handful.service.artifact.image_files import LEADS_BACK, entries, walk
from handful.service.artifact.images import may_be_image
from handful.service.artifact.label_names import label_of_name, normal_label
from handful.service.artifact.sources.listing import (
    PhotoPart,
    PhotoSource,
    SourcePhoto,
    SourceProblem,
    check_labels,
    divided,
    name_below,
    part_role,
)

MOST_NAMED = 4  # folders in a sentence
LIBRARY_MARK = ".library"  # in a photo library, whose folders are labels whatever their names are
MANIFEST = "manifest.csv"  # which `handful label` writes beside the labels
DETECTION = {"images", "labels"}  # of a data set for detection: boxes in text files


@dataclass(frozen=True)
class Level:
    """One folder's visible entries."""

    path: Path

    @cached_property
    def _listed(self) -> list[tuple[Path, bool]]:
        try:
            return [(Path(entry.path), entry.is_dir()) for entry in entries(self.path)]
        except OSError as e:
            raise DataError(f"{self.path} cannot be listed: {e.strerror}.") from e

    @property
    def folders(self) -> list[Path]:
        return [path for path, is_folder in self._listed if is_folder]

    @property
    def files(self) -> list[Path]:
        return [path for path, is_folder in self._listed if not is_folder]

    @cached_property
    def photos(self) -> int:
        """How many photos lie directly in it."""
        return sum(map(may_be_image, self.files))

    def below(self) -> Iterator[Level]:
        """The levels of its folders that can be listed."""
        return (Level(path) for path in self.folders)


def read_layout(folder: Path, source: str, known_labels: Collection[str] = ()) -> PhotoSource:
    """The photos of a folder. A single top folder that bears one of `known_labels` is a label.

    `DataError` where it has no labels, or where it could be meant in two ways.
    """
    top = unwrapped(Level(folder), known_labels)
    notes = [] if top.path == folder else [f"in {name_below(top.path, folder)}/"]
    if not top.folders:
        raise _without_labels(top, source)
    if (folder / LIBRARY_MARK).is_dir():
        return PhotoSource(source, "photo library", _labelled(Level(folder), source))
    if {path.name.lower() for path in top.folders} == DETECTION and not top.photos:
        raise DataError(
            f"{source} holds images/ beside labels/, as data sets for detecting objects do; handful learns one label"
            f" per photo: {_looks(source)}."
        )
    if parts := _part_folders(top):
        return _divided_source(top, parts, source, notes)
    alike = _alike(top)
    if alike and all(part_role(path.name) for path in alike[0].folders):
        return _inverted(top, source, notes)
    if alike:
        raise _asks(alike, source)
    return PhotoSource(source, "one folder per label", _labelled(top, source), notes=tuple(notes))


def unwrapped(level: Level, known_labels: Collection[str] = ()) -> Level:
    """The level itself, or the only folder in it that holds folders and no photos, as often as there is one."""
    while len(level.folders) == 1 and not level.photos:
        [inner] = level.below()
        if not inner.folders or inner.photos or label_of_name(inner.path.name)[0] in known_labels:
            break
        level = inner
    return level


def _part_folders(top: Level) -> list[Path]:
    """The folders that are parts; empty where they are not."""
    named = [path for path in top.folders if part_role(path.name)]
    roles = [part_role(path.name) for path in named]
    if "train" in roles and len(named) > 1:
        train = unwrapped(Level(named[roles.index("train")]))
        if train.folders or len(named) == len(top.folders):
            return named
    return []


def _divided_source(top: Level, folders: Sequence[Path], source: str, notes: list[str]) -> PhotoSource:
    parts: list[PhotoPart] = []
    extra = [SourceProblem(path.name, "extra_folder", _beside(folders)) for path in top.folders if path not in folders]
    for folder in folders:
        inner = unwrapped(Level(folder))
        if inner.folders:
            parts.append(_labelled(inner, source, folder.name))
        elif part_role(folder.name) == "train":
            raise DataError(
                f"{folder.name}/ of {source} holds {_photos(inner.photos)} and no sub-folders, so their labels are"
                f" not known; it should hold one folder per label, such as {folder.name}/handbags/ and"
                f" {folder.name}/shoes/, or be named by a table of paths and labels."
            )
        else:
            detail = f"It holds {_photos(inner.photos)} and no folders per label; nothing is measured on it."
            extra.append(SourceProblem(folder.name, "unlabelled_part", detail))
    train, held_out = divided(parts)
    extra += [_stray(path, top.path) for path in top.files]
    train = PhotoPart.of(train.root, train.photos, [*train.problems, *extra], labels=train.labels, name=train.name)
    return PhotoSource(source, "one folder per label", train, held_out, (*notes, "in parts"))


def _beside(folders: Sequence[Path]) -> str:
    return f"It lies beside {_and([f'{path.name}/' for path in folders])} and is left out."


def _inverted(top: Level, source: str, notes: list[str]) -> PhotoSource:
    """A folder per label, and in each the parts."""
    names = dict.fromkeys(path.name for label in top.below() for path in label.folders)
    parts = []
    for name in names:
        found = [_Label(label.path, label.path / name) for label in top.below() if (label.path / name).is_dir()]
        parts.append(_of_labels(top.path, found, source, name))
    train, held_out = divided(parts)
    return PhotoSource(source, "one folder per label", train, held_out, (*notes, "with parts inside"))


@dataclass(frozen=True)
class _Label:
    """A folder that is called like a label, and the one with its photos."""

    named: Path
    photos: Path


def _labelled(level: Level, source: str, part: str = "") -> PhotoPart:
    labels = [_Label(path, path) for path in level.folders]
    strays = [_stray(path, level.path) for path in level.files if path.name != MANIFEST]
    return _of_labels(level.path, labels, source, part, strays)


def _of_labels(
    root: Path, labels: Sequence[_Label], source: str, part: str, problems: Sequence[SourceProblem] = ()
) -> PhotoPart:
    photos: list[SourcePhoto] = []
    found = [*problems]
    called: dict[str, str] = {}
    for each in labels:
        label, foreign = label_of_name(each.named.name)
        left_out = Counter[str]()
        files = [SourcePhoto(file, label) for file in walk(each.photos, left_out)]
        photos += files
        shown = name_below(each.named, root)
        if left_out[LEADS_BACK]:
            detail = f"{left_out[LEADS_BACK]} linked folders in it lead back to what holds them; they are not followed."
            found.append(SourceProblem(shown, "link_leads_back", detail))
        if foreign:
            found.append(
                SourceProblem(
                    shown, "label_not_utf8", f"Its name is not UTF-8; it is read as {label!r} (Windows-1252)."
                )
            )
        if called.setdefault(label, shown) != shown:
            found.append(SourceProblem(shown, "one_label", f"It is the label {called[label]}, written in other bytes."))
        if not files:
            found.append(SourceProblem(label, "empty_label", "It holds no images; add some or delete the folder."))
    check_labels(called, source)
    return PhotoPart.of(root, photos, found, labels=called, name=part)


def _stray(path: Path, root: Path) -> SourceProblem:
    return SourceProblem(name_below(path, root), "no_label", "It lies beside the labels; move it into one of them.")


def _alike(top: Level) -> list[Level]:
    """The top folders that hold the same folders, and so may be parts; empty where there are none.

    One common folder in all of them, such as images/, is no sign of it: one label is not enough to learn from.
    """
    bare = [level for level in top.below() if level.folders and not level.photos]
    names = {level.path: {normal_label(path.name).lower() for path in level.folders} for level in bare}
    if len(set().union(*names.values())) < 2:
        return []
    same = {
        level.path
        for pair in combinations(bare, 2)
        if 2 * len(names[pair[0].path] & names[pair[1].path]) >= min(len(names[level.path]) for level in pair)
        for level in pair
    }
    return [level for level in bare if level.path in same]


def _asks(alike: Sequence[Level], source: str) -> DataError:
    tops, inner = [f"{level.path.name}/" for level in alike], [path.name for path in alike[0].folders]
    first, second = (level.path.name for level in alike[:2])
    return DataError(
        f"{_and(tops)} of {source} hold folders of the same names ({_and(inner)}), so they seem to be parts and not"
        f" labels. If they are parts, call them train and test, or name one of them ({source}/{first}); if {first} and"
        f" {second} are the labels, put their photos directly into them."
    )


def _without_labels(level: Level, source: str) -> DataError:
    held = f"{_photos(level.photos)} and " if level.photos else ""
    return DataError(f"{source} holds {held}no sub-folders, so there are no labels: {_looks(source)}.")


def _looks(source: str) -> str:
    return (
        f"put the photos of each label into a folder of its own, such as {source}/handbags/ and {source}/shoes/, or"
        " name a table of paths and labels (.csv, .jsonl, .parquet)"
    )


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _and(words: Sequence[str]) -> str:
    shown = [*words[:MOST_NAMED], *([f"{len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else [])]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
