"""Every benchmark exists, and how measurements become tables."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import NAMES, targets_table, with_section
from benchmarks.limits import folder_limit
from benchmarks.sections import Section, judged
from benchmarks.timing import Measured, alternate


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_can_be_called_alone(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").run)


def test_contenders_take_turns() -> None:
    calls: list[str] = []

    def called(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    measured = alternate({"a": lambda: called("a"), "b": lambda: called("b")}, 3)
    assert calls == list("ababab")
    assert measured["a"] == Measured((1, 3, 5))
    assert str(measured["a"]) == "3 (1 to 5)"


def test_the_times_of_network_and_decoding_on_the_same_cores_add_up() -> None:
    assert folder_limit(network=100, decode=100) == pytest.approx(50)


def test_a_missed_target_keeps_its_reason_and_a_reached_one_does_not() -> None:
    rows = [judged("this", "2 times", "1 times", reached=False, why="it is slow")]
    rows += [judged("that", "2 times", "3 times", reached=True, why="it is slow")]
    text = targets_table(rows)
    assert "| missed: it is slow |" in text
    assert "| reached |" in text


def test_one_benchmark_in_a_new_checkout_leaves_the_results_of_others() -> None:
    row = judged("that", "2 times", "3 times", reached=True, why="")
    other = Section(title="Other", text="It was.", targets=[row], measured_at="then")
    text = with_section(f"# Results\n\n## The targets\n\n{targets_table([row])}\n\n## First\n\nSo it was.\n", other)
    anew = other.model_copy(update={"text": "It is.", "targets": [row.model_copy(update={"measured": "4 times"})]})
    again = with_section(text, anew)
    assert "## First\n\nSo it was.\n" in again
    assert again.count("## Other") == 1
    assert again.count("| that |") == 1
    assert "It was." in text
    assert "It is." in again
    assert "It was." not in again.replace("So it was.", "")
    assert "4 times" in again
    assert "3 times" not in again
