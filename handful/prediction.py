"""What a model's calls return: answers, measurements and explanations, with the text and the table that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.notebook import Html, bar, escaped, small_picture, strong, table
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import Source
from handful.service.classify.result_files import Row, result_row
from handful.service.terminal.answers import answer_lines, explain_text
from handful.service.terminal.output import printable_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handful.service.classifier import Prediction as Answer
    from handful.training.photos.sources import Problem

MOST_ROWS = 50  # in a table
MOST_LABELS = 5  # per photo in a table


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """The answer for one photo.

    `photo` is its path (below the folder, if one folder was classified); `model` is NAME:VERSION.
    """

    photo: str
    model: str
    labels: tuple[str, ...]
    _answer: Answer | ImageError = field(repr=False)
    _source: Source = field(repr=False)

    @property
    def label(self) -> str | None:
        """None where the photo is unknown, which means that it resembles no label, or could not be read."""
        return None if isinstance(self._answer, ImageError) else self._answer.label

    @property
    def confidence(self) -> float:
        """The calibrated probability of the most probable label, even where the photo is unknown."""
        return 0.0 if isinstance(self._answer, ImageError) else self._answer.confidence

    @property
    def unknown(self) -> bool:
        return not isinstance(self._answer, ImageError) and self._answer.unknown

    @property
    def error(self) -> ImageError | None:
        """Why the photo could not be read. Only `Model.classify` returns such answers; `model(photo)` raises it."""
        return self._answer if isinstance(self._answer, ImageError) else None

    @cached_property
    def probabilities(self) -> Mapping[str, float]:
        """Of every label, the most probable first; empty where the photo could not be read."""
        if isinstance(self._answer, ImageError):
            return {}
        pairs = zip(self.labels, self._answer.probabilities, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """(D,) what the backbone says of the photo; None where it could not be read."""
        return None if isinstance(self._answer, ImageError) else self._answer.embedding

    @property
    def row(self) -> Row:
        """As a row of `handful classify`."""
        return result_row(self.photo, self._answer, self.labels)

    def __str__(self) -> str:
        return printable_lines("\n".join(answer_lines([self.row])))

    def __repr__(self) -> str:
        shown = (
            f"error={self.error.code!r}" if self.error else f"label={self.label!r}, confidence={self.confidence:.3f}"
        )
        return f"Prediction({self.photo!r}, {shown})"

    def _repr_html_(self) -> str:
        rows = [(name, bar(share)) for name, share in list(self.probabilities.items())[:MOST_LABELS]]
        return f"<div>{small_picture(self._source)} {_headline(self)} ({escaped(self.photo)})</div>{table((), rows)}"


class Predictions(list[Prediction]):
    """The answers to several photos, in their order."""

    @property
    def rows(self) -> list[Row]:
        """As rows of `handful classify`, for example for `pandas.DataFrame(predictions.rows)`."""
        return [each.row for each in self]

    def __str__(self) -> str:
        return printable_lines("\n".join(answer_lines(self.rows)))

    def _repr_html_(self) -> str:
        shown = [
            (small_picture(each._source), each.photo, _headline(each), bar(each.confidence) if not each.error else "")
            for each in self[:MOST_ROWS]
        ]
        left = len(self) - len(shown)
        caption = f"{len(self)} photos{f', the first {len(shown)}' if left else ''}"
        return table(("", "photo", "answer", "confidence"), shown, caption)


def _headline(prediction: Prediction) -> Html:
    if prediction.error:
        return Html(f"could not be read: {escaped(str(prediction.error))}")
    if prediction.unknown:
        return Html(f"{strong('unknown')}, most like {escaped(next(iter(prediction.probabilities)))}")
    return strong(prediction.label or "")


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How a model does on labelled photos; `result` is what `handful evaluate --json` prints."""

    result: dict[str, Any]
    problems: Sequence[Problem]

    @property
    def accuracy(self) -> float:
        return float(self.result["accuracy"])

    @property
    def report(self) -> Path:
        """The page with all plots and the photos that were answered wrongly."""
        return Path(self.result["report"])

    def __repr__(self) -> str:
        return f"Evaluation({self.result['model']!r}, accuracy={self.accuracy:.3f}, problems={len(self.problems)})"

    def _repr_html_(self) -> str:
        result = self.result
        low, high = result["accuracy_ci95"]
        rows = [
            ("accuracy", Html(f"{bar(self.accuracy)} (95 % interval {low:.1%} to {high:.1%})")),
            ("called unknown", bar(result["unknown_rate"])),
            ("files left out", str(len(self.problems))),
            ("report", str(self.report)),
        ]
        return table((), rows, str(result["model"]))


@dataclass(frozen=True, repr=False)
class Explained:
    """Why a model answers one photo as it does, as a picture; `result` is what `handful explain --json` prints."""

    png: bytes
    result: dict[str, Any]

    def save(self, path: str | Path) -> Path:
        """Writes the picture; raises OSError."""
        target = Path(path)
        target.write_bytes(self.png)
        return target

    def __repr__(self) -> str:
        return f"Explained({explain_text({**self.result, 'out': 'not saved'}).partition(chr(10))[0]!r})"

    def _repr_png_(self) -> bytes:
        return self.png
