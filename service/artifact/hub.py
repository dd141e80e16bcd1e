"""The only place that talks to the Hugging Face Hub: files pinned to a commit, failures turned into `HubError`s.

huggingface_hub does the work and reads its environment: nothing here reads or sets `HF_...`. This module adds three
things: it compares the bytes with the sha256 that the Hub announced (huggingface_hub only compares sizes), removes a
file that differs from the cache, and translates what huggingface_hub raises. Within one run huggingface_hub resumes a
broken download; the next run starts it again.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handful.service.artifact import errors as ours
from handful.service.artifact.folder import file_sha256
from huggingface_hub import (
    HfApi,
    constants,
    errors,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # that of httpx or httpx2, whichever it uses

log = logging.getLogger(__name__)

REPO = r"(?![^@]*(--|\.\.|\.git(@|$)))(?P<repo>\b[\w.-]+\b/\b[\w.-]{1,96}\b)"
REF = re.compile(REPO + r"(@(?P<revision>\b(?!.*\.\.)[\w./-]+))?", re.ASCII)
ANY_SIZE = 1 << 62
SHA256 = re.compile(r"[0-9a-f]{64}")
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# of httpx and the Hub's answers, which inherit from it; of the disk and hf_xet; of a wrong proxy setting
FAILURES = (HTTPError, OSError, RuntimeError, ValueError, ImportError)


@dataclass(frozen=True)
class HubRef:
    """A repository as it was named. Error messages suggest the caller's `ways_out`."""

    text: str
    repo: str
    revision: str
    ways_out: tuple[str, ...] = ()
    kind: Literal["model", "dataset"] = "model"


def parse_ref(text: str, ways_out: tuple[str, ...] = ()) -> HubRef | None:
    """Parses `ORG/NAME[@REVISION]`; None for anything else."""
    match = REF.fullmatch(text)
    if match is None:
        return None
    return HubRef(text, match["repo"], match["revision"] or constants.DEFAULT_REVISION, ways_out)


def pinned_file(ref: HubRef, file: str, max_bytes: int = ANY_SIZE) -> Path:
    """The file in the cache, in the folder of the commit that the revision names now.

    Raises `HubError` for a larger file, before it is downloaded.

    A commit in the cache needs no network. If the Hub cannot be reached, the commit that the revision named last is
    used, with a warning.
    """
    entry = try_to_load_from_cache(ref.repo, file, revision=ref.revision, repo_type=ref.kind)
    cached = Path(entry) if isinstance(entry, str) else None
    if cached and cached.parent.name == ref.revision:
        return cached
    try:
        with reading(ref, file):
            # first, because it fails at once, while hf_hub_download would retry for half a minute
            _check_announced(ref, file, ref.revision, max_bytes)
            return Path(hf_hub_download(ref.repo, file, revision=ref.revision, repo_type=ref.kind))
    except (ours.HubUnreachable, ours.HubOffline) as e:
        if cached is None:
            raise
        if isinstance(e, ours.HubUnreachable):
            log.warning("%s; now the cached commit %s is used", e, cached.parent.name)
        return cached


def large_file(ref: HubRef, file: str, commit: str, max_bytes: int = ANY_SIZE) -> Path:
    """The commit's file in the cache. Raises `HubCorrupt` if its bytes are not those that the Hub announced.

    Raises `HubError` for a larger file, before it is downloaded.
    """
    entry = try_to_load_from_cache(ref.repo, file, revision=commit, repo_type=ref.kind)
    if entry is not None and not isinstance(entry, str):  # huggingface_hub's marker: the commit has no such file
        raise ours.HubFileMissing(f"the Hub has the repository of {ref.text!r}, but no {file} in it")
    with reading(ref, file):
        if max_bytes != ANY_SIZE and entry is None:
            _check_announced(ref, file, commit, max_bytes)
        path = Path(hf_hub_download(ref.repo, file, revision=commit, repo_type=ref.kind))
    _verify(ref, path)
    return path


def repo_files(ref: HubRef) -> tuple[str, list[str]]:
    """The commit that the revision names, and its files; from the cache if the Hub cannot be reached."""
    try:
        with reading(ref):
            info = HfApi().repo_info(ref.repo, revision=ref.revision, repo_type=ref.kind)
            return str(info.sha), [each.rfilename for each in getattr(info, "siblings", None) or ()]
    except (ours.HubUnreachable, ours.HubOffline):
        with suppress(*FAILURES):
            folder = Path(snapshot_download(ref.repo, repo_type=ref.kind, revision=ref.revision, local_files_only=True))
            return folder.name, [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        raise


def repo_folder(ref: HubRef, commit: str) -> Path:
    """All files of the commit, in the cache."""
    with reading(ref):
        return Path(snapshot_download(ref.repo, repo_type=ref.kind, revision=commit))


def _check_announced(ref: HubRef, file: str, revision: str, max_bytes: int) -> None:
    size = get_hf_file_metadata(hf_hub_url(ref.repo, file, revision=revision, repo_type=ref.kind)).size
    if size and size > max_bytes:
        raise ours.HubError(
            f"{file} of {ref.text!r} has {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} are allowed"
        )


def _verify(ref: HubRef, path: Path) -> None:
    announced, got = _announced_sha256(ref, path), file_sha256(path)
    if announced in {None, got}:
        return
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink()
    raise ours.HubCorrupt(
        f"{path.name} of {ref.text!r} has the sha256 {got}, the Hub announced {announced}: "
        "it was removed from the cache, and the next run downloads it again"
    )


def _announced_sha256(ref: HubRef, path: Path) -> str | None:
    """The name of the blob in the cache; without symbolic links (on Windows) what the Hub answers, if it does.

    Only one link is followed: behind a second link, blobs that repositories share have other names.
    """
    etag = path.readlink().name if path.is_symlink() else None
    if etag is None:
        with suppress(*FAILURES):
            etag = get_hf_file_metadata(
                hf_hub_url(ref.repo, path.name, revision=path.parent.name, repo_type=ref.kind)
            ).etag
    return etag if etag and SHA256.fullmatch(etag) else None


@contextmanager
def reading(ref: HubRef, file: str = "") -> Iterator[None]:
    """Turns what huggingface_hub raises while the file is read into a `HubError`."""
    try:
        yield
    except FAILURES as e:
        raise _not_read(e, ref, file) from e


@contextmanager
def writing(ref: HubRef) -> Iterator[None]:
    """As `reading`, for calls that change the repository."""
    try:
        yield
    except FAILURES as e:
        raise _not_written(e, ref) from e


def _not_read(error: BaseException, ref: HubRef, file: str) -> ours.HubError:
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        return _not_read(error.__cause__, ref, file)  # not in the cache; the cause says why it was not fetched
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ours.HubOffline(
            f"HF_HUB_OFFLINE is set and {ref.text!r} is not in the cache {constants.HF_HUB_CACHE}: "
            + _either("unset it once", *ref.ways_out)
        )
    if _status(error) in {401, 403, 404}:
        return _refusal(error, ref, file)
    if getattr(error, "errno", None) in DISK_FULL or os.strerror(errno.ENOSPC) in str(error):  # hf_xet: only text
        return ours.NoSpaceLeft(
            f"no space for {ref.text!r} in {constants.HF_HUB_CACHE}: free some, or move it by HF_HOME"
        )
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        return ours.HubError(f"{ref.text!r} cannot be cached ({error}): set HF_HOME to a folder you can write to")
    if type(error) is OSError:  # huggingface_hub's comparison of sizes
        return ours.HubCorrupt(f"{ref.text!r} arrived with a wrong size and was not kept: {brief(error)}")
    return ours.HubUnreachable(
        f"the Hub at {constants.ENDPOINT} did not deliver {ref.text!r} ({_reason(error)}): "
        + _either("try again", "set HF_ENDPOINT to a mirror", *ref.ways_out)
    )


def _refusal(error: BaseException, ref: HubRef, file: str) -> ours.HubError:
    if isinstance(error, errors.RevisionNotFoundError):
        return ours.HubNotFound(f"the Hub has the repository of {ref.text!r}, but not this revision")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return ours.HubFileMissing(f"the Hub has the repository of {ref.text!r}, but no {file} in it")
    hidden = isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError)
    if hidden or _status(error) == 404:
        return ours.HubNotFound(f"the Hub has no repository for {ref.text!r}, or one that HF_TOKEN may not read")
    page = f"{constants.ENDPOINT}/{ref.repo}"
    return ours.HubRefused(f"the Hub refuses {ref.text!r}: accept the terms on {page}, and set HF_TOKEN to your token")


def _not_written(error: BaseException, ref: HubRef) -> ours.HubError:
    if type(error) is RuntimeError and isinstance(error.__cause__, FAILURES):
        return _not_written(error.__cause__, ref)  # about one file; the cause says why
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ours.HubOffline(f"HF_HUB_OFFLINE is set, so nothing can be written to {ref.text!r}: unset it")
    status = _status(error)
    if status in {401, 403} or (isinstance(error, PermissionError) and error.errno is None):  # the latter: hf_xet
        return ours.HubRefused(
            f"the Hub does not let you write to {ref.text!r} ({_reason(error)}): "
            "set HF_TOKEN to a token with the right to write there, or log in by `hf auth login`"
        )
    if status == 404:
        return ours.HubNotFound(
            f"the Hub has no {ref.text!r} that you can write to: name a user or an organisation of HF_TOKEN's owner"
        )
    if status and 400 <= status < 500 and status not in {408, 429}:
        return ours.HubError(f"the Hub does not accept what was to be written to {ref.text!r}: {_reason(error)}")
    return ours.HubUnreachable(
        f"the Hub at {constants.ENDPOINT} did not accept all of {ref.text!r} ({_reason(error)}): "
        "push again when it can be reached, or set HF_ENDPOINT to one that can"
    )


def _status(error: BaseException) -> int | None:
    return int(error.response.status_code) if isinstance(error, errors.HfHubHTTPError) else None


def _reason(error: BaseException) -> str:
    status = _status(error)
    if status is None:
        return brief(error) or type(error).__name__
    message = error.server_message if isinstance(error, errors.HfHubHTTPError) else None
    return f"status {status}" + (f", {textwrap.shorten(message, 200)}" if message else "")


def _either(*ways: str) -> str:
    """`a`; `a or b`; `a, b, or c`."""
    return " or ".join(ways) if len(ways) < 3 else f"{', '.join(ways[:-1])}, or {ways[-1]}"


def brief(error: BaseException) -> str:
    """The beginning of its first lines: torch lists every key that does not fit."""
    lines = [textwrap.shorten(line, 200, placeholder=" ...") for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])
