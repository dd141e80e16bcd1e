"""How sure a model is of its own training photos, as histograms: what later photos are compared with.

The scores are out of fold, each given by a head and label means that had not seen the photo. Scores of photos that were
learned would be surer than any new photo's, and every batch would seem to have moved.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

BINS = 10  # with about as many training photos in each
MOST_BINS = 100  # of a histogram that is read
DIGITS = 6  # of a score, as in the rows of `classify`


class ScoreHistogram(BaseModel):
    """Counts between the deciles of a score; fewer bins where many photos have the same score.

    A bin reaches up to its edge and holds it; the last one has no end. No bin is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[float, ...] = Field(min_length=1, max_length=MOST_BINS - 1, description="ascending")
    counts: tuple[Annotated[int, Field(gt=0)], ...] = Field(description="one more than the edges")

    @model_validator(mode="after")
    def _is_whole(self) -> ScoreHistogram:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts; got {len(self.counts)}")
        if not all(map(math.isfinite, self.edges)) or sorted(set(self.edges)) != list(self.edges):
            raise ValueError("edges must be finite and ascend")
        return self

    @classmethod
    def of(cls, scores: Iterable[float]) -> ScoreHistogram | None:
        """Of one score per photo, without those that are not finite. None where all are the same."""
        ordered = sorted(round(float(score), DIGITS) for score in scores if math.isfinite(score))
        if not ordered or ordered[0] == ordered[-1]:
            return None  # nothing can be told from it
        deciles = [ordered[math.ceil(len(ordered) * part / BINS) - 1] for part in range(1, BINS)]
        edges = sorted({each for each in deciles if each < ordered[-1]}) or [
            ordered[bisect_left(ordered, ordered[-1]) - 1]
        ]
        ends = [*(bisect_right(ordered, edge) for edge in edges), len(ordered)]
        return cls(edges=tuple(edges), counts=tuple(b - a for a, b in zip([0, *ends], ends, strict=False)))

    @property
    def images(self) -> int:
        return sum(self.counts)


class ScoresCard(BaseModel):
    """What `handful drift` and the service compare new photos with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unknown_score: ScoreHistogram = Field(description="above unknown.threshold is unknown")
    confidence: ScoreHistogram | None = Field(None, description="None: of a single label it is always 1")
