"""While one version is loaded, another one answers in its own thread, and neither notices."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from handful.service.classifier import Classifier


def test_a_version_answers_while_another_one_is_loaded(artifact: Path) -> None:
    serving = Classifier.load(artifact)
    images = torch.rand(4, 3, serving.preprocessing.side_pixels, serving.preprocessing.side_pixels)
    expected = [prediction.probabilities for prediction in serving.predict(images)]
    got, ended = [], threading.Event()

    def answer() -> None:
        while not ended.is_set():
            got.append([prediction.probabilities for prediction in serving.predict(images)])

    thread = threading.Thread(target=answer)
    thread.start()
    loaded = [Classifier.load(artifact) for _ in range(5)]
    for each in loaded:
        each.predict(images)  # what is made when it is first needed
    ended.set()
    thread.join()
    assert len(got) > 5
    assert all(answers == expected for answers in got)
