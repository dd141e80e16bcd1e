"""Everything that can go wrong, as one tree.

    HandfulError                      one sentence: what was got, what is allowed
    ├── UsageError                    a flag or a name that cannot be meant
    ├── ImageError                    one image; a batch goes on without it
    │   ├── NotAnImage                bytes of no supported format
    │   ├── ImageUnreadable           a supported format, but damaged, or a file that cannot be opened
    │   ├── ImageTruncated            it ends too early
    │   ├── ImageTooManyBytes
    │   └── ImageTooManyPixels
    ├── DataError                     a folder nothing can be learned from
    ├── BackboneError                 a pretrained network that cannot be had
    │   ├── BackboneNotFound          no such folder, or none of the two files in it
    │   └── BackboneUnsupported       found, but no network timm can build and cut
    ├── HubError                      what the Hub does not give or take
    │   ├── HubNotFound               no such repository or revision
    │   │   └── HubFileMissing        a repository without this file
    │   ├── HubRefused                it wants a token, or refuses this one
    │   ├── HubUnreachable            no connection, or it broke off
    │   ├── HubOffline                offline mode, and nothing in the cache
    │   ├── HubCorrupt                the bytes are not the ones the Hub announced
    │   └── NoSpaceLeft
    └── ArtifactError                 an exported model that cannot be trusted
        ├── ArtifactIncomplete        a file is missing
        ├── ArtifactVersionUnknown    written by another format version
        ├── ArtifactInconsistent      its parts contradict each other
        └── ModelNotFound             no such name or version in the store

`ImageError.code` is the error's name in rows of a batch and in answers over HTTP.
"""

from __future__ import annotations

from typing import ClassVar


class HandfulError(Exception):
    """The root; its text is a sentence that a person can act on."""


class UsageError(HandfulError):
    pass


class ImageError(HandfulError):
    code: ClassVar[str] = "image_unreadable"


class NotAnImage(ImageError):
    code = "not_an_image"


class ImageUnreadable(ImageError):
    code = "image_unreadable"


class ImageTruncated(ImageError):
    code = "image_truncated"


class ImageTooManyBytes(ImageError):
    code = "image_too_many_bytes"


class ImageTooManyPixels(ImageError):
    code = "image_too_many_pixels"


class DataError(HandfulError):
    pass


class BackboneError(HandfulError):
    pass


class BackboneNotFound(BackboneError):
    pass


class BackboneUnsupported(BackboneError):
    pass


class HubError(HandfulError):
    pass


class HubNotFound(HubError):
    pass


class HubFileMissing(HubNotFound):
    pass


class HubRefused(HubError):
    pass


class HubUnreachable(HubError):
    pass


class HubOffline(HubError):
    pass


class HubCorrupt(HubError):
    pass


class NoSpaceLeft(HubError):
    pass


class ArtifactError(HandfulError):
    pass


class ArtifactIncomplete(ArtifactError):
    pass


class ArtifactVersionUnknown(ArtifactError):
    pass


class ArtifactInconsistent(ArtifactError):
    pass


class ModelNotFound(ArtifactError):
    pass
