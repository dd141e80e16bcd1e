"""One model in a store at an address: versions that never change, and one small pointer to the champion.

URL/champion.json                        which version is the champion, with the sha256 of its version.json
URL/versions/NUMBER-DIGEST/              a version; DIGEST: the first 16 digits of that sha256
URL/versions/NUMBER-DIGEST/version.json  sha256 and size of every other file there; written last
URL/versions/NUMBER-DIGEST/card.json ...

A store shows an object when it is whole, so a reader sees the old pointer or the new one, and the pointer only ever
names a version that is whole. Each hash leads to the next: from the pointer to version.json, from there to every file.
What is read is data: JSON, tensors without pickle, an ONNX graph where torch is not installed. Nothing in it is
executed, and no report is taken.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from handful.service.artifact.card import Sha256
from handful.service.artifact.checks import MAX_TENSOR_BYTES, MAX_TEXT_BYTES
from handful.service.artifact.errors import ArtifactInconsistent, StoreFileMissing, UsageError
from handful.service.artifact.folder import CARD, CONFIG, EMBEDDINGS, ONNX, THUMBNAILS, WEIGHTS, file_sha256
from handful.service.artifact.remote import WEB, check_model_url, fetched, filesystem, listed, tried, upload_bytes
from pydantic import BaseModel, ConfigDict, Field, ValidationError

POINTER, VERSION, VERSIONS = "champion.json", "version.json", "versions"
FILES = (CARD, CONFIG, WEIGHTS, EMBEDDINGS)
TEXTS = (CARD, CONFIG)
MAX_POINTER_BYTES = 100_000
FOLDER = r"[1-9][0-9]{0,17}-[0-9a-f]{16}"
B = TypeVar("B", bound=BaseModel)


class _Stored(BaseModel):
    """A later release may add fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: Literal[1] = 1


class StoredPointer(_Stored):
    """champion.json"""

    version: Annotated[str, Field(pattern=f"^{FOLDER}$", description="its folder")]
    sha256: Sha256 = Field(description="of its version.json")
    promoted_at: datetime


class StoredFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    sha256: Sha256
    bytes: int = Field(ge=0, le=MAX_TENSOR_BYTES)


class StoredVersion(_Stored):
    """version.json"""

    model: str = Field(description="NAME:VERSION where it was made")
    created_at: datetime
    embeddings: bool = Field(description="whether it can be retrained")
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class StoredRef:
    """One version there: its folder, and at least the first 16 digits of the sha256 of its version.json."""

    folder: str
    digest: str

    @property
    def number(self) -> int:
        return int(self.folder.partition("-")[0])


class RemoteModel:
    """The model at one address."""

    def __init__(self, url: str, *, hasty: bool = False) -> None:
        """`UsageError` for an address that names no model, or whose package is not installed.

        `hasty` tries what fails again after shorter pauses, and gives up sooner.
        """
        self.name, self.url, self.hasty = check_model_url(url), url.rstrip("/"), hasty
        filesystem(self.url, hasty=hasty)

    def __repr__(self) -> str:
        return self.url

    def address(self, *parts: str) -> str:
        return "/".join((self.url, *parts))

    def champion(self) -> StoredRef | None:
        """None where no version has been pushed yet. Raises `StoreError` or `ArtifactInconsistent`."""
        url = self.address(POINTER)
        try:
            data = self._small(url)
        except StoreFileMissing:
            return None
        pointer = _parsed(StoredPointer, data, url)
        return StoredRef(pointer.version, pointer.sha256)

    def point(self, ref: StoredRef, digest: str) -> None:
        """Makes the version the champion there, by one replacement. `digest` is the whole sha256."""
        pointer = StoredPointer(version=ref.folder, sha256=digest, promoted_at=datetime.now(UTC))
        upload_bytes(f"{pointer.model_dump_json(indent=2)}\n".encode(), self.address(POINTER))

    def versions(self) -> list[StoredRef]:
        """Those that are whole, oldest number first. Raises `StoreError`, and `UsageError` on the web."""
        if self.url.partition("://")[0] in WEB:
            raise UsageError(f"{self.url} cannot be listed: the web has no folders; only its champion can be pulled.")
        try:
            found = listed(self.address(VERSIONS), anew=True)
        except StoreFileMissing:  # as some stores say of a folder in which nothing is yet
            return []
        folders = {
            match[1] for url in found if (match := re.search(rf"/{VERSIONS}/({FOLDER})/{re.escape(VERSION)}$", url))
        }
        refs = [StoredRef(folder, folder.partition("-")[2]) for folder in folders]
        return sorted(refs, key=lambda ref: (ref.number, ref.folder))

    def version(self, number: str) -> StoredRef:
        """The version with this number, or in the folder of this name. Raises `UsageError` where there is not one."""
        refs = self.versions()
        found = [ref for ref in refs if number in {ref.folder, str(ref.number)}]
        if len(found) != 1:
            known = ", ".join(ref.folder for ref in refs) or "none"
            raise UsageError(f"{self.url} has no single version {number!r}; versions there: {known}.")
        return found[0]

    def contents(self, ref: StoredRef) -> tuple[StoredVersion, str]:
        """What the version holds, and the whole sha256 that identifies it."""
        url = self.address(VERSIONS, ref.folder, VERSION)
        data = self._small(url)
        digest = hashlib.sha256(data).hexdigest()
        if not digest.startswith(ref.digest):
            raise ArtifactInconsistent(f"{url} has sha256 {digest[:16]}…, expected was {ref.digest[:16]}….")
        stored = _parsed(StoredVersion, data, url)
        if missing := [file for file in FILES if file not in stored.files]:
            raise ArtifactInconsistent(f"{url} names no {missing[0]}; a whole model is expected.")
        return stored, digest

    def download(self, ref: StoredRef, folder: Path, *, onnx: bool) -> str:
        """Brings the version's files into the folder, each compared with its sha256; returns what identifies it.

        Raises `StoreError` or `ArtifactInconsistent`.
        """
        stored, digest = self.contents(ref)
        optional = (THUMBNAILS, ONNX) if onnx else (THUMBNAILS,)
        files = (*FILES, *(each for each in optional if each in stored.files))
        with ThreadPoolExecutor(len(files), "download") as pool:
            loads = [pool.submit(self._download, ref, folder / file, stored.files[file]) for file in files]
        for each in loads:
            each.result()
        return digest

    def _download(self, ref: StoredRef, path: Path, announced: StoredFile) -> None:
        from fsspec.callbacks import Callback  # type: ignore[import-untyped]  # it ships no types

        url = self.address(VERSIONS, ref.folder, path.name)
        most = min(MAX_TEXT_BYTES if path.name in TEXTS else MAX_TENSOR_BYTES, announced.bytes)
        store = filesystem(url, hasty=self.hasty)

        def check(size: int, value: int, **_: object) -> None:
            """Called with the announced size and with what has arrived, so that nothing larger fills the disk."""
            if max(size, value) > most:
                raise ArtifactInconsistent(f"{url} has {max(size, value)} bytes; {most} are allowed.")

        def get() -> None:
            check(announced.bytes, 0)
            store.get_file(url, str(path), callback=Callback(hooks={"check": check}))
            if file_sha256(path) != announced.sha256:
                raise OSError("what arrived has another sha256 than was announced")

        tried(get, url)

    def _small(self, url: str) -> bytes:
        data = fetched(url, MAX_POINTER_BYTES + 1, hasty=self.hasty)
        if len(data) > MAX_POINTER_BYTES:
            raise ArtifactInconsistent(f"{url} has more than {MAX_POINTER_BYTES} bytes.")
        return data


def _parsed(kind: type[B], data: bytes, url: str) -> B:
    try:
        return kind.model_validate_json(data)
    except ValidationError as e:
        error = e.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise ArtifactInconsistent(f"{url} is not what handful writes there ({where}: {error['msg']}).") from e
