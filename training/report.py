"""What cross-validation found out about a version -> report.html, with its pictures beside it.

The page is one file that asks for nothing else: no script, no link to outside, every picture inside. It is read by the
person who took the photos, so every number comes with what it means, and with how little it may mean.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from training.evaluation import SuspectedLabel, suspected_labels
from training.fitting import Fitted
from training.inspection import Inspected
from training.learning_curve import learning_curve
from training.plots import confusion_plot, drawable_names, learning_plot, map_plot, refusal_plot, reliability_plot
from training.thumbnails import contact_sheet, jpeg, thumbnail

MAX_SUSPECTED = 12  # photos shown
MAX_MISTAKES = 12  # photos shown beside the suspected ones
MAX_CONFUSION_LABELS = 20
MAX_COLOURED_LABELS = 10
MAX_MAP_IMAGES = 2000
MAX_PROBLEMS = 200


@dataclass(frozen=True)
class Mistake:
    """A photo that was given another label than its folder's by heads that had not seen it."""

    name: str
    given: str
    answered: str
    probability: float
    picture: str | None  # data URI


def write_report(folder: Path, card: ModelCard, inspected: Inspected, fitted: Fitted) -> None:
    """report.html and its PNGs; no mistakes.png without a mistake, no learning_curve.png where there is no curve.

    `card.files` is not looked at: they are written after this.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = _Report(card, inspected, fitted)
    page = report.page()
    for name, png in report.pictures.items():
        (folder / name).write_bytes(png)
    (folder / "report.html").write_bytes(page.encode("utf-8", "backslashreplace"))  # folders may have any bytes as name


class _Report:
    def __init__(self, card: ModelCard, inspected: Inspected, fitted: Fitted) -> None:
        self.card, self.inspected, self.fitted = card, inspected, fitted
        self.labels = inspected.label_index
        self.answers = fitted.probabilities.argmax(axis=1)  # (N,)
        self.names = drawable_names(inspected.labels)
        self.pictures: dict[str, bytes] = {}

    def page(self) -> str:
        suspected, mistakes = self._mistakes()
        return _render(
            card=self.card,
            cv=self.card.cross_validation,
            right=int((self.answers == self.labels).sum()),
            commonest=max(self.inspected.per_label.values()) / len(self.labels),
            suspected=suspected,
            mistakes=mistakes,
            suspected_count=len(self._suspected),
            mistake_count=int((self.answers != self.labels).sum()),
            confusion=self._confusion(),
            confusion_limit=MAX_CONFUSION_LABELS,
            rows=self._rows(),
            mean_confidence=float(self.fitted.probabilities.max(axis=1).mean()),
            reliability=self._reliability(),
            curve=self._learning_curve(),
            map=self._map(),
            map_limit=MAX_MAP_IMAGES,
            colour_limit=MAX_COLOURED_LABELS,
            refusal=self._refusal(),
            problems=self.inspected.problems[:MAX_PROBLEMS],
            problem_count=len(self.inspected.problems),
            candidates=self.fitted.head.candidates,
        )

    def _add(self, name: str, png: bytes) -> str:
        self.pictures[name] = png
        return _data_uri("image/png", png)

    def _mistakes(self) -> tuple[list[Mistake], list[Mistake]]:
        """The suspected wrong labels and the other worst mistakes, surest answers first."""
        self._suspected = suspected_labels(self.fitted.probabilities, self.labels)
        shown = self._suspected[:MAX_SUSPECTED]
        known = {suspect.index for suspect in self._suspected}
        sure = self.fitted.probabilities.max(axis=1)
        wrong = [row for row in np.flatnonzero(self.answers != self.labels) if row not in known]
        worst = sorted(wrong, key=lambda row: (-sure[row], row))[:MAX_MISTAKES]
        rows = [suspect.index for suspect in shown] + [int(row) for row in worst]
        thumbnails = [thumbnail(self.inspected.images[row].path) for row in rows]
        if rows:
            self._add("mistakes.png", contact_sheet(thumbnails))
        uris = [None if image is None else _data_uri("image/jpeg", jpeg(image)) for image in thumbnails]
        suspected = [self._suspect(suspect, uri) for suspect, uri in zip(shown, uris, strict=False)]
        others = [
            self._mistake(int(row), int(self.answers[row]), float(sure[row]), uri)
            for row, uri in zip(worst, uris[len(shown) :], strict=True)
        ]
        return suspected, others

    def _suspect(self, suspect: SuspectedLabel, uri: str | None) -> Mistake:
        return self._mistake(suspect.index, suspect.suggested, suspect.probability, uri)

    def _mistake(self, row: int, answer: int, probability: float, uri: str | None) -> Mistake:
        labels = self.inspected.labels
        given = labels[self.labels[row]]
        return Mistake(_name_below(self.inspected.images[row].path, given), given, labels[answer], probability, uri)

    def _confusion(self) -> str:
        counts = np.array(self.card.cross_validation.confusion)  # (L, L)
        wrong = counts - np.diag(np.diag(counts))
        mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
        most = np.sort(np.argsort(-mistakes, kind="stable")[:MAX_CONFUSION_LABELS])
        return self._add("confusion.png", confusion_plot(counts[np.ix_(most, most)], [self.names[i] for i in most]))

    def _rows(self) -> list[dict[str, Any]]:
        """One a label, for the table that holds the names in full."""
        counts = np.array(self.card.cross_validation.confusion)
        right = np.diag(counts)
        wrong = counts - np.diag(right)
        worst = wrong.argmax(axis=1)
        return [
            {
                "label": label,
                "photos": int(counts[row].sum()),
                "right": int(right[row]),
                "taken_for": self.inspected.labels[worst[row]] if wrong[row].any() else None,
                "times": int(wrong[row, worst[row]]),
            }
            for row, label in enumerate(self.inspected.labels)
        ]

    def _reliability(self) -> str:
        confidence = self.fitted.probabilities.max(axis=1)
        return self._add("reliability.png", reliability_plot(confidence, self.answers == self.labels))

    def _learning_curve(self) -> dict[str, Any] | None:
        strength = float(self.fitted.head.settings.get("strength", 1.0))  # a hidden head has none
        curve = learning_curve(self.inspected.embeddings, self.labels, self.inspected.groups, strength, self.card.seed)
        if curve is None:
            return None
        return {"found": curve, "picture": self._add("learning_curve.png", learning_plot(curve))}

    def _map(self) -> dict[str, Any]:
        shown = _sample(len(self.labels), MAX_MAP_IMAGES, self.card.seed)
        largest = np.argsort(-np.bincount(self.labels), kind="stable")[:MAX_COLOURED_LABELS]
        coloured = np.sort(largest)
        colour_of_label = np.full(len(self.names), -1)
        colour_of_label[coloured] = np.arange(len(coloured))
        points, kept = _two_dimensions(self.inspected.embeddings[shown])
        mistaken = (self.answers != self.labels)[shown]
        names = [self.names[label] for label in coloured]
        picture = self._add("embedding_map.png", map_plot(points, colour_of_label[self.labels[shown]], names, mistaken))
        return {"picture": picture, "kept": kept}

    def _refusal(self) -> str:
        return self._add("refusal.png", refusal_plot(self.fitted.unknown_scores, self.fitted.unknown.threshold))


def _render(**found: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = _percent
    source = resources.files("training").joinpath("report_template.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(**found)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _name_below(path: Path, label: str) -> str:
    """From the label's folder on: what lies above it is nobody's business."""
    folders = path.parts[:-1]
    if label not in folders:
        return path.name
    above = len(folders) - 1 - folders[::-1].index(label)
    return "/".join(path.parts[above:])


def _sample(count: int, most: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _two_dimensions(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Points (N, 2) on the two axes of most spread, and the share of the spread that they keep."""
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore", divide="ignore"):  # photos that are all the same have no spread
        found = PCA(2, svd_solver="randomized", random_state=0).fit(embeddings)
    kept = float(np.nan_to_num(found.explained_variance_ratio_).sum())
    return np.asarray(found.transform(embeddings), dtype=np.float64), kept
