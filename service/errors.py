"""What a request can do wrong, or meet, as one tree; every answer that is no success is one of these.

HandfulError
├── RequestError                status, code
│   ├── ImageMissing            400 image_missing
│   ├── FieldNotAFile           400 field_not_a_file
│   ├── FieldUnexpected         400 field_unexpected
│   ├── TooManyImages           400 too_many_images
│   ├── MultipartBroken         400 multipart_broken
│   ├── ClientGone              400 client_gone; counted, nobody is left to read it
│   ├── KeyWrong                401 key_wrong
│   ├── LoopbackOnly            403 loopback_only
│   ├── NotFound                404 not_found
│   ├── MethodNotAllowed        405 method_not_allowed
│   ├── BodyTooSlow             408 body_too_slow
│   ├── BodyTooLarge            413 body_too_large
│   ├── MediaTypeUnsupported    415 media_type_unsupported
│   ├── InternalError           500 internal_error; a bug of ours
│   ├── Overloaded              503 overloaded
│   └── NotReady                503 not_ready; no model yet
└── ImageError                  its own code: 413 where it is too large, else 400
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from service.artifact.errors import HandfulError, ImageError, ImageTooManyBytes, ImageTooManyPixels


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


class TooManyImages(RequestError):
    status, code = 400, "too_many_images"


class MultipartBroken(RequestError):
    status, code = 400, "multipart_broken"


class ClientGone(RequestError):
    status, code = 400, "client_gone"


class KeyWrong(RequestError):
    status, code, headers = 401, "key_wrong", {"WWW-Authenticate": "Bearer"}


class LoopbackOnly(RequestError):
    status, code = 403, "loopback_only"


class NotFound(RequestError):
    status, code = 404, "not_found"


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"

    def __init__(self, text: str, allowed: str) -> None:
        super().__init__(text)
        self.headers = {"Allow": allowed}


class BodyTooSlow(RequestError):
    status, code, headers = 408, "body_too_slow", {"Connection": "close"}


class BodyTooLarge(RequestError):
    status, code, headers = 413, "body_too_large", {"Connection": "close"}


class MediaTypeUnsupported(RequestError):
    status, code = 415, "media_type_unsupported"


class InternalError(RequestError):
    status, code = 500, "internal_error"


class Overloaded(RequestError):
    status, code, headers = 503, "overloaded", {"Retry-After": "1"}


class NotReady(RequestError):
    status, code, headers = 503, "not_ready", {"Retry-After": "5"}


TOO_LARGE = (ImageTooManyBytes, ImageTooManyPixels)


def status_of(error: RequestError | ImageError) -> int:
    if isinstance(error, RequestError):
        return error.status
    return 413 if isinstance(error, TOO_LARGE) else 400
