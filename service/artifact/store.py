"""Artifacts on disk: one folder a version, immutable, published by one rename; one champion pointer a name.

HANDFUL_HOME/models/NAME/VERSION/      an artifact
HANDFUL_HOME/models/NAME/champion      the version being served, replaced atomically
HANDFUL_HOME/cache/                    embeddings
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from service.artifact.errors import ModelNotFound, UsageError
from service.artifact.folder import open_artifact

CHAMPION = "champion"
PARTIAL = ".partial-"
PARTIAL_KEPT_SECONDS = 24 * 3600  # a folder that a killed command left behind

_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")


def home() -> Path:
    """`HANDFUL_HOME`, else the platform's user data folder."""
    given = os.environ.get("HANDFUL_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("handful", appauthor=False))


def check_name(name: str) -> str:
    """The name itself, where it can be a folder's name on every platform."""
    if not _NAME.fullmatch(name) or name.endswith((" ", ".")):
        raise UsageError(
            f"{name!r} cannot be a model's name; 1 to 100 letters, digits, spaces and . _ + - are allowed,"
            " the first a letter or a digit."
        )
    return name


def name_from_folder(folder: Path) -> str:
    """A model's name for a folder of photos: its own, with what is not allowed left out."""
    kept = re.sub(r"[^\w .+-]+", "-", folder.resolve().name)
    kept = re.sub(r"^[\W_]+", "", kept)[:100].rstrip(" .")
    return kept or "model"


class Store:
    """All names and versions under one home."""

    def __init__(self, root: Path | None = None) -> None:
        self.models = (root or home()) / "models"

    def names(self) -> list[str]:
        if not self.models.is_dir():
            return []
        return sorted(p.name for p in self.models.iterdir() if self._versions(p))

    def versions(self, name: str) -> list[str]:
        """Oldest first."""
        return self._versions(self.models / check_name(name))

    def _versions(self, folder: Path) -> list[str]:
        if not folder.is_dir():
            return []
        return sorted((p.name for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()), key=int)

    def champion(self, name: str) -> str | None:
        try:
            version = (self.models / check_name(name) / CHAMPION).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        return version or None

    def promote(self, name: str, version: str) -> None:
        """Makes the version the champion, after reading it whole; one atomic replacement."""
        open_artifact(self.path(name, version))
        _replace_text(self.models / name / CHAMPION, version + "\n")

    def path(self, name: str, version: str) -> Path:
        path = self.models / check_name(name) / version
        if not version.isdecimal() or not path.is_dir():
            known = ", ".join(self.versions(name)) or "none"
            raise ModelNotFound(f"There is no model {name}:{version}; versions of {name}: {known}.")
        return path

    def resolve(self, model: str | None = None) -> Path:
        """`NAME:VERSION`, `NAME` (its champion) or None (the only name there is) -> the artifact's folder."""
        name, _, version = (model or self._only_name()).partition(":")
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet: run `handful train FOLDER`"
            raise ModelNotFound(f"There is no model named {name!r}; models here: {known}.")
        version = version or self.champion(name) or self.versions(name)[-1]
        return self.path(name, version)

    def _only_name(self) -> str:
        names = self.names()
        if len(names) == 1:
            return names[0]
        if not names:
            raise ModelNotFound("There is no model yet; `handful train FOLDER` makes one.")
        raise UsageError(f"Which model? Say --model NAME; models here: {', '.join(names)}.")

    def publish(self, name: str, write: Callable[[Path, str], None]) -> Path:
        """Calls `write(folder, version)` on a hidden folder, then makes it visible by one rename.

        The first version of a name becomes its champion. Killed at any instant, this leaves
        either nothing that counts or the whole version.
        """
        folder = self.models / check_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with _partial(folder) as partial:
            while True:
                version = str(max(map(int, self.versions(name)), default=0) + 1)
                write(partial, version)
                _sync(partial)
                if _renamed(partial, folder / version):
                    break
        if self.champion(name) is None:
            _replace_text(folder / CHAMPION, version + "\n")
        return folder / version


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    partial = Path(tempfile.mkdtemp(prefix=f"{_mine()}{os.getpid()}-", dir=folder))
    partial.chmod(0o755)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _renamed(partial: Path, target: Path) -> bool:
    """False where another process has just published the same number."""
    try:
        partial.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    _sync_folder(target.parent)
    return True


def _sweep(folder: Path) -> None:
    """Removes what killed commands left: those of this machine at once, others' after a day."""
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if _is_dead(left.name) or time.time() - left.stat().st_mtime > PARTIAL_KEPT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _mine() -> str:
    return f"{PARTIAL}{re.sub(r'[^0-9A-Za-z.]', '', platform.node())}-"


def _is_dead(name: str) -> bool:
    """Whether the name is that of a process of this machine that has ended."""
    process = name.removeprefix(_mine()).partition("-")[0]
    if os.name == "nt" or not name.startswith(_mine()) or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's, and alive
    return False


def _replace_text(path: Path, text: str) -> None:
    handle, part = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(part).chmod(0o644)
    Path(part).replace(path)
    _sync_folder(path.parent)


def _sync(folder: Path) -> None:
    """Bytes reach the disk before the name does."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
