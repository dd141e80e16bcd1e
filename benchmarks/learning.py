"""Training and retraining on 160 photos: handful and its peers, same photos, same pretrained network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from handful.service.artifact.card import json_object

from benchmarks import photos
from benchmarks.bench import CACHE, Bench, PeerFailed
from benchmarks.networks import backbone_folder
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import Measured, table

SIDE = 224
BUILTIN = Path(__file__).parent.parent / "training/builtin/resnet"


@dataclass
class Tries:
    """Seconds and accuracy of one way in each round."""

    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def handful_trains(bench: Bench, train: Path, test: Path) -> tuple[float, float]:
    """Seconds from reading the folder to the published version, and accuracy on test photos."""
    seconds = seconds_of_training(bench, train, "builtin-resnet")
    version = max((bench.home / "models/learning").glob("[0-9]*"), key=lambda p: int(p.name)).name
    measured = bench.handful("evaluate", test, "--model", f"learning:{version}")
    return seconds, float(measured["accuracy"])


def seconds_of_training(bench: Bench, train: Path, backbone: str | Path) -> float:
    shutil.rmtree(bench.home / "cache", ignore_errors=True)
    answer = bench.handful("train", train, "--name", "learning", "--backbone", backbone)
    return float(answer["seconds"]["total"])


def peer_trains(bench: Bench, script: str, *arguments: str | Path) -> tuple[float, float]:
    answer = bench.peer(script, *arguments)
    return float(answer["seconds"]), float(answer["accuracy"])


def compare(bench: Bench) -> tuple[str, dict[str, Tries], list[str]]:
    """All ways take turns in each round: a table, the measurements by way, and a sentence per way that cannot run."""
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
    head = ["way", "seconds", "handful's speed-up", "accuracy on test photos"]
    return table(head, rows), tries, missing


def larger(bench: Bench) -> tuple[str, float | None]:
    """The same with ResNet-18, a common first choice, and the ratio; with its random weights only speed counts."""
    (train, test), backbone = photos.train_and_test(bench), backbone_folder("resnet18", SIDE)
    ours, theirs = [], []
    for _ in range(bench.long_repeats):
        ours.append(seconds_of_training(bench, train, backbone))
        try:
            theirs.append(peer_trains(bench, "fastai_finetune", backbone, str(SIDE), train, test)[0])
        except PeerFailed as e:
            return f"With resnet18 fastai could not run here: {e}.", None
    slow, fast = Measured(tuple(theirs)), Measured(tuple(ours))
    ratio = slow.median / fast.median
    text = f"With resnet18 at {SIDE} pixels: handful train {fast} s, fastai's fine_tune(4) {slow} s, {ratio:.1f} times."
    return text, ratio


def retrain(bench: Bench) -> tuple[str, Target]:
    """Retrains on a tenth of the photos; compared with training from nothing on all, with an empty cache."""
    train, _ = photos.train_and_test(bench)
    old, new = bench.scratch("old"), bench.scratch("new")
    for file, number in zip(photos.files_below(train), count(), strict=False):
        photos.place(file, (new if number % 10 == 0 else old) / file.parent.name / file.name)
    whole, further = [], []
    for number in range(bench.repeats):
        name = f"further{number}"
        bench.handful("train", old, "--name", name, "--backbone", "builtin-resnet")
        shutil.rmtree(bench.home / "cache", ignore_errors=True)
        further.append(model_seconds(bench.handful("retrain", new, "--name", name)))
        shutil.rmtree(bench.home / "cache", ignore_errors=True)
        whole.append(
            model_seconds(bench.handful("train", train, "--name", f"whole{number}", "--backbone", "builtin-resnet"))
        )
    slow, fast = Measured(tuple(whole)), Measured(tuple(further))
    ratio = slow.median / fast.median
    text = f"With a tenth of the photos new: retrain {fast} s, train from nothing {slow} s, {ratio:.1f} times."
    target = judged(
        "retrain with 10 % new photos, model work",
        "10 times faster than train",
        f"{ratio:.1f} times",
        reached=ratio >= 10,
        why="embedding falls to a tenth, but heads, cross-validation and the comparison with the version in use are"
        " fitted on all photos; with the small built-in network they take as long as embedding",
    )
    return text, target


def model_seconds(answer: dict[str, Any]) -> float:
    """Seconds of embedding and fitting, without process start and report."""
    return float(answer["seconds"]["embed"] + answer["seconds"]["fit"])


def run(bench: Bench) -> Section:
    """Targets: 20 times fastai at no lower accuracy, retrain 10 times train."""
    shutil.rmtree(CACHE / "scratch", ignore_errors=True)
    text, tries, missing = compare(bench)
    with_resnet18, larger_ratio = larger(bench)
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
                f"built-in network {ratio:.1f} times, accuracy {accuracy:.1%}, {100 * better:+.1f} points; resnet18"
                f" {larger_ratio or 0:.1f} times",
                reached=(larger_ratio or 0) >= 20 and better >= 0,
                why="cross-validation, calibration, learning curve and report take two seconds with any network;"
                " the rest is one pass over each photo, against fastai's five, each of about three passes' cost",
            )
        )
    intro = "160 photos (80 per label), 80 test photos, the built-in network, every process on all cores."
    return Section(title="Training", text="\n\n".join([intro, text, *missing, with_resnet18, further]), targets=targets)
