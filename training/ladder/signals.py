"""MNIST-1D: ten digits as signals of 40 numbers (Greydanus 2020, "Scaling down deep learning", arXiv:2011.14439).

The signals are generated here, not downloaded. The ten templates, the constants and the order of the steps are the
paper's; the code and the random numbers are not, so these are other signals from the same distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.training.head.labelled import Floats, Labels
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

LENGTH = 40
DIGITS = 10
TRAIN, TEST = 4000, 1000
TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)  # (10, 12)
PADDING = (36, 60)  # numbers of padding after the digit, least and most
LONGEST = TEMPLATES.shape[1] + PADDING[1]  # 72; every padded signal is stretched to it
SCALING = 0.4  # the whole range of the amplitude's variation
MAX_SHIFT = 48  # circular
CORRELATED_NOISE, CORRELATION_LENGTH = 0.25, 2  # outside the digit
NOISE = 0.02
SHEAR = 0.75


@dataclass(frozen=True)
class Signals:
    """Inputs (N, 1, 40) float32, standardised by the training part; labels (N,)."""

    train: Floats
    train_labels: Labels
    test: Floats
    test_labels: Labels


def draw_signals(seed: int, train: int = TRAIN, test: int = TEST) -> Signals:
    """Equally many signals of each digit, shuffled and divided."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(train + test) % DIGITS)
    templates = _unit_deviation(TEMPLATES)
    signals = np.stack([_one_signal(templates[label], random) for label in labels])
    mean, std = signals[:train].mean(), signals[:train].std()
    inputs = ((signals - mean) / std).astype(np.float32)[:, None]
    return Signals(inputs[:train], labels[:train], inputs[train:], labels[train:])


def _unit_deviation(templates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each template with a standard deviation of 1/6, starting at zero."""
    scaled = templates / templates.std(axis=1, keepdims=True)
    return np.asarray((scaled - scaled[:, :1]) / 6)


def _one_signal(template: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """(40,): pad, stretch, scale, shift, add noise, shear, downsample."""
    padded = len(template) + random.integers(PADDING[0], PADDING[1] + 1)
    place = np.linspace(0, padded - 1, LONGEST)  # of each number in the padded template
    digit = place < len(template)
    signal = np.interp(place, np.arange(len(template) + 1), np.append(template, 0.0), right=0.0)
    signal *= 1 + SCALING * (random.random() - 0.5)
    shift = random.integers(MAX_SHIFT)
    signal, digit = np.roll(signal, shift), np.roll(digit, shift)
    wobble = gaussian_filter1d(random.normal(0, CORRELATED_NOISE, LONGEST), CORRELATION_LENGTH)
    signal = np.where(digit, signal, wobble) + random.normal(0, NOISE, LONGEST)
    signal -= SHEAR * (random.random() - 0.5) * np.linspace(-0.5, 0.5, LONGEST)
    return np.asarray(np.interp(np.linspace(0, LONGEST - 1, LENGTH), np.arange(LONGEST), signal))
