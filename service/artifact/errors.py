"""Everything that can go wrong, as one tree.

    HandfulError
    ├── UsageError
    ├── ImageError
    │   ├── NotAnImage
    │   ├── ImageUnreadable
    │   ├── ImageTruncated
    │   ├── ImageTooManyBytes
    │   ├── ImageTooManyPixels
    │   └── ImageTooComplex
    ├── NothingToUndo
    ├── UndoTaken
    ├── DataError
    ├── StoreError
    │   └── StoreFileMissing
    ├── BackboneError
    │   ├── BackboneNotFound
    │   └── BackboneUnsupported
    ├── HubError
    │   ├── HubNotFound
    │   │   └── HubFileMissing
    │   ├── HubRefused
    │   ├── HubUnreachable
    │   ├── HubOffline
    │   ├── HubCorrupt
    │   └── NoSpaceLeft
    └── ArtifactError
        ├── ArtifactIncomplete
        ├── ArtifactVersionUnknown
        ├── ArtifactInconsistent
        └── ModelNotFound

The errors of requests over HTTP are in `http/errors.py`.
"""

from __future__ import annotations

import re
from typing import ClassVar


class HandfulError(Exception):
    """The root. Its text is one sentence: what was found and what is allowed.

    `code` names the error in answers over HTTP and in rows of a result: the class name in snake case.
    """

    code: ClassVar[str] = "handful_error"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = re.sub(r"(?<=.)(?=[A-Z])", "_", cls.__name__).lower()


class UsageError(HandfulError):
    """A flag, name or setting is not allowed."""


class ImageError(HandfulError):
    """One image cannot be used; the others of its batch are not affected."""


class NotAnImage(ImageError):
    """The bytes are of no supported image format."""


class ImageUnreadable(ImageError):
    """The image is damaged or of a rare kind, or its file cannot be opened."""


class ImageTruncated(ImageError):
    """The image ends too early."""


class ImageTooManyBytes(ImageError):
    """The encoded image is larger than the limit."""


class ImageTooManyPixels(ImageError):
    """The image has more pixels than the limit."""


class ImageTooComplex(ImageError):
    """Decoding the image would take more time or memory than the limit."""


class NothingToUndo(HandfulError):
    """What was deleted is back already, or was erased."""


class UndoTaken(HandfulError):
    """Something else lies where the deleted thing would come back."""


class DataError(HandfulError):
    """Nothing can be learned from these photos."""


class StoreError(HandfulError):
    """A store at an address did not deliver something, or did not accept it."""


class StoreFileMissing(StoreError):
    """The store has no such file."""


class BackboneError(HandfulError):
    """A pretrained network cannot be used."""


class BackboneNotFound(BackboneError):
    """There is no such folder, or it lacks the configuration or the weights."""


class BackboneUnsupported(BackboneError):
    """timm cannot build this network without its last layer."""


class HubError(HandfulError):
    """The Hugging Face Hub did not deliver something, or did not accept it."""


class HubNotFound(HubError):
    """The Hub has no such repository or revision."""


class HubFileMissing(HubNotFound):
    """The repository has no such file."""


class HubRefused(HubError):
    """The Hub asks for a token, or does not accept this one."""


class HubUnreachable(HubError):
    """The Hub could not be reached, or the connection broke."""


class HubOffline(HubError):
    """Offline mode is on, and the cache does not hold what is needed."""


class HubCorrupt(HubError):
    """The bytes differ from those that the Hub announced."""


class NoSpaceLeft(HubError):
    """The disk with the Hub's cache is full."""


class ArtifactError(HandfulError):
    """An exported model cannot be used."""


class ArtifactIncomplete(ArtifactError):
    """A file of the artifact is missing."""


class ArtifactVersionUnknown(ArtifactError):
    """The artifact has a format version that this release does not read."""


class ArtifactInconsistent(ArtifactError):
    """Parts of the artifact contradict each other."""


class ModelNotFound(ArtifactError):
    """The store has no such name or version."""
