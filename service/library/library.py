"""The labelled photos of one model, as files that a person can look at and that `handful train` can be pointed at.

HANDFUL_HOME/photos/NAME/LABEL/...               the originals, under the names that they were sent with
HANDFUL_HOME/photos/NAME/.library/lock           held during every change: tabs and workers share the library
HANDFUL_HOME/photos/NAME/.library/contents.*     which file has which content (`contents.py`)
HANDFUL_HOME/photos/NAME/.library/thumbnails/    a small JPEG per content
HANDFUL_HOME/photos/NAME/.library/problems.json  what the last learning found wrong (`problems.py`)

The files are the truth: what a person puts there or takes away by hand is seen at the next look. A photo is its
content; its id is the sha256. What comes in is written and synced under a hidden name and then renamed, so that a kill
at any instant leaves whole photos only.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from handful.service.artifact.atomic import PRIVATE_FOLDER, locked, move_unless_taken, sweep, sync_folder
from handful.service.artifact.image_files import entries
from handful.service.artifact.sources.folders import LIBRARY_MARK
from handful.service.artifact.trash import Trash, Trashed
from handful.service.http.errors import LabelWrong
from handful.service.http.filenames import casefolded, quoted
from handful.service.http.library_errors import LibraryFull, NoSuchLabel, NoSuchPhoto
from handful.service.library.contents import Contents
from handful.service.library.labels import LabelFolders, check_new_label
from handful.service.library.listing import LibraryPhoto, file_at, labelled_files, library_photo
from handful.service.library.photo_names import free_name, photo_name

HIDDEN, LOCK = LIBRARY_MARK, "lock"
MOST_LABELS = 1000


@dataclass(frozen=True)
class NewPhoto:
    """A whole photo that waits under a hidden name, on the library's own disk."""

    part: Path
    sent_name: str
    id: str
    suffix: str  # of its content


@dataclass(frozen=True)
class Kept:
    """What became of a new photo: where it lies, and whether it lay there before."""

    photo: LibraryPhoto
    same: bool


class PhotoLibrary:
    """Every method reads or writes the disk, so none may be called in the event loop. Each may raise OSError."""

    def __init__(self, root: Path, most_bytes: int, most_photos: int) -> None:
        self.root, self.hidden = root, root / HIDDEN
        self.most_bytes, self.most_photos = most_bytes, most_photos
        self.folders, self.contents = LabelFolders(root), Contents(self.hidden)
        self.trash, self.swept = Trash(root.parent.parent), 0.0  # when thumbnails of photos that are gone were removed

    def create(self) -> None:
        """The hidden folder. Raises FileNotFoundError where the library went elsewhere: it is not begun anew there."""
        self.hidden.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One process or thread at a time changes the library."""
        self.create()
        with locked(self.hidden / LOCK):
            yield

    def photos(self) -> list[LibraryPhoto]:
        """All of them, newest first. What was put there by hand is read once."""
        files = list(labelled_files(self.folders.all()))
        if files:
            self.create()
        ids = self.contents.identify([(file.location, file.key) for file in files])
        found = [library_photo(file, ids[file.key]) for file in files if file.key in ids]
        return sorted(found, key=lambda photo: (-photo.added_at.timestamp(), photo.place))

    def labels(self) -> list[str]:
        """Those without photos included."""
        return list(self.folders.all())

    def find(self, photo_id: str) -> LibraryPhoto:
        """Raises `NoSuchPhoto`."""
        found = next((photo for photo in self.photos() if photo.id == photo_id), None)
        if found is None:
            raise NoSuchPhoto("There is no such photo in the library, perhaps no longer.")
        return found

    def add_label(self, label: str) -> str:
        """Makes a label without photos. Raises `LabelWrong`."""
        label = check_new_label(label)
        with self.changing():
            self.label_folder(label)
        return label

    def label_folder(self, label: str) -> Path:
        """The label's folder, made if need be. Only while `changing`. Raises `LabelWrong` or `LibraryFull`."""
        self.folders.check_spelling(label)
        folders = self.folders.all()
        if label not in folders and len(folders) >= MOST_LABELS:
            raise LibraryFull(f"The library has {MOST_LABELS} labels, which is its limit.")
        folder = folders.get(label, self.root / label)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        return folder

    def add(self, new: Sequence[NewPhoto], label: str, *, move: bool = False) -> list[Kept | LibraryFull]:
        """Puts each under the label, unless its content is in the library already, and says what became of each.

        With `move`, one that is there under another label moves to this one. Raises `LabelWrong`.
        """
        sizes = [each.part.stat().st_size for each in new]  # raises if the library is gone
        with self.changing():
            sweep(self.hidden)
            known = {photo.id: photo for photo in self.photos()}
            if not move and all(each.id in known for each in new):
                return [Kept(known[each.id], same=True) for each in new]  # no label is made for nothing
            used = sum(photo.size_bytes for photo in known.values())
            folder = self.label_folder(label)
            taken = _taken(folder)
            results: list[Kept | LibraryFull] = []
            for each, size in zip(new, sizes, strict=True):
                if before := known.get(each.id):
                    if move and before.label != label:
                        _into(folder, before.path, before.name, taken)
                    results.append(Kept(before, same=True))
                elif error := self._full(len(known), used + size):
                    results.append(error)
                else:
                    path = _into(folder, each.part, photo_name(each.sent_name, each.id, each.suffix), taken)
                    photo = known[each.id] = library_photo(file_at(path, label), each.id)
                    results.append(Kept(photo, same=False))
                    used += size
            sync_folder(folder)
            added = [result.photo for result in results if isinstance(result, Kept) and not result.same]
            self.contents.remember((photo.key, photo.id) for photo in added)
        return results

    def move(self, ids: Collection[str], label: str) -> tuple[int, Trashed]:
        """How many moved to the label. Raises `NoSuchPhoto` if none is there, and `LabelWrong`."""
        label = check_new_label(label)
        with self.changing():
            chosen = self._chosen(ids)
            folder = self.label_folder(label)
            taken, pairs = _taken(folder), []
            there = {photo.id: photo for photo in chosen if photo.path.parent == folder}
            for photo in (each for each in chosen if each.path.parent != folder):
                if photo.id in there and filecmp.cmp(photo.path, there[photo.id].path, shallow=False):
                    photo.path.unlink()  # the label has it already
                    continue
                target = folder / free_name(photo.name, taken)
                taken.add(casefolded(target.name))
                pairs.append((photo.path, target))
                there[photo.id] = photo
            return len(pairs), self.trash.move(pairs, f"{_count(len(pairs))} back under the former label.")

    def delete(self, ids: Collection[str]) -> tuple[int, Trashed]:
        """How many were deleted. Raises `NoSuchPhoto` if none is there."""
        with self.changing():
            chosen = self._chosen(ids)
            trashed = self.trash.put(
                [photo.path for photo in chosen], f"{_count(len(chosen))} back in the library.", merge=True
            )
            return len({photo.id for photo in chosen}), trashed

    def rename_label(self, former: str, label: str) -> tuple[int, bool]:
        """How many photos the label had, and whether they joined another's. Raises `NoSuchLabel` or `LabelWrong`."""
        label = check_new_label(label)
        with self.changing():
            folder = self._existing(former)
            files = entries(folder)
            target = self.folders.all().get(label)
            if target == folder:
                return len(files), False
            if target is None:
                if casefolded(label) != casefolded(former):
                    self.folders.check_spelling(label)
                folder.rename(self.root / label)
                sync_folder(self.root)
                return len(files), False
            self._merge(files, target)
            with suppress(OSError):
                folder.rmdir()
            return len(files), True

    def delete_label(self, label: str) -> Trashed:
        """With its photos. Raises `NoSuchLabel`."""
        with self.changing():
            folder = self._existing(label)
            return self.trash.put([folder], f"The label {label} is back with its photos.", merge=True)

    def _existing(self, label: str) -> Path:
        folder = self.folders.all().get(label)
        if folder is None:
            raise NoSuchLabel(f"The library has no label {quoted(label)}.")
        if folder.is_symlink():
            raise LabelWrong(f"The label {quoted(label)} is a link to another folder; change it there.")
        return folder

    def _merge(self, files: Iterable[os.DirEntry[str]], target: Path) -> None:
        taken = _taken(target)
        for file in files:
            if file.is_dir(follow_symlinks=False):
                Path(file.path).rename(target / free_name(file.name, taken))
            else:
                _into(target, Path(file.path), file.name, taken)
        sync_folder(target)

    def _chosen(self, ids: Collection[str]) -> list[LibraryPhoto]:
        wanted = set(ids)
        chosen = [photo for photo in self.photos() if photo.id in wanted]
        if not chosen:
            raise NoSuchPhoto("None of these photos is in the library, perhaps no longer.")
        return chosen

    def _full(self, photos: int, size_bytes: int) -> LibraryFull | None:
        if photos >= self.most_photos:
            return LibraryFull(f"The library holds {photos} photos, and {self.most_photos} is its limit.")
        if size_bytes > self.most_bytes:
            return LibraryFull(f"With this photo the library would exceed its limit of {self.most_bytes / 1e6:g} MB.")
        return None


def _into(folder: Path, path: Path, wanted: str, taken: set[str]) -> Path:
    """Moves the file into the folder, under a free name; `taken` grows by it. Returns where it lies now."""
    while True:
        target = folder / free_name(wanted, taken)
        taken.add(casefolded(target.name))
        if move_unless_taken(path, target):  # an undo may have brought back a photo of this name meanwhile
            return target


def _taken(folder: Path) -> set[str]:
    return {casefolded(path.name) for path in folder.iterdir()}


def _count(photos: int) -> str:
    return "1 photo is" if photos == 1 else f"{photos} photos are"
