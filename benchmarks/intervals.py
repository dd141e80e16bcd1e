"""How often what training says of a model's accuracy is true: the 95 % interval, and the forecast for more photos.

Embeddings are made once. Then a few photos per label are drawn, a model learns from them, and what is said of it is
held against its accuracy on all other photos; for the forecast, against that of a model that learned more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from handful.service.artifact.card import ForecastCard
from handful.service.compute.network import Network
from handful.training.backbone import load_backbone
from handful.training.embeddings import Embedder
from handful.training.head.fit import Fitted, fit
from handful.training.head.selection import HeadSettings
from handful.training.photos.inspection import Inspected, inspect
from handful.training.photos.sources import read_folder
from handful.training.report.forecast import forecast_of
from handful.training.report.learning_curve import curve_of

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import table

PER_LABEL = (10, 20, 40)
INTERVAL_AT = (10, 20)  # photos per label, for the first target
DRAWS = 40
LEAST_LEFT = 20  # photos per label that a model is tested on
LINEAR = HeadSettings(kind="linear")  # the head that almost every small folder gets, and the one that is fast


def embedded(bench: Bench, backbone: str = "builtin", folder: Path | None = None) -> Inspected:
    """The usable photos of the benchmarks' folder, or of another one."""
    dataset, pinned = read_folder(folder or photos.source(bench)), load_backbone(backbone)
    embedder = Embedder(Network(pinned.network), pinned.preprocessing, pinned.sha256, bench.home / "cache")
    return inspect(dataset, embedder.embed([example.path for example in dataset.examples]))


def drawn(inspected: Inspected, orders: Sequence[np.ndarray], per_label: int) -> tuple[Inspected, np.ndarray]:
    """The first photos of each label in these orders, and the rows of the others."""
    rows = np.concatenate([order[:per_label] for order in orders])
    part = replace(
        inspected,
        images=tuple(inspected.images[row] for row in rows),
        label_index=inspected.label_index[rows],
        groups=inspected.groups[rows],
    )
    return part, np.setdiff1d(np.arange(len(inspected.images)), rows)


def accuracy_on(inspected: Inspected, rows: np.ndarray, fitted: Fitted) -> float:
    answers = fitted.head.logits(inspected.embeddings[rows]).argmax(axis=1)
    return float((answers == inspected.label_index[rows]).mean())


def within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] - 1e-9 <= value <= interval[1] + 1e-9


def one_draw(inspected: Inspected, per_label: int, seed: int) -> tuple[bool, float, bool | None, float | None]:
    """Whether the interval holds, and its width; the same of the forecast, None where nothing was forecast."""
    random = np.random.default_rng(1000 * per_label + seed)
    orders = [
        random.permutation(np.flatnonzero(inspected.label_index == label)) for label in range(len(inspected.labels))
    ]
    part, rest = drawn(inspected, orders, per_label)
    fitted = fit(part, LINEAR, seed)
    measured = fitted.metrics
    held = within(accuracy_on(inspected, rest, fitted), measured.accuracy_ci95)
    width = measured.accuracy_ci95[1] - measured.accuracy_ci95[0]
    forecast = forecast_of(curve_of(part, fitted, seed), measured, len(inspected.labels))
    if forecast is None or per_label + forecast.more_per_label + LEAST_LEFT > min(map(len, orders)):
        return held, width, None, None
    return held, width, forecast_held(inspected, orders, per_label, forecast, seed), _width(forecast)


def forecast_held(
    inspected: Inspected, orders: Sequence[np.ndarray], per_label: int, forecast: ForecastCard, seed: int
) -> bool:
    more, rest = drawn(inspected, orders, per_label + forecast.more_per_label)
    return within(accuracy_on(inspected, rest, fit(more, LINEAR, seed)), forecast.accuracy_ci95)


def _width(forecast: ForecastCard) -> float:
    return forecast.accuracy_ci95[1] - forecast.accuracy_ci95[0]


def run(bench: Bench) -> Section:
    """Targets: the interval holds in 93 % of the draws of 10 and 20 photos per label, the forecast in 90 %."""
    inspected = embedded(bench)
    fewest = min(inspected.per_label.values())
    rows, intervals, forecasts = [], [], []
    for per_label in PER_LABEL:
        if per_label + LEAST_LEFT > fewest:
            continue
        draws = [one_draw(inspected, per_label, seed) for seed in range(4 if bench.quick else DRAWS)]
        held = [each[0] for each in draws]
        said = [each[2] for each in draws if each[2] is not None]
        widths = [each[3] for each in draws if each[3] is not None]
        intervals += held if per_label in INTERVAL_AT else []
        forecasts += said
        rows.append(
            [
                str(per_label),
                f"{sum(held)} of {len(held)}",
                f"{100 * np.mean([each[1] for each in draws]):.1f}",
                f"{sum(said)} of {len(said)}",
                f"{100 * np.mean(widths):.1f}" if widths else "",
            ]
        )
    heads = ["photos per label", "interval held", "width, points", "forecast held, of those made", "width, points"]
    text = f"{len(inspected.images)} photos of {len(inspected.labels)} labels, the built-in network, linear head.\n\n"
    text += table(heads, rows)
    return Section(title="What is said of the accuracy", text=text, targets=_targets(intervals, forecasts))


def _targets(intervals: list[bool], forecasts: list[bool]) -> list[Target]:
    parts = (
        ("the 95 % interval, 10 and 20 photos per label", intervals, 0.93),
        ("the forecast for more photos", forecasts, 0.9),
    )
    return [
        judged(
            what,
            f"holds in {least:.0%} of the draws",
            f"{np.mean(held):.1%} of {len(held)}",
            reached=bool(np.mean(held) >= least),
            why="training/LOG.md, what is said of the accuracy, has the sets that it was set on",
        )
        for what, held, least in parts
        if held
    ]
