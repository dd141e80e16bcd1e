"""Which photos of the folder have a label, and that the folder of labelled photos says the same.

The photo library of the model is the truth: a label is given by putting a link to the photo into it, so that all that
the library promises holds here, too. Which of its photos are the folder's is told by the files themselves (a hard link
has the same inode), and where they are copies by their bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from handful.service.artifact.atomic import PRIVATE_FOLDER, locked, partial_folder, sync_file
from handful.service.artifact.errors import HandfulError, ImageTooManyBytes, ImageUnreadable
from handful.service.artifact.folder import file_sha256
from handful.service.labelling.folder import LabelledFolder, text_of
from handful.service.labelling.pool import PhotoPool, PoolPhoto
from handful.service.library.contents import Contents
from handful.service.library.labels import check_new_label, suffix_of
from handful.service.library.library import NewPhoto, PhotoLibrary
from handful.service.library.photo_names import sent_name
from handful.service.library.uploads import HEAD_BYTES, RefusedPhoto

HIDDEN, LOCK = "labelling", "lock"  # in the library's hidden folder


Stamp = tuple[tuple[str, int], ...]


@dataclass
class Labelling:
    """Of one folder, for one model. Every method reads or writes the disk."""

    pool: PhotoPool
    out: LabelledFolder | None
    library: PhotoLibrary
    written: Stamp | None = None  # that of the library when it was last read; None: not opened
    _labels: dict[str, str] = field(default_factory=dict)  # of photos of the pool, by id, as last written
    _contents: Contents = field(init=False)  # of the pool's files; the library's own forgets what is not in it

    def __post_init__(self) -> None:
        self._contents = Contents(self.library.hidden / HIDDEN)

    def open(self) -> list[PoolPhoto]:
        """The photos without a label, listed anew. At first, what the folder of labelled photos holds is labelled."""
        self.pool.look()
        with self._locked():
            if self.written is None:  # later, what the library lacks was taken back
                self._take_over()
            self._write()
        return self.waiting()

    def waiting(self) -> list[PoolPhoto]:
        """Those without a label."""
        return [photo for photo in self.pool.photos().values() if photo.id not in self._labels]

    def write(self) -> None:
        """Brings the folder of labelled photos up to date with the library."""
        with self._locked():
            self._write()

    @property
    def stamp(self) -> Stamp:
        """Changes when a photo comes into the library, goes, or moves."""
        with suppress(OSError):
            return tuple((label, folder.stat().st_mtime_ns) for label, folder in self.library.folders.all().items())
        return ()

    def parts(self, ids: Iterable[str], folder: Path, most_bytes: int) -> list[NewPhoto | RefusedPhoto]:
        """The photos as a library takes them, by hidden links in `folder`. Raises `NoSuchPhoto`."""
        photos = [self.pool.find(each) for each in ids]
        return [_part(photo, folder / str(place), most_bytes) for place, photo in enumerate(photos)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.library.create()
        folder = self.library.hidden / HIDDEN
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        with locked(folder / LOCK):
            yield

    def _write(self) -> None:
        stamp = self.stamp
        labels, photos = self._found(), self.pool.photos()
        if self.out:
            gone = [photos[each].path for each in self._labels.keys() - labels.keys() if each in photos]
            new = {photos[each].path: label for each, label in labels.items() if self._labels.get(each) != label}
            if new or gone:
                self.out.write(new, gone)
        self._labels, self.written = labels, stamp

    def _found(self) -> dict[str, str]:
        """Id -> label, of the photos of the pool that the library has."""
        kept = self.library.photos()
        of_file, of_content = {photo.key: photo for photo in kept}, {photo.id: photo for photo in kept}
        sizes, pool = {photo.size_bytes for photo in kept}, self.pool.photos().values()
        unsure = [photo for photo in pool if photo.key not in of_file and photo.size_bytes in sizes]
        contents = self._contents.identify([(str(photo.path), photo.key) for photo in unsure]) if unsure else {}
        found = {}
        for photo in pool:
            same = of_file.get(photo.key) or of_content.get(contents.get(photo.key, ""))
            if same:
                found[photo.id] = same.label
        return found

    def _take_over(self) -> None:
        """Puts into the library what an earlier labelling, perhaps for another model, has written and it lacks."""
        if not self.out:
            return
        rows, known = self.out.rows(), self._found()
        for photo in self.pool.photos().values():
            row = rows.get(text_of(photo.path))
            if row and photo.id not in known and self.out.holds(row, photo.path):
                with suppress(HandfulError), partial_folder(self.library.hidden) as folder:
                    part = _part(photo, folder / "photo", self.library.most_bytes)
                    if isinstance(part, NewPhoto):
                        self.library.add([part], check_new_label(row.label))


def _part(photo: PoolPhoto, part: Path, most_bytes: int) -> NewPhoto | RefusedPhoto:
    name = sent_name(photo.path.name)
    if photo.size_bytes > most_bytes:
        too_large = f"The image has {photo.size_bytes / 1e6:.1f} MB; at most {most_bytes / 1e6:g} MB are allowed."
        return RefusedPhoto(name, ImageTooManyBytes(too_large))
    try:
        _link(photo.path.resolve(), part)
        with part.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return NewPhoto(part, name, file_sha256(part), suffix_of(head))
    except OSError as e:
        return RefusedPhoto(name, ImageUnreadable(f"The file cannot be opened: {e.strerror or e}."))


def _link(path: Path, part: Path) -> None:
    try:
        part.hardlink_to(path)
    except OSError:  # on another disk, or somebody else's
        shutil.copyfile(path, part)
        sync_file(part)
