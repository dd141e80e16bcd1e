"""Photos that lie in a zip or in a table -> files of this process, removed when it ends.

They lie below HANDFUL_HOME/cache, on a disk and not in memory as /tmp may be; the next run removes what a killed one
left. Each source is unpacked once per process.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from handful.service.artifact.atomic import private_folder, scratch_folder, sweep
from handful.service.artifact.errors import DataError
from handful.service.artifact.image_files import LEFT_BEHIND
from handful.service.artifact.sources.listing import SourceProblem
from handful.service.artifact.store import home

RATIO, RATIO_FROM_BYTES = 100, 1_000_000  # unpacked to packed size; photos reach 1 to 3, uncompressed drawings 50
CHUNK_BYTES = 1 << 16

_unpacked: dict[object, Path] = {}


def unpacked(key: object, fill: Callable[[Path], object]) -> Path:
    """The folder that `fill` has filled for this key, in this process; emptied again where it raises."""
    if key not in _unpacked:
        folder = _new_folder()
        try:
            fill(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _unpacked[key] = folder
    return _unpacked[key]


def _new_folder() -> Path:
    try:
        cache = private_folder(home() / "cache")
        sweep(cache)
        folder = scratch_folder(cache)
    except OSError:  # a read-only home: classifying needs none
        folder = Path(tempfile.mkdtemp(prefix="handful-"))
    weakref.finalize(_Ending, shutil.rmtree, folder, ignore_errors=True)
    return folder


class _Ending:
    """Lives until the interpreter ends."""


def file_key(path: Path) -> tuple[str, int, int]:
    """Differs for a file that was changed."""
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size


def unpack_zip(path: Path, source: str, folder: Path) -> list[SourceProblem]:
    """Unpacks every visible file into `folder`, whatever system packed it; nothing is written outside.

    `DataError` for a zip that is damaged, has a password, or unpacks to far more than photos do.
    """
    problems: list[SourceProblem] = []
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = _inner_path(info)
                if info.is_dir() or name is None or _is_hidden(name):
                    continue
                if info.flag_bits & 1:
                    raise DataError(f"{source} has a password; a zip without one is expected.")
                if _leads_out(name, info) or (folder / name).exists():
                    detail = "It leads out of the zip, is a link, or is there twice; it is left out."
                    problems.append(SourceProblem(str(name), "not_unpacked", detail))
                    continue
                _extract(archive, info, folder / name, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, RuntimeError) as e:
        raise DataError(f"{source} is a damaged or cut-off zip, or one that is packed in a rare way ({e}).") from e
    return problems


def _inner_path(info: zipfile.ZipInfo) -> PurePosixPath | None:
    """With slashes, as PowerShell's zips lack; macOS writes UTF-8 without setting the flag for it."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    path = PurePosixPath(name.replace("\\", "/").replace("\0", ""))
    return path if path.parts else None


def _is_hidden(path: PurePosixPath) -> bool:
    return any((part.startswith(".") and part != "..") or part.lower() in LEFT_BEHIND for part in path.parts)


def _leads_out(path: PurePosixPath, info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or kind not in {0, stat.S_IFREG}


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, source: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    allowed = max(RATIO_FROM_BYTES, RATIO * info.compress_size)
    with archive.open(info) as packed, target.open("xb") as out:
        while chunk := packed.read(CHUNK_BYTES):
            allowed -= len(chunk)
            if allowed < 0:
                raise DataError(
                    f"{source}: {info.filename!r} unpacks to more than {RATIO} times its size, as no photo does."
                )
            out.write(chunk)
