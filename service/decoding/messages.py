"""What a worker and its decoders say to each other. A decoder's answer is not trusted: it is no pickle, and bounded."""

from __future__ import annotations

import json
from functools import lru_cache

from handful.service.artifact.errors import ImageError, ImageUnreadable
from handful.service.artifact.preprocessing import Preprocessing
from pydantic import BaseModel, ConfigDict

PIXELS, THUMBNAIL, LARGE, ERROR, NO_MEMORY = b"P", b"T", b"L", b"E", b"M"  # an answer's first byte
ERROR_BYTES = 10_000
_ERRORS = {error.code: error for error in ImageError.__subclasses__()}


class Task(BaseModel):
    """What is to be done with an image, whose bytes follow."""

    model_config = ConfigDict(frozen=True)

    preprocessing: Preprocessing | None  # the picture that the network sees is wanted; None: only whether it decodes
    thumbnail_side: int = 0  # above 0 a JPEG is wanted instead, at most so many pixels wide and high
    name: str | None = None  # the file's ending tells of a kind that is not read
    max_megabytes: float
    max_megapixels: float
    max_decode_megabytes: float
    granted_bytes: int  # of memory; an image that needs more, or may be slow, is not decoded but called large
    slow: bool  # images that may be slow are decoded, too
    seconds: float  # of computing, after which the process is ended

    @property
    def answer_bytes(self) -> int:
        """The size of the longest answer."""
        side = max(self.thumbnail_side, self.preprocessing.side_pixels if self.preprocessing else 0)
        return ERROR_BYTES + 3 * side**2


@lru_cache(64)
def encoded_task(task: Task) -> bytes:
    return task.model_dump_json().encode()


@lru_cache(64)
def decoded_task(text: bytes) -> Task:
    return Task.model_validate_json(text)


def encoded_error(error: ImageError) -> bytes:
    return ERROR + json.dumps([error.code, str(error)[: ERROR_BYTES // 8]]).encode()


def decoded_error(text: bytes) -> ImageError:
    code, sentence = json.loads(text)
    return _ERRORS.get(code, ImageUnreadable)(sentence)
