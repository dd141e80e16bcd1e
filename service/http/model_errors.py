"""What can be wrong with a request about the models of the store, as a part of the tree in `errors.py`.

RequestError
├── NameWrong         400
├── MayNotChange      403
├── NotKept           404
├── UndoOver          404
├── ModelExists       409
├── ModelBusy         409
├── PromoteRefused    409
├── UndoRefused       409
├── ExplainRefused    409
├── ExportOff         409
├── HomeNotWritable   409
└── ModelTooLarge     507
"""

from __future__ import annotations

from handful.service.http.errors import RequestError


class NameWrong(RequestError):
    """The text cannot be a model's name, because it cannot be the name of a folder."""


class MayNotChange(RequestError):
    """The key may ask, and neither change anything nor see photos."""

    status = 403


class NotKept(RequestError):
    """The version was made without what is asked for."""

    status = 404


class UndoOver(RequestError):
    """What was deleted is back already, or was erased after an hour."""

    status = 404


class ModelExists(RequestError):
    """There is a model of this name, or one whose name differs in capitals alone."""

    status = 409


class ModelBusy(RequestError):
    """A job of this model waits or runs, or the service always answers with one fixed version of it."""

    status = 409


class PromoteRefused(RequestError):
    """The version is broken, or there is no earlier champion to go back to."""

    status = 409


class UndoRefused(RequestError):
    """Something new lies where the deleted thing would come back."""

    status = 409


class ExplainRefused(RequestError):
    """The network's numbers cannot be traced to places of a photo, or its layers cannot be read here."""

    status = 409


class ExportOff(RequestError):
    """No file can be made here: a package is not installed, or the service runs no jobs."""

    status = 409


class HomeNotWritable(RequestError):
    """Nothing can be written to HANDFUL_HOME."""

    status = 409


class ModelTooLarge(RequestError):
    """The model does not fit into the memory that models may have."""

    status = 507
