"""What can be wrong with a call of Label Studio, as a part of the tree in `errors.py`.

RequestError
├── LabelConfigWrong    400
├── AddressRefused      400
├── LabelStudioOff      404
└── PhotoNotFetched     502
"""

from __future__ import annotations

from handful.service.http.errors import RequestError


class LabelConfigWrong(RequestError):
    """The labelling configuration of the project has no choice of labels for an image."""


class AddressRefused(RequestError):
    """A task's photo lies at an address that is not fetched."""


class LabelStudioOff(RequestError):
    """The service does not answer Label Studio's calls."""

    status = 404


class PhotoNotFetched(RequestError):
    """Label Studio did not hand out a task's photo."""

    status = 502
