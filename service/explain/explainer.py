"""Tasks -> pictures, in the process that explains. It keeps the version that it explained last."""

from __future__ import annotations

import logging
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ArtifactError
from handful.service.classifier import Classifier
from handful.service.explain.explanation import explain_pixels
from handful.service.explain.messages import FAILED, PICTURE, REFUSED, ExplainTask
from handful.service.explain.picture import draw_explanation

logger = logging.getLogger(__name__)


class _Refusal(Exception):
    """No picture can be drawn; the text is a sentence for the sender of the request."""


def explain_tasks(connection: Connection) -> None:
    """Answers tasks until one fails. Raises EOFError or ConnectionError once the worker is gone."""
    versions = _LastVersion()
    while True:
        task = ExplainTask.model_validate_json(connection.recv_bytes())
        seen, photo = connection.recv_bytes(), connection.recv_bytes()
        try:
            answer = PICTURE + _draw(versions.of(task), task, seen, photo)
        except _Refusal as e:
            answer = REFUSED + str(e).encode()
        except Exception:  # whatever it is, the request that waits must hear of it
            logger.exception("%s could not be explained", task.model)
            connection.send_bytes(FAILED)
            return  # what is left of it may be in pieces: the next process begins afresh
        connection.send_bytes(answer)


class _LastVersion:
    """The network of one version, on torch, without an engine: the answer comes with the task."""

    def __init__(self) -> None:
        self._key: tuple[Path, tuple[int, int]] | None = None
        self._classifier: Classifier | None = None

    def of(self, task: ExplainTask) -> Classifier:
        """Raises `_Refusal` if the version that answered is gone from the disk."""
        key = task.path, task.folder
        if self._classifier is None or self._key != key:
            self._key = self._classifier = None  # two need not fit into the memory
            self._classifier, self._key = _load(task), key
        return self._classifier


def _load(task: ExplainTask) -> Classifier:
    try:
        _check_folder(task)
        classifier = Classifier.load(task.path)
        _check_folder(task)
    except (ArtifactError, OSError) as e:
        logger.warning("%s cannot be explained: %s", task.model, e)
        raise _Refusal(
            f"{task.model} was moved, deleted or changed after it was loaded, so its layers cannot be read any more;"
            " the service's log says more."
        ) from e
    return classifier


def _check_folder(task: ExplainTask) -> None:
    status = task.path.stat()
    if (status.st_dev, status.st_ino) != task.folder:
        raise FileNotFoundError(f"{task.path} is another folder than when {task.model} was loaded.")


def _draw(classifier: Classifier, task: ExplainTask, seen: bytes, photo: bytes) -> bytes:
    """The picture of `handful explain --short`, as a PNG. Raises `_Refusal` where a network has none."""
    preprocessing = classifier.preprocessing
    side = preprocessing.side_pixels
    pixels = classifier.prepare(np.frombuffer(bytearray(seen), np.uint8).reshape(side, side, 3))
    try:
        explanation = explain_pixels(classifier, preprocessing.read(photo), pixels, task.prediction, task.model)
    except ArtifactError as e:
        raise _Refusal(str(e)) from e
    return draw_explanation(explanation, short=True)
