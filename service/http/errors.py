"""What can be wrong with a request, or prevent its answer, as one tree. Every unsuccessful answer is one of these.

HandfulError
├── RequestError                status, code: the class's name in snake case
│   ├── RequestBroken           400
│   ├── ImageMissing            400
│   ├── FieldNotAFile           400
│   ├── FieldUnexpected         400
│   ├── FieldMissing            400
│   ├── ParameterWrong          400
│   ├── TooManyImages           400
│   ├── MultipartBroken         400
│   ├── JsonBroken              400
│   ├── ClientGone              400
│   ├── LabelWrong              400
│   ├── LabelUnknown            400
│   ├── ArchiveError            400
│   │   ├── NotAnArchive        400
│   │   ├── ArchiveDamaged      400
│   │   ├── ArchiveUnsupported  400
│   │   ├── ArchiveUnsafe       400
│   │   ├── ArchiveEmpty        400
│   │   ├── ArchiveUnlabelled   400
│   │   └── ArchiveTooLarge     413
│   ├── KeyWrong                401
│   ├── LoopbackOnly            403
│   ├── CrossSite               403
│   ├── NotFound                404
│   ├── JobNotFound             404
│   ├── FeedbackOff             404
│   ├── MethodNotAllowed        405
│   ├── HeadTooSlow             408
│   ├── BodyTooSlow             408
│   ├── JobEnded                409
│   ├── RetrainOff              409
│   ├── BodyTooLarge            413
│   ├── MediaTypeUnsupported    415
│   ├── TooManyJobs             429
│   ├── HeadTooLarge            431
│   ├── TooManyWrongKeys        429
│   ├── InternalError           500
│   ├── Overloaded              503
│   ├── NotReady                503
│   ├── DiskFull                507
│   └── FeedbackFull            507
└── ImageError                  its own code; 413 if the image is too large, else 400
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar

from handful.service.artifact.errors import (
    HandfulError,
    ImageError,
    ImageTooComplex,
    ImageTooManyBytes,
    ImageTooManyPixels,
)

NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})  # the OSErrors that become `DiskFull`


class RequestError(HandfulError):
    """One unsuccessful answer; its text is a sentence for whoever sent the request."""

    status: ClassVar[int] = 400
    headers: Mapping[str, str] = {}


class RequestBroken(RequestError):
    """The bytes are not a request as HTTP/1.1 has it, or two programs could read them as different requests."""

    status, headers = 400, {"Connection": "close"}


class ImageMissing(RequestError):
    """The request has no image."""


class FieldNotAFile(RequestError):
    """A form field that must be a file is text, perhaps a URL."""


class FieldUnexpected(RequestError):
    """The form has a field that the call does not know, has one twice, or has a file where text belongs."""


class FieldMissing(RequestError):
    """The form lacks a field that the call needs."""


class ParameterWrong(RequestError):
    """A query parameter is unknown or has a value that is not allowed."""


class TooManyImages(RequestError):
    """The form has more parts than the call takes."""


class MultipartBroken(RequestError):
    """The multipart body is malformed or cut off."""


class JsonBroken(RequestError):
    """The JSON body is malformed, or holds something else than one image as base64."""


class ClientGone(RequestError):
    """The client closed the connection while it was sending; the error is counted, but nobody is left to read it."""


class LabelWrong(RequestError):
    """The text cannot be a label, because it cannot be the name of a folder."""


class LabelUnknown(RequestError):
    """The model does not have this label, and the request does not allow a new one."""


class ArchiveError(RequestError):
    """No photos can be taken from the zip."""


class NotAnArchive(ArchiveError):
    """The bytes are not a zip."""


class ArchiveDamaged(ArchiveError):
    """The zip is cut off or inconsistent, or a checksum is wrong."""


class ArchiveUnsupported(ArchiveError):
    """The zip is encrypted or compressed by a rare method."""


class ArchiveUnsafe(ArchiveError):
    """The zip has a name, a link or an entry that could do harm when unpacked."""


class ArchiveEmpty(ArchiveError):
    """The zip holds no photos."""


class ArchiveUnlabelled(ArchiveError):
    """The zip holds photos, but they do not lie in folders that are named by their labels."""


class ArchiveTooLarge(ArchiveError):
    """The zip has too many entries or unpacks to too many bytes."""

    status = 413


class KeyWrong(RequestError):
    """The key is missing or wrong."""

    status, headers = 401, {"WWW-Authenticate": "Bearer"}


class LoopbackOnly(RequestError):
    """A service without a key is called from another machine or under another machine's name."""

    status = 403


class CrossSite(RequestError):
    """Another site's web page asks a browser to change something here."""

    status = 403


class NotFound(RequestError):
    """The service has no such path."""

    status = 404


class JobNotFound(RequestError):
    """There is no retraining with this name."""

    status = 404


class FeedbackOff(RequestError):
    """The service stores no corrected images."""

    status = 404


class MethodNotAllowed(RequestError):
    """The path exists, but not with this method."""

    status = 405

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.headers = {"Allow": allowed}


class HeadTooSlow(RequestError):
    """The head of the request did not arrive in time."""

    status, headers = 408, {"Connection": "close"}


class BodyTooSlow(RequestError):
    """The body did not arrive in time."""

    status, headers = 408, {"Connection": "close"}


class JobEnded(RequestError):
    """The retraining has ended, so it cannot be cancelled."""

    status = 409


class RetrainOff(RequestError):
    """The service cannot retrain its model."""

    status = 409


class BodyTooLarge(RequestError):
    """The body has more bytes than the call takes."""

    status, headers = 413, {"Connection": "close"}


class MediaTypeUnsupported(RequestError):
    """The call does not take bodies of this Content-Type or Content-Encoding."""

    status = 415


class TooManyJobs(RequestError):
    """As many retrainings as allowed are waiting or running."""

    status, headers = 429, {"Retry-After": "60"}


class HeadTooLarge(RequestError):
    """The head of the request has more bytes than any call needs."""

    status, headers = 431, {"Connection": "close"}


class TooManyWrongKeys(RequestError):
    """The caller's address sends wrong keys faster than they are answered."""

    status, headers = 429, {"Retry-After": "1", "Connection": "close"}


class InternalError(RequestError):
    """An unexpected error, which is a bug of this program; the log has its traceback."""

    status = 500


class Overloaded(RequestError):
    """The service holds as many requests as it may, or did not answer in time."""

    status, headers = 503, {"Retry-After": "1"}


class NotReady(RequestError):
    """No model is loaded yet."""

    status, headers = 503, {"Retry-After": "5"}


class DiskFull(RequestError):
    """The disk has no space for what was sent."""

    status = 507


class FeedbackFull(RequestError):
    """The folder of corrected images has reached its limit."""

    status = 507


TOO_LARGE = (ImageTooManyBytes, ImageTooManyPixels, ImageTooComplex)
AnyError = type[RequestError] | type[ImageError]


def status_of(error: AnyError) -> int:
    """The HTTP status of an error's class."""
    if issubclass(error, RequestError):
        return error.status
    return 413 if issubclass(error, TOO_LARGE) else 400
