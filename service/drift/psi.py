"""How far photos have moved away from those that a model learned, measured on its own scores.

The population stability index (PSI) of two histograms with shares e and a is the sum of (a - e) ln(a / e), which is
zero for equal ones (N. Siddiqi, Credit Risk Scorecards, 2006, whose lines at 0.1 and 0.25 are the usual ones). It is
never zero by chance: of n and m photos from one distribution it is (1/n + 1/m) times a chi-squared number with bins - 1
degrees of freedom (B. Yurdakul, J. Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation 14, 2020), about (bins - 1) (1/n + 1/m). That much is subtracted before the lines are asked. A verdict
of having moved needs more than chance gives once in a thousand times, since two scores are asked again and again; one
of being steady needs that a far move can be ruled out. Between them there are too few photos to tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from handful.service.artifact.scores import DIGITS, ScoreHistogram
from numpy.typing import ArrayLike, NDArray

DriftLevel = Literal["steady", "too_few", "moved", "far"]  # from the least to the most that is to be told

MOVED, FAR = 0.1, 0.25  # of the index beyond chance
SURE, LIKELY = 3.090, 1.645  # standard normal deviates: one-sided 99.9 % and 95 %
FEW_BINS, ENOUGH_FOR_ALL = 5, 100.0  # n m / (n + m) photos, under which fewer bins tell more
LEVELS: tuple[DriftLevel, ...] = ("steady", "too_few", "moved", "far")


@dataclass(frozen=True)
class ScoreDrift:
    """Of one score; `expected` (B,) and `photos` (B,) are counts of training's photos and of the later ones."""

    expected: NDArray[np.float64]
    photos: NDArray[np.float64]

    @classmethod
    def of(cls, expected: Sequence[float], photos: Sequence[float]) -> ScoreDrift:
        """From the counts of the same bins; neighbours are joined where there are few photos."""
        before, now = np.asarray(expected, np.float64), np.asarray(photos, np.float64)
        if _smaller(before.sum(), now.sum()) < ENOUGH_FOR_ALL:
            group = np.ceil(before.cumsum() * FEW_BINS / before.sum()).astype(int) - 1
            kept = np.unique(group)  # a bin of many photos may fill more than one place
            before, now = (np.bincount(group, each, FEW_BINS)[kept].astype(np.float64) for each in (before, now))
        return cls(before, now)

    @property
    def psi(self) -> float:
        """Half a photo is added to each bin: an empty one would make the index infinite."""
        e, a = ((each + 0.5) / (each + 0.5).sum() for each in (self.expected, self.photos))
        return float(((a - e) * np.log(a / e)).sum())

    @property
    def _freedom(self) -> int:
        return len(self.expected) - 1

    @property
    def _counted(self) -> float:
        """As many independent photos as both sides are worth: 1 / (1/n + 1/m)."""
        return _smaller(self.expected.sum(), self.photos.sum())

    @property
    def by_chance(self) -> float:
        """The index that is to be expected of photos that have not moved; infinite without any photo."""
        return self._freedom / self._counted if self._counted else math.inf

    @property
    def limit(self) -> float:
        """The index that chance exceeds once in a thousand times."""
        return _chi2_limit(self._freedom) / self._counted if self._counted else math.inf

    @property
    def level(self) -> DriftLevel:
        if not self._counted:
            return "too_few"
        beyond = max(0.0, self.psi - self.by_chance)
        if self.psi > self.limit and beyond > MOVED:
            return "far" if beyond > FAR else "moved"
        deviation = math.sqrt(2 * self._freedom + 4 * beyond * self._counted) / self._counted
        return "steady" if beyond + LIKELY * deviation <= FAR else "too_few"

    @property
    def above(self) -> float:
        """The probability that a photo has a higher score than one of training; 0.5 where neither side is higher."""
        e, a = self.expected / self.expected.sum(), self.photos / max(self.photos.sum(), 1)
        return float((a * (e.cumsum() - e / 2)).sum())


def photos_to_tell(training: int) -> int | None:
    """How many later photos usually do; None: no number does, training is too small.

    Twice what rules a far move out where the index is just what chance gives.
    """
    counted = 2 * LIKELY * math.sqrt(2 * (FEW_BINS - 1)) / FAR
    return math.ceil(counted * training / (training - counted)) if training > counted else None


def _chi2_limit(freedom: int) -> float:
    """What a chi-squared number exceeds once in a thousand times, as Wilson and Hilferty approximate it."""
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + SURE * math.sqrt(ninth)) ** 3)


def _smaller(n: float, m: float) -> float:
    return float(n * m / (n + m)) if n and m else 0.0


def bins_of(histogram: ScoreHistogram, scores: ArrayLike) -> NDArray[np.int64]:
    """(N,) the number of the bin of each finite score (N,)."""
    return np.asarray(np.searchsorted(histogram.edges, np.round(np.asarray(scores, np.float64), DIGITS), side="left"))


def worst(levels: Sequence[DriftLevel]) -> DriftLevel:
    """The one that is to be told of several scores."""
    return max(levels, key=LEVELS.index)
