"""The classifier of an exported file: the same calls and answers as `service.classifier.Classifier`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ArtifactInconsistent, ImageError, UsageError
from handful.service.artifact.folder import ONNX, check_hash, has_onnx, read_card
from handful.service.artifact.label_names import in_one_form
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.preprocessing import Source
from handful.service.compute.device import cpu_count
from handful.service.decoding.reader import PictureReader
from handful.service.lean.onnx_file import OnnxAnswers, OnnxFile, installed_runtimes
from numpy.typing import NDArray

BATCH = 16  # images
SERVED_BATCH = 1  # image; more at once take more memory and gain nothing (training/LOG.md)
S = TypeVar("S", bound=Source)


class OnnxClassifier:
    """An exported file, ready to predict; safe to share between threads."""

    def __init__(self, file: OnnxFile, card: ModelCard | None = None) -> None:
        """`card` where it is not the file's own: that of the artifact which carries the file."""
        self.file, self.card, self.preprocessing = file, card or file.card, file.preprocessing
        self.labels = in_one_form(file.card.labels)
        self.batch, self._even = SERVED_BATCH, False

    @classmethod
    def load(cls, path: Path, runtime: str | None = None) -> OnnxClassifier:
        """From a file that `handful export` wrote, or an artifact's folder that carries one.

        Raises an `ArtifactError`, or `UsageError` where the folder carries none and without a runtime.
        """
        if not path.is_dir():
            return cls(OnnxFile(path, runtime))
        card = read_card(path)
        if not has_onnx(path, card):
            raise UsageError(
                f"{card.model} has no {ONNX}, and torch is not installed here: where it is, `handful export"
                f" {card.model} --to artifact` adds the file."
            )
        check_hash(path, ONNX, card)
        file = OnnxFile(path / ONNX, runtime)
        if file.card.labels != card.labels:
            raise ArtifactInconsistent(f"{path}: {ONNX} has other labels than the card.")
        return cls(file, card)

    @property
    def engine_label(self) -> str:
        """The runtime with the precision of the file's weights, such as `onnxruntime-fp16`."""
        return f"{self.file.runtime.name}-{self.file.precision}"

    def read(self, source: Source) -> NDArray[np.uint8]:
        """One image -> `(s, s, 3)` uint8, where s is its resized short side; raises an `ImageError`.

        Pillow resizes faster than the file, which then crops alone. What is cut off here lies outside the crop.
        """
        preprocessing = self.preprocessing
        side, short = preprocessing.side_pixels, preprocessing.short_side
        image = preprocessing.resized(preprocessing.read(source))
        left, top = (round((n - side) / 2) - round((short - side) / 2) for n in image.size)
        return np.asarray(image.crop((left, top, left + short, top + short)))

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The `(S, S, 3)` picture that the network sees -> `(s, s, 3)`, of which the file crops it again."""
        side, short = self.preprocessing.side_pixels, self.preprocessing.short_side
        whole = np.zeros((short, short, 3), np.uint8)
        corner = round((short - side) / 2)
        whole[corner : corner + side, corner : corner + side] = picture
        return whole

    def answer(self, prepared: Sequence[NDArray[np.uint8]], cores: int) -> list[Prediction]:  # noqa: ARG002 - its own
        """What `prepare` made of N pictures -> N predictions; the runtime has its own threads."""
        batches = (prepared[start : start + self.batch] for start in range(0, len(prepared), self.batch))
        return [answer for batch in batches for answer in self.predict(np.stack(batch))]

    @property
    def batches_at_once(self) -> int | None:
        return 1

    def limit_batch(self, images: int) -> None:
        self.batch = min(images, self.batch)

    def predict(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """`(N, H, W, 3)` uint8, upright RGB of any size -> N predictions."""
        return self._predictions(self.file.answers(images))

    def _predictions(self, answers: OnnxAnswers) -> list[Prediction]:
        columns = (answers.probabilities, answers.unknown_score, answers.unknown, answers.embedding)
        return [
            Prediction.of(self.labels, shares, float(score), embedding, unknown=bool(unknown))
            for shares, score, unknown, embedding in zip(*columns, strict=True)
        ]

    @property
    def engine_text(self) -> str:
        """For a person: what computes the file, and what else could."""
        others = [each for each in installed_runtimes() if each != self.file.runtime.name]
        more = f"; {others[0]} is installed, too" if others else ""
        return f"{self.engine_label} on cpu: the exported file {self.file.path}, without torch{more}"

    def choose_fastest_for(self, images: int | None) -> None:
        """For the calls of `Classifier`: the runtime is chosen when the file is opened."""

    def make_even(self) -> None:
        """From now on every batch has one size: no answer depends on the other images in it."""
        self._even = True

    def classify(self, photos: Iterable[S], *, tta: bool = False) -> Iterator[tuple[S, Prediction | ImageError]]:
        """Yields each photo once, in order, with its prediction or its error; memory does not grow with the photos.

        `UsageError` for `tta`: the file holds one view of a photo.
        """
        if tta:
            raise UsageError("An exported file looks at one view of a photo; --tta needs the model itself.")
        with PictureReader(self.preprocessing) as picture:
            for sources, read in _read_batches(photos, lambda photo: self.prepare(picture(photo))):
                pixels = [each for each in read if not isinstance(each, ImageError)]
                missing = BATCH - len(pixels) if self._even else 0
                rows = iter(self.predict(np.stack([*pixels, *pixels[:1] * missing])) if pixels else ())
                results = [each if isinstance(each, ImageError) else next(rows) for each in read]
                yield from zip(sources, results, strict=True)


def _read_batches(
    photos: Iterable[S], read: Callable[[S], NDArray[np.uint8]]
) -> Iterator[tuple[Sequence[S], list[NDArray[np.uint8] | ImageError]]]:
    """Batches in order, read ahead by one thread per core."""
    iterator = iter(photos)
    with ThreadPoolExecutor(cpu_count(), "decode") as pool:
        ahead: deque[tuple[S, Future[NDArray[np.uint8] | ImageError]]] = deque()

        def submit(count: int) -> None:
            ahead.extend((photo, pool.submit(_outcome, read, photo)) for photo in islice(iterator, count))

        submit(2 * BATCH)
        try:
            while ahead:
                batch = [ahead.popleft() for _ in range(min(BATCH, len(ahead)))]
                submit(len(batch))
                yield [photo for photo, _ in batch], [future.result() for _, future in batch]
        finally:
            for _, future in ahead:
                future.cancel()


def _outcome(read: Callable[[S], NDArray[np.uint8]], photo: S) -> NDArray[np.uint8] | ImageError:
    try:
        return read(photo)
    except ImageError as e:
        return e
