"""The one-dimensional pair: signals as the paper describes them, and the gap that convolution makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handful.training.ladder.convolution import train_mnist1d_pair
from handful.training.ladder.signals import draw_signals

pytestmark = pytest.mark.slow


def test_signals_are_balanced_standardised_by_the_training_part_and_drawn_by_the_seed() -> None:
    signals = draw_signals(0)
    assert signals.train.shape == (4000, 1, 40)
    assert signals.test.shape == (1000, 1, 40)
    both = np.concatenate([signals.train_labels, signals.test_labels])
    assert (np.bincount(both) == 500).all()
    assert abs(signals.train.mean()) < 1e-3
    assert abs(signals.train.std() - 1) < 1e-3
    assert np.array_equal(signals.test, draw_signals(0).test)
    assert not np.array_equal(signals.test, draw_signals(1).test)


def test_no_test_signal_is_a_training_signal() -> None:
    signals = draw_signals(0, train=300, test=100)
    assert not {row.tobytes() for row in signals.test} & {row.tobytes() for row in signals.train}


def test_convolution_closes_the_gap_between_learned_and_new_signals(tmp_path: Path) -> None:
    result = train_mnist1d_pair(0, tmp_path / "out", epochs=10)
    rows = {row["name"]: row for row in result["rows"]}
    gap = {name: row["train_accuracy"] - row["accuracy"] for name, row in rows.items()}
    assert rows["convolutional"]["parameters"] == 2050
    assert rows["dense"]["parameters"] == 150_185
    assert gap["dense"] > 0.2 > 0.1 > gap["convolutional"]
    assert (tmp_path / "out/mnist1d.png").read_bytes().startswith(b"\x89PNG")
