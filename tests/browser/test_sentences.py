"""What the service says about a model, in the language of the page: all that verdict, gate and forecast can say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from handful.service.artifact.card import ForecastCard
from handful.service.artifact.verdict import Trend, verdict_on, verdict_on_one
from handful.training.metrics import wilson_interval
from handful.training.retraining.gate import AnswersToCompare, GivenCorrections, decide
from handful.training.retraining.refusals import objection_to_refusals

LABELS = ("bags (old)", "shoes. New: 2.5 cm?", "caps")


def verdicts() -> Iterator[str]:
    """Of confusions from chance to perfect, level and lopsided, few and many photos, two and three labels."""
    rng = np.random.default_rng(0)
    trends: tuple[Trend | None, ...] = ("rising", "flat", None)
    for count, share, most, trend in itertools.product((2, 3), (0.3, 0.6, 0.8, 0.93, 1), (6, 60, 900), trends):
        for counts in ([most] * count, [most, *[max(most // 8, 2)] * (count - 1)]):
            confusion = np.array(
                [rng.multinomial(each, _row(number, count, share)) for number, each in enumerate(counts)]
            )
            swallowed = confusion.copy()
            swallowed[-1] = np.eye(count, dtype=int)[0] * counts[-1]
            for table in (confusion, swallowed):
                interval = wilson_interval(int(table.trace()), int(table.sum()))
                yield verdict_on(LABELS[:count], table.tolist(), interval, trend).sentence
    yield verdict_on_one("bags", 0.975).sentence
    yield verdict_on_one("bags", 0.9, (0.5, 12)).sentence


def _row(number: int, count: int, share: float) -> np.ndarray:
    row = np.full(count, (1 - share) / (count - 1))
    row[number] = share
    return row


def reasons() -> Iterator[str]:
    """Of the gate: new labels that contradict, what was known forgotten, worse together, nothing gained, not worse."""
    labels = np.tile([0, 1], 40)
    wrong = 1 - labels
    few = np.where(np.arange(80) < 3, wrong, labels)
    for known, new in itertools.product((labels, wrong, few), (labels, wrong, few, None)):
        old = compared(labels, labels, known)
        added = compared(labels[:0], labels[:0], labels[:0]) if new is None else compared(labels, labels, new)
        for corrections in (None, GivenCorrections(3, 1, settled=True)):
            yield decide("colours:1", old, added, corrections)[0].reason
    yield decide("colours:1", compared(labels, labels, labels), compared(labels, wrong, labels))[0].reason
    nothing = compared(labels[:0], labels[:0], labels[:0])
    yield decide("colours:1", nothing, nothing)[0].reason
    yield decide("colours:1", nothing, compared(labels, labels, labels))[0].reason
    refused, answered = np.ones(20, bool), np.zeros(20, bool)
    for new_rows in (np.ones(20, bool), answered):
        yield objection_to_refusals(refused, answered, new_rows) or ""
    yield objection_to_refusals(refused, np.arange(20) > 8, answered) or ""


def compared(labels: np.ndarray, champion: np.ndarray, challenger: np.ndarray) -> AnswersToCompare:
    sure = np.array([[0.95, 0.05], [0.05, 0.95]])
    return AnswersToCompare(labels, np.array([True, True]), sure[champion], sure[challenger])


@pytest.mark.browser
def test_every_sentence_about_a_model_is_said_in_german(visit: Callable[..., Any]) -> None:
    gates = list(reasons())
    refusals = " Of 31 photos of no label it answers 30 with unknown, the champion 29."
    said = {
        *verdicts(),
        *gates,
        *[each + refusals for each in gates if each.startswith("Not worse")],
        *[f"--promote always was given. {each}" for each in gates],
        ForecastCard(more_per_label=20, accuracy=0.97, accuracy_ci95=(0.9, 0.99)).sentence,
    }
    assert len(said) > 60
    page = visit(locale="de-DE")
    own = page.evaluate(
        "said => import('/page/text.js').then(({inOwnWords}) => said.map(each => [each, inOwnWords(each)]))",
        sorted(said),
    )
    assert [each for each, german in own if not german] == []
    assert [each for each, german in own if "{" in german or "undefined" in german] == []
    assert any("am häufigsten „bags (old)“" in german for _, german in own)
    assert len({german[:24] for _, german in own}) > 15
    assert page.evaluate("import('/page/text.js').then(({inOwnWords}) => inOwnWords('It rains.'))") is None
