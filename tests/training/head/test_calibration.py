"""A temperature makes probabilities honest, and never certain."""

import numpy as np
from handful.training.head.calibration import _loss, _loss_of_many, calibrated, fit_temperature
from handful.training.metrics import expected_calibration_error


def test_overconfident_logits_become_calibrated() -> None:
    random = np.random.default_rng(0)
    honest = random.normal(0, 1.5, (4000, 3))
    chances = calibrated(honest, 1.0)
    labels = np.array([random.choice(3, p=row) for row in chances])
    temperature = fit_temperature(honest * 5, labels)
    assert abs(temperature - 5) < 0.4
    assert expected_calibration_error(calibrated(honest * 5, temperature), labels) < 0.03


def test_without_a_mistake_confidence_is_what_the_number_of_photos_supports() -> None:
    for images, confidence in ((5, 6 / 7), (100, 101 / 102)):
        labels = np.repeat([0, 1], images)
        logits = np.where(labels[:, None] == np.arange(2), 30.0, -30.0)
        probabilities = calibrated(logits, fit_temperature(logits, labels))
        assert abs(probabilities.max(axis=1).mean() - confidence) < 0.01


def test_the_likeliest_label_stays_the_likeliest() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    assert np.array_equal(calibrated(logits, 0.3).argmax(axis=1), logits.argmax(axis=1))
    assert np.allclose(calibrated(logits, 0.3).sum(axis=1), 1)


def test_many_logits_are_judged_as_few_are() -> None:
    random = np.random.default_rng(2)
    logits, labels = random.normal(0, 9, (300, 20)).astype(np.float32), random.integers(0, 20, 300)
    for log_temperature in (-6.0, -1.0, 0.0, 2.0, 6.0):
        few, many = _loss(logits, labels)(log_temperature), _loss_of_many(logits, labels)(log_temperature)
        assert np.isclose(few, many, rtol=1e-5)
