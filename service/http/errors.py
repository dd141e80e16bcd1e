"""What a request can do wrong, or meet, as one tree; every answer that is no success is one of these.

HandfulError
├── RequestError                status, code
│   ├── ImageMissing            400 image_missing
│   ├── FieldNotAFile           400 field_not_a_file
│   ├── FieldUnexpected         400 field_unexpected
│   ├── FieldMissing            400 field_missing
│   ├── ParameterWrong          400 parameter_wrong
│   ├── TooManyImages           400 too_many_images
│   ├── MultipartBroken         400 multipart_broken
│   ├── ClientGone              400 client_gone; counted, nobody is left to read it
│   ├── LabelWrong              400 label_wrong; no name for a label
│   ├── LabelUnknown            400 label_unknown; a name, but none of the model's
│   ├── ArchiveError            400 a zip that no photos can be taken from
│   │   ├── NotAnArchive        400 not_an_archive
│   │   ├── ArchiveDamaged      400 archive_damaged; cut off, inconsistent, a checksum is wrong
│   │   ├── ArchiveUnsupported  400 archive_unsupported; encrypted, or packed in a rare way
│   │   ├── ArchiveUnsafe       400 archive_unsafe; names, links and entries that mean harm
│   │   ├── ArchiveEmpty        400 archive_empty
│   │   ├── ArchiveUnlabelled   400 archive_unlabelled; photos, but no folders of labels
│   │   └── ArchiveTooLarge     413 archive_too_large; unpacked, or in entries
│   ├── KeyWrong                401 key_wrong
│   ├── LoopbackOnly            403 loopback_only
│   ├── CrossSite               403 cross_site; another site's page asks a browser to change something
│   ├── NotFound                404 not_found
│   ├── JobNotFound             404 job_not_found
│   ├── FeedbackOff             404 feedback_off
│   ├── MethodNotAllowed        405 method_not_allowed
│   ├── BodyTooSlow             408 body_too_slow
│   ├── JobEnded                409 job_ended
│   ├── RetrainOff              409 retrain_off; this service cannot retrain
│   ├── BodyTooLarge            413 body_too_large
│   ├── MediaTypeUnsupported    415 media_type_unsupported
│   ├── TooManyJobs             429 too_many_jobs
│   ├── InternalError           500 internal_error; a bug of ours
│   ├── Overloaded              503 overloaded
│   ├── NotReady                503 not_ready; no model yet
│   ├── DiskFull                507 disk_full
│   └── FeedbackFull            507 feedback_full
└── ImageError                  its own code: 413 where it is too large, else 400
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from handful.service.artifact.errors import HandfulError, ImageError, ImageTooManyBytes, ImageTooManyPixels


class RequestError(HandfulError):
    """One answer; the text is a sentence for whoever sent the request."""

    status: ClassVar[int]
    code: ClassVar[str]
    headers: Mapping[str, str] = {}


class ImageMissing(RequestError):
    status, code = 400, "image_missing"


class FieldNotAFile(RequestError):
    status, code = 400, "field_not_a_file"


class FieldUnexpected(RequestError):
    status, code = 400, "field_unexpected"


class FieldMissing(RequestError):
    status, code = 400, "field_missing"


class ParameterWrong(RequestError):
    status, code = 400, "parameter_wrong"


class TooManyImages(RequestError):
    status, code = 400, "too_many_images"


class MultipartBroken(RequestError):
    status, code = 400, "multipart_broken"


class ClientGone(RequestError):
    status, code = 400, "client_gone"


class LabelWrong(RequestError):
    status, code = 400, "label_wrong"


class LabelUnknown(RequestError):
    status, code = 400, "label_unknown"


class ArchiveError(RequestError):
    status = 400


class NotAnArchive(ArchiveError):
    code = "not_an_archive"


class ArchiveDamaged(ArchiveError):
    code = "archive_damaged"


class ArchiveUnsupported(ArchiveError):
    code = "archive_unsupported"


class ArchiveUnsafe(ArchiveError):
    code = "archive_unsafe"


class ArchiveEmpty(ArchiveError):
    code = "archive_empty"


class ArchiveUnlabelled(ArchiveError):
    code = "archive_unlabelled"


class ArchiveTooLarge(ArchiveError):
    status, code = 413, "archive_too_large"


class KeyWrong(RequestError):
    status, code, headers = 401, "key_wrong", {"WWW-Authenticate": "Bearer"}


class LoopbackOnly(RequestError):
    status, code = 403, "loopback_only"


class CrossSite(RequestError):
    status, code = 403, "cross_site"


class NotFound(RequestError):
    status, code = 404, "not_found"


class JobNotFound(RequestError):
    status, code = 404, "job_not_found"


class FeedbackOff(RequestError):
    status, code = 404, "feedback_off"


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"

    def __init__(self, text: str, allowed: str) -> None:
        super().__init__(text)
        self.headers = {"Allow": allowed}


class BodyTooSlow(RequestError):
    status, code, headers = 408, "body_too_slow", {"Connection": "close"}


class JobEnded(RequestError):
    status, code = 409, "job_ended"


class RetrainOff(RequestError):
    status, code = 409, "retrain_off"


class BodyTooLarge(RequestError):
    status, code, headers = 413, "body_too_large", {"Connection": "close"}


class MediaTypeUnsupported(RequestError):
    status, code = 415, "media_type_unsupported"


class TooManyJobs(RequestError):
    status, code, headers = 429, "too_many_jobs", {"Retry-After": "60"}


class InternalError(RequestError):
    status, code = 500, "internal_error"


class Overloaded(RequestError):
    status, code, headers = 503, "overloaded", {"Retry-After": "1"}


class NotReady(RequestError):
    status, code, headers = 503, "not_ready", {"Retry-After": "5"}


class DiskFull(RequestError):
    status, code = 507, "disk_full"


class FeedbackFull(RequestError):
    status, code = 507, "feedback_full"


TOO_LARGE = (ImageTooManyBytes, ImageTooManyPixels)


def status_of(error: RequestError | ImageError) -> int:
    if isinstance(error, RequestError):
        return error.status
    return 413 if isinstance(error, TOO_LARGE) else 400
