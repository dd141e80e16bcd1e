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
    │   ├── BackboneNotFound          no such repository, revision, file or folder
    │   ├── BackboneGated             the Hub wants a token, or refuses this one
    │   ├── HubUnreachable            no connection, or it broke off
    │   ├── BackboneOffline           offline mode, and nothing in the cache
    │   ├── BackboneCorrupt           the bytes are not the ones the Hub announced
    │   ├── NoSpaceLeft
    │   └── BackboneUnsupported       found, but no network timm can build and cut
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


class BackboneGated(BackboneError):
    pass


class HubUnreachable(BackboneError):
    pass


class BackboneOffline(BackboneError):
    pass


class BackboneCorrupt(BackboneError):
    pass


class NoSpaceLeft(BackboneError):
    pass


class BackboneUnsupported(BackboneError):
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
