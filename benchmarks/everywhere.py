"""One answer everywhere: the same odd photos through every way that handful answers, against the model in float32."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from handful.service.classifier import Classifier
from handful.service.lean.onnx_file import IMAGES

import handful
from benchmarks import machine, photos
from benchmarks.bench import Bench
from benchmarks.client import BOUNDARY
from benchmarks.odd_photos import OddPhotos, as_ten_lines_read, readable
from benchmarks.sections import Section, judged
from benchmarks.serving import Server, free_port, handful_server, running
from benchmarks.timing import table

PHOTOS, QUICK, AT_ONCE = 10_000, 60, 500
CLOSE = 1e-3  # of a probability
WHY = "by ONNX Runtime the file and handful see the same pixels: what differs is the arithmetic, or the decoder"
COMMAND, SERVICE, PYTHON = "command with torch", "service with torch", "Python with torch"
NAME = "everywhere"
Shares = tuple[str | None, tuple[float, ...]]  # the label, None if unknown, and the probability of each label
Answers = Mapping[str, Shares | None]  # by file; None: it could not be read
Way = Callable[[Path, dict[str, str]], Answers]  # a folder, and the kind of each file in it


class Comparison:
    """One way's answers against those in float32."""

    def __init__(self) -> None:
        self.photos, self.changed, self.largest, self.edge, self.unread = 0, list[str](), 0.0, 0.0, 0

    def add(self, name: str, expected: Shares | None, got: Shares | None) -> None:
        self.photos += 1
        if expected is None or got is None:
            self.unread += (expected is None) != (got is None)
            return
        difference = float(np.abs(np.array(expected[1]) - np.array(got[1])).max())
        self.largest = max(self.largest, difference)
        if expected[0] != got[0]:
            self.changed.append(name)
            self.edge = max(self.edge, difference)

    @property
    def same(self) -> bool:
        return not self.changed and not self.unread and self.largest <= CLOSE


def run(bench: Bench) -> Section:
    """Target: the same label in every case, probabilities within 0.001 but for bfloat16's own rounding."""
    train, test = photos.train_and_test(bench)
    bench.handful("train", train, "--name", NAME, "--backbone", "builtin")
    file = bench.scratch("everywhere-file") / "model.onnx"
    bench.handful("export", NAME, str(file))
    source = OddPhotos(photos.files_below(train) + photos.files_below(test))
    began, compared, kinds_seen, done = time.perf_counter(), dict[str, Comparison](), set[str](), 0
    most = QUICK if bench.quick else PHOTOS
    with ExitStack() as stack:
        exact, ways, engines = _ways(bench, file, stack)
        while done < most and (not done or _time_is_left(bench, began, done, most)):
            folder, kinds = _written(bench, source, range(done, min(done + AT_ONCE, most)))
            expected = exact(folder, kinds)
            for way, answer in ways.items():
                each = compared.setdefault(way, Comparison())
                for name, shares in answer(folder, kinds).items():
                    each.add(name, expected[name], shares)
            done += len(kinds)
            kinds_seen |= {*kinds.values()}
            print(
                f"{done} photos, {time.perf_counter() - began:.0f} s: {_short(compared)}", file=sys.stderr, flush=True
            )
    return _section(compared, engines, done, kinds_seen)


def _time_is_left(bench: Bench, began: float, done: int, most: int) -> bool:
    """For so many photos as were last answered at once."""
    passed = time.perf_counter() - began
    return bench.most_seconds is None or passed * (done + min(AT_ONCE, most - done)) / done < bench.most_seconds


def _written(bench: Bench, source: OddPhotos, numbers: range) -> tuple[Path, dict[str, str]]:
    folder = bench.scratch("everywhere")
    return folder, dict(source.write(number, folder) for number in numbers)


def _ways(bench: Bench, file: Path, stack: ExitStack) -> tuple[Way, dict[str, Way], dict[str, str]]:
    """The exact way, the others, and by what each is computed."""
    (artifact,) = bench.home.glob(f"models/{NAME}/1")
    classifier, served = Classifier.load(artifact), Classifier.load(artifact)
    classifier.choose_fastest_for(1)
    served.choose_fastest_for(None)
    lean = handful.load(str(file))
    model, side = handful.load(artifact), classifier.preprocessing.min_decode_side
    labels = classifier.labels
    torch_server = stack.enter_context(running(handful_server(bench, NAME)))
    lean_server = stack.enter_context(running(_lean_server(bench, file)))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    by_hand = _by_hand(session, labels)
    engines = dict[str, str]()
    ways: dict[str, Way] = {
        COMMAND: lambda folder, _: _command(bench, folder, labels, engines, "--model", NAME),
        "command, lean": lambda folder, _: _command(bench, folder, labels, {}, "--onnx", str(file)),
        SERVICE: lambda folder, kinds: _asked(torch_server, folder, kinds, labels),
        "service, lean": lambda folder, kinds: _asked(lean_server, folder, kinds, labels),
        PYTHON: lambda folder, kinds: _python(model, folder, kinds),
        "Python, lean": lambda folder, kinds: _python(lean, folder, kinds),
        "the file by ONNX Runtime, whole photos as handful decodes them": lambda folder, kinds: {
            name: by_hand(image) for name in kinds if (image := readable(folder / name, side)) is not None
        },
        "the ten lines of docs/export.md, of the kinds that Pillow reads alike": lambda folder, kinds: {
            name: by_hand(image)
            for name, kind in kinds.items()
            if (image := as_ten_lines_read(folder / name, kind, side)) is not None
        },
    }
    engines |= dict.fromkeys(ways, lean.classifier.engine_label)
    engines |= {COMMAND: "", SERVICE: served.engine_label, PYTHON: model.classifier.engine_label}
    return _exact(classifier), ways, engines


def _exact(classifier: Classifier) -> Way:
    def answers(folder: Path, kinds: dict[str, str]) -> Answers:
        answered = dict[str, Shares | None]()
        for name in kinds:
            image = readable(folder / name, classifier.preprocessing.min_decode_side)
            if image is None:
                answered[name] = None
                continue
            pixels = classifier.preprocessing(image)[None]
            with torch.inference_mode():
                (each,) = classifier.predict_embeddings(classifier.network.embed_float32(pixels))
            answered[name] = each.label, each.probabilities
        return answered

    return answers


def _command(bench: Bench, folder: Path, labels: tuple[str, ...], engines: dict[str, str], *model: str) -> Answers:
    """It chooses its engine anew each time, and says which."""
    out = bench.scratch("everywhere-out") / "rows.jsonl"
    engines[COMMAND] = bench.handful("classify", folder, "--out", str(out), *model)["engine"]
    return {row["path"]: _of_row(row, labels) for row in map(json.loads, out.read_text("utf-8").splitlines())}


def _of_row(row: dict[str, Any], labels: tuple[str, ...]) -> Shares | None:
    if row["error"]:
        return None
    return row["label"] or None, tuple(row[f"probability_{label}"] for label in labels)


def _python(model: handful.Model, folder: Path, kinds: dict[str, str]) -> Answers:
    return {name: _of_row(row, model.labels) for name, row in _rows(model, folder, kinds)}


def _rows(model: handful.Model, folder: Path, kinds: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    answers = model.classify([folder / name for name in kinds])
    yield from zip(kinds, answers.rows, strict=True)


def _by_hand(session: Any, labels: tuple[str, ...]) -> Callable[[Any], Shares]:
    def answer(image: Any) -> Shares:
        probabilities, _, unknown, _ = session.run(None, {IMAGES: np.asarray(image)[None]})
        label = None if unknown[0] else labels[int(probabilities[0].argmax())]
        return label, tuple(map(float, probabilities[0]))

    return answer


def _lean_server(bench: Bench, file: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "handful", "serve", "--onnx", str(file), "--port", str(port)]
    return Server(command, port, bench.environ())


def _asked(server: Server, folder: Path, kinds: dict[str, str], labels: tuple[str, ...]) -> Answers:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answered = dict[str, Shares | None]()
    for name in kinds:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
        data = head.encode() + (folder / name).read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
        connection.request("POST", "/predict", data, headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        if response.status == http.client.OK:
            shares = {each["label"]: each["probability"] for each in body["predictions"]}
            answered[name] = body["label"], tuple(shares[label] for label in labels)
        else:
            answered[name] = None
    connection.close()
    return answered


def _short(compared: dict[str, Comparison]) -> str:
    return ", ".join(f"{len(each.changed)} at {each.largest:.1g}" for each in compared.values())


def _section(compared: dict[str, Comparison], engines: dict[str, str], done: int, kinds: set[str]) -> Section:
    rows = [
        [
            way,
            engines[way],
            f"{each.photos:,}",
            each.unread,
            f"{len(each.changed)}{f', probabilities within {each.edge:.1g}' if each.changed else ''}",
            f"{each.largest:.2g}",
        ]
        for way, each in compared.items()
    ]
    in_float32 = {way: each for way, each in compared.items() if not engines[way].endswith("bf16")}
    worst = max((each.largest for each in in_float32.values()), default=0.0)
    changed = sum(len(each.changed) + each.unread for each in in_float32.values())
    target = judged(
        "one answer everywhere",
        f"the same label, probabilities within {CLOSE:g} but for bfloat16's own rounding",
        f"{done:,} photos: {changed} labels changed, probabilities within {worst:.2g}",
        reached=all(each.same for each in in_float32.values()),
        why=WHY,
    )
    heading = ["way", "computed by", "photos", "read by one alone", "another label", "largest difference"]
    machine_line = machine.described().splitlines()[0].removeprefix("- ")
    words = (
        f"{done:,} photos in {len(kinds)} kinds of files, from 28 pixels to 48 megapixels, made from a few hundred;"
        " each way against the model in float32 on torch. A model that is computed in bfloat16 rounds: that is said"
        f" apart, and does not count.\n\n{table(heading, rows)}\n\n{machine_line}."
    )
    return Section(title="One answer everywhere", text=words, targets=[target])
