"""Addresses such as s3://bucket/photo.jpg: listed, read and written through fsspec, tried again where that can help.

Only what a person names is fetched, on the command line, in a table given there or as the store that a service follows;
nothing that a client sends.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from handful.service.artifact.atomic import replacement
from handful.service.artifact.errors import HandfulError, ImageUnreadable, StoreError, StoreFileMissing, UsageError
from handful.service.artifact.names import can_be_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it ships no types

T = TypeVar("T")

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
SCHEMES = (*EXTRAS, "hf", "http", "https", "memory")
WEB = ("http", "https")  # where nothing can be listed
FILE = "file://"
TRIES = 4
FIRST_PAUSE_SECONDS = 0.2  # doubled after each try, and drawn by chance so that many machines do not come back at once
# botocore's own tries come below s3fs's and these: together they take minutes to tell that a store is away
HASTY = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 20}}}
AGAIN = {408, 425, 429}  # statuses below 500 after which another try may help
EMPTY = 416  # the status for a range of an empty file
_URL = re.compile(rf"({'|'.join(SCHEMES)})://.+", re.DOTALL)
_FOR_GOOD = ("Credentials", "credentials", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch")


def is_url(text: str) -> bool:
    """Whether it is an address that is read through fsspec."""
    return _URL.fullmatch(text) is not None


def url_of(path: Path) -> str | None:
    """The address that a path was written as: `Path` makes one slash of two. A dataset of the Hub is none."""
    text = re.sub(r"^(\w+):/+", r"\1://", path.as_posix())
    return text if is_url(text) and not text.startswith("hf://datasets/") else None


def is_model_url(text: str) -> bool:
    """Whether it is the address of a model, which may also lie in a folder that machines share."""
    return is_url(text) or text.startswith(FILE)


def check_model_url(text: str) -> str:
    """The address of a model, which ends in its name; the name. Raises `UsageError`."""
    name = PurePosixPath(urlsplit(text).path if text.startswith(FILE) else text.partition("://")[2]).name
    if not is_model_url(text) or not can_be_name(name) or re.search(r"[?#\s]|/\.\.?(/|$)", text):
        raise UsageError(
            f"{text!r} is not the address of a model; SCHEME://…/NAME is expected, as s3://bucket/models/bags, with"
            f" one of {', '.join((*SCHEMES, 'file'))}."
        )
    if text.startswith(FILE) and not text.startswith(f"{FILE}/"):
        raise UsageError(f"{text!r} names no folder from the root on; file:///FOLDER/NAME, with three slashes, does.")
    return name


class RemoteFile:
    """A file at an address. `start` begins to fetch it, so that it has arrived when it is read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fetched: Future[bytes] | None = None

    def __repr__(self) -> str:
        return self.url

    @property
    def path(self) -> PurePosixPath:
        """Without the scheme, and on the web without what follows a question mark."""
        split = urlsplit(self.url)
        return PurePosixPath(split.path if split.scheme in WEB else self.url.partition("://")[2])

    @property
    def name(self) -> str:
        return self.path.name

    def start(self, pool: Executor, most_bytes: int) -> None:
        self._fetched = pool.submit(self._fetch, most_bytes)

    def read(self, most_bytes: int) -> bytes:
        """Its bytes, or one more than `most_bytes` of a larger one. Raises an `ImageError` where they do not come."""
        if self._fetched is None:
            return self._fetch(most_bytes)
        try:
            return self._fetched.result()
        finally:
            self._fetched = None  # the bytes are not kept

    def _fetch(self, most_bytes: int) -> bytes:
        try:
            return fetched(self.url, most_bytes + 1)
        except (StoreError, UsageError) as e:
            raise ImageUnreadable(str(e)) from e


@cache
def _filesystem(scheme: str, *, hasty: bool = False) -> AbstractFileSystem:
    """One per process: the libraries keep connections, and none survives a fork."""
    import fsspec

    try:
        return fsspec.filesystem(scheme, **(HASTY.get(scheme, {}) if hasty else {}))
    except ImportError as e:
        extra = EXTRAS.get(scheme)
        way = f'`pip install "handful[{extra}]"`' if extra else f"the package that it needs ({e})"
        raise UsageError(f"{scheme}:// addresses need {way}.") from e


def filesystem(url: str, *, hasty: bool = False) -> AbstractFileSystem:
    """`UsageError` where its package is not installed. `hasty` for who asks again soon anyway."""
    return _filesystem(url.partition("://")[0], hasty=hasty)


def fetched(url: str, most_bytes: int | None = None, *, hasty: bool = False) -> bytes:
    """A file's bytes, or as many of them. Raises `StoreError`."""
    store = filesystem(url, hasty=hasty)

    def fetch() -> bytes:
        try:
            data: bytes = store.cat_file(url, start=None if most_bytes is None else 0, end=most_bytes)
        except Exception as e:
            if _status(e) == EMPTY:
                return b""
            raise
        return data

    return tried(fetch, url)


def listed(url: str, *, anew: bool = False) -> list[str]:
    """The addresses of all files below, in the order in which a folder's files are listed. Raises `StoreError`.

    `anew` also shows what was written since this process listed it last.
    """
    scheme, store = url.partition("://")[0], filesystem(url)
    if anew:
        store.invalidate_cache()
    found = tried(lambda: store.find(url), url)
    return [
        f"{scheme}://{path if scheme == 'file' else path.lstrip('/')}"
        for path in sorted(found, key=lambda path: path.split("/"))
    ]


def download(url: str, path: Path) -> None:
    """A file of any size. Raises `StoreError`."""
    store = filesystem(url)
    tried(lambda: store.get_file(url, str(path)), url)


def upload(path: Path, url: str) -> None:
    """Stores make an object visible when it is complete, so it appears whole. Raises `StoreError`."""
    if local := local_path(url):
        tried(lambda: _put_file(path, local), url, "written")
        return
    store = filesystem(url)
    tried(lambda: store.put_file(str(path), url), url, "written")


def upload_bytes(data: bytes, url: str) -> None:
    """As `upload`, of a small file."""
    if local := local_path(url):
        tried(lambda: _put_bytes(data, local), url, "written")
        return
    store = filesystem(url)
    tried(lambda: store.pipe_file(url, data), url, "written")


def local_path(url: str) -> Path | None:
    """The file that a file:// address names; a disk shows a file that is still being written, so it is renamed."""
    return Path(url.removeprefix(FILE)) if url.startswith(FILE) else None


def _put_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacement(target) as part:
        shutil.copyfile(path, part)
        shutil.copymode(path, part)  # what tells of single photos stays its owner's


def _put_bytes(data: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacement(target) as part:
        part.write_bytes(data)
        part.chmod(0o644)


def tried(action: Callable[[], T], url: str, verb: str = "read") -> T:
    """The action's result; where it fails in a way that may pass, it is tried again after a pause."""
    for number in range(TRIES):
        try:
            return action()
        except HandfulError:
            raise
        except Exception as e:  # each store's library raises errors of its own
            if number + 1 == TRIES or not _may_pass(e):
                kind = StoreFileMissing if _is_missing(e) else StoreError
                raise kind(f"{url} cannot be {verb}: {_reason(e)}.") from e
        time.sleep(FIRST_PAUSE_SECONDS * 2**number * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    raise AssertionError  # the last try returns or raises


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | NotImplementedError | IsADirectoryError | TypeError):
        return False
    if status := _status(error):
        return status >= 500 or status in AGAIN
    return not any(word in f"{type(error).__name__} {error}" for word in _FOR_GOOD)


def _status(error: BaseException) -> int | None:
    """The status of an answer over HTTP, which libraries keep in different places."""
    cause: BaseException | None = error
    while cause is not None:
        response: Any = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(cause, "status", None) or getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
        cause = cause.__cause__
    return None


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError) or _status(error) == 404


def _reason(error: BaseException) -> str:
    status = _status(error)
    if _is_missing(error):
        return "it is not there"
    if isinstance(error, PermissionError) or status in {401, 403}:
        return "access is denied (or it is not there, which a store does not tell everybody)"
    text = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return f"{text} (status {status})" if status and str(status) not in text else text


@contextmanager
def fetching(threads: int) -> Iterator[Executor]:
    """Threads that fetch all that they were given, also after the block; but nothing more where it is broken off."""
    pool = ThreadPoolExecutor(threads, "fetch")
    try:
        yield pool
    except BaseException:  # an error, or the end of a generator that nobody asks any more
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown(wait=False)
