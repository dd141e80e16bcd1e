"""Training and retraining on 160 photos: handful and its peers, same photos, same pretrained network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.bench import CACHE, Bench, PeerFailed
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import Measured, table
from service.artifact.card import json_object

BUILTIN = Path(__file__).parent.parent / "training/builtin"


@dataclass
class Tries:
    """Seconds and accuracy of one way, round by round."""

    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def handful_trains(bench: Bench, train: Path, test: Path) -> tuple[float, float]:
    """Seconds from reading the folder to the published version, and accuracy on photos not seen."""
    shutil.rmtree(bench.home / "cache", ignore_errors=True)
    seconds = bench.handful("train", train, "--name", "learning", "--backbone", "builtin")["seconds"]["total"]
    version = max((bench.home / "models/learning").glob("[0-9]*"), key=lambda p: int(p.name)).name
    measured = bench.handful("evaluate", test, "--model", f"learning:{version}")
    return float(seconds), float(measured["accuracy"])


def peer_trains(bench: Bench, script: str, *arguments: str | Path) -> tuple[float, float]:
    answer = bench.peer(script, *arguments)
    return float(answer["seconds"]), float(answer["accuracy"])


def compare(bench: Bench) -> tuple[str, dict[str, Tries], list[str]]:
    """In turn, round by round."""
    train, test = photos.train_and_test(bench)
    side = str(json_object((BUILTIN / "config.json").read_text())["pretrained_cfg"]["input_size"][1])
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "handful train": lambda: handful_trains(bench, train, test),
        "fastai, fine_tune(4)": lambda: peer_trains(bench, "fastai_finetune", BUILTIN, side, train, test),
        "transformers Trainer, 4 epochs": lambda: peer_trains(bench, "transformers_trainer", BUILTIN, train, test),
        "scikit-learn on embeddings": lambda: peer_trains(bench, "sklearn_embeddings", BUILTIN, train, test),
    }
    tries = {name: Tries() for name in ways}
    missing = []
    for round_number in range(bench.long_repeats):
        for name, run in ways.items():
            try:
                seconds, accuracy = run()
            except PeerFailed as e:
                missing += [f"{name} could not run here: {e}."] if not round_number else []
                continue
            tries[name].seconds.append(seconds)
            tries[name].accuracy.append(accuracy)
    tries = {name: each for name, each in tries.items() if each.seconds}
    ours = Measured(tuple(tries["handful train"].seconds)).median
    rows = []
    for name, each in tries.items():
        took = Measured(tuple(each.seconds))
        right = Measured(tuple(100 * a for a in each.accuracy))
        rows.append([name, took, f"{took.median / ours:.1f}", f"{right} %"])
    head = ["way", "seconds", "handful is so many times as fast", "accuracy on photos not seen"]
    return table(head, rows), tries, missing


def retrain(bench: Bench) -> tuple[str, Target]:
    """A tenth of the photos comes later; training from nothing on all of them, cache emptied, is the comparison."""
    train, _ = photos.train_and_test(bench)
    old, new = bench.scratch("old"), bench.scratch("new")
    for file, number in zip(photos.files_below(train), count(), strict=False):
        photos.place(file, (new if number % 10 == 0 else old) / file.parent.name / file.name)
    whole, further = [], []
    for number in range(bench.repeats):
        name = f"further{number}"
        bench.handful("train", old, "--name", name, "--backbone", "builtin")
        shutil.rmtree(bench.home / "cache", ignore_errors=True)
        further.append(model_seconds(bench.handful("retrain", new, "--name", name)))
        shutil.rmtree(bench.home / "cache", ignore_errors=True)
        whole.append(model_seconds(bench.handful("train", train, "--name", f"whole{number}", "--backbone", "builtin")))
    slow, fast = Measured(tuple(whole)), Measured(tuple(further))
    ratio = slow.median / fast.median
    text = f"With a tenth of the photos new: retrain {fast} s, train from nothing {slow} s, {ratio:.1f} times."
    target = judged(
        "retrain with 10 % new photos, model work",
        "10 times faster than train",
        f"{ratio:.1f} times",
        reached=ratio >= 10,
        why="embedding falls to a tenth, but the heads, the folds and the comparison with the champion are fitted on"
        " all photos; with the small built-in network they weigh as much as the embedding",
    )
    return text, target


def model_seconds(answer: dict[str, Any]) -> float:
    """Embedding and fitting, without the start of a process and the writing of a report."""
    return float(answer["seconds"]["embed"] + answer["seconds"]["fit"])


def run(bench: Bench) -> Section:
    """Targets: 20 times fastai at no lower accuracy, retrain 10 times train."""
    shutil.rmtree(CACHE / "scratch", ignore_errors=True)
    text, tries, missing = compare(bench)
    further, target = retrain(bench)
    targets = [target]
    if fastai := tries.get("fastai, fine_tune(4)"):
        ours = tries["handful train"]
        ratio = Measured(tuple(fastai.seconds)).median / Measured(tuple(ours.seconds)).median
        better = Measured(tuple(ours.accuracy)).median - Measured(tuple(fastai.accuracy)).median
        accuracy = Measured(tuple(ours.accuracy)).median
        targets.append(
            judged(
                "train on 160 photos against fastai's fine_tune(4)",
                "20 times faster, no lower accuracy",
                f"{ratio:.0f} times, accuracy {accuracy:.1%}, {100 * better:+.1f} points",
                reached=ratio >= 20 and better >= 0,
                why="the built-in network is so small that fitting, calibrating and the report weigh more than the"
                " embedding; with the larger networks of the Hub the embedding is nearly all, and the ratio larger",
            )
        )
    intro = "160 photos (80 a label), 80 others to be measured on, the built-in network, every process on all cores."
    return Section(title="Training", text="\n\n".join([intro, text, *missing, further]), targets=targets)
