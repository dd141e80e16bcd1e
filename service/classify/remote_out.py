"""A result at an address: written here first, beside its journal, then delivered whole."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from handful.service.artifact.atomic import private_folder
from handful.service.artifact.errors import StoreError, UsageError
from handful.service.artifact.remote import WEB, filesystem, is_url, upload
from handful.service.artifact.store import home


def local_out(target: str | None) -> Path | None:
    """Where the file is written on this machine; the same for the same address, so that a run can be continued.

    `UsageError` for an address that cannot be written.
    """
    if target is None or not is_url(target):
        return None if target is None else Path(target.removeprefix("file://"))
    if target.partition("://")[0] in WEB:
        raise UsageError(f"--out {target} cannot be written; a file, or one at s3://, gs://, az:// or hf://, can.")
    filesystem(target)
    name = hashlib.sha256(target.encode()).hexdigest()[:16]
    return private_folder(home() / "cache" / "out" / name) / PurePosixPath(target).name


def deliver(out: Path | None, target: str | None) -> None:
    """Brings a finished file to its address. Raises `StoreError` that says where it is kept if that fails."""
    if out is None or target is None or not is_url(target):
        return
    try:
        upload(out, target)
    except StoreError as e:
        raise StoreError(f"{str(e).rstrip('.')}; the finished file is kept as {out}: bring it there.") from e
    out.unlink()
