"""What can be wrong with a request about photos or jobs of a model, as a part of the tree in `errors.py`.

RequestError
├── ModelUnknown      404
├── NoSuchPhoto       404
├── NoSuchLabel       404
├── TooFewPhotos      409
├── NothingToLearn    409
├── LibraryChanged    409
└── LibraryFull       507
"""

from __future__ import annotations

from handful.service.http.errors import RequestError


class ModelUnknown(RequestError):
    """There is no model of this name, neither versions nor photos."""

    status = 404


class NoSuchPhoto(RequestError):
    """The photo library has no such photo, perhaps no longer."""

    status = 404


class NoSuchLabel(RequestError):
    """The photo library has no such label."""

    status = 404


class TooFewPhotos(RequestError):
    """The photo library holds too little to learn from or to measure on."""

    status = 409


class NothingToLearn(RequestError):
    """The model has learned every photo of the library already, each under its label."""

    status = 409


class LibraryChanged(RequestError):
    """The photo library was changed at the same moment, for example by a renaming of its model."""

    status = 409


class LibraryFull(RequestError):
    """The photo library has reached its limit."""

    status = 507
