"""How cost grows with images, labels, clients and photo size; one plot each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from handful.service.artifact.preprocessing import Preprocessing
from PIL import Image

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.sections import Section, plot_path
from benchmarks.serving import handful_server, jpegs, load, running
from benchmarks.timing import per_second, short, table

Points = list[tuple[float, float]]


def plot(bench: Bench, name: str, curves: dict[str, Points], x: str, y: str) -> None:
    """Plots the curves on logarithmic axes."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for label, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.grid(visible=True, which="both", alpha=0.25)
    if len(curves) > 1:
        axes.legend()
    figure.tight_layout()
    figure.savefig(plot_path(name, bench), dpi=100)
    plt.close(figure)


def by_images(bench: Bench) -> str:
    """Training with the built-in network, then classify, on 160 to 16,000 different pictures."""
    train, _ = photos.train_and_test(bench)
    parts: dict[str, Points] = {"train: embed": [], "train: fit": [], "train: all": [], "classify": []}
    for images in (160, 480) if bench.quick else (160, 1_600, 16_000):
        folder = photos.different(photos.files_below(train), images, bench.scratch(f"images-{images}"))
        name = f"images{images}"
        seconds = bench.handful("train", folder, "--name", name, "--backbone", "builtin-resnet", "--head", "linear")[
            "seconds"
        ]
        out = bench.scratch("growth-out") / "rows.csv"
        classified = bench.handful("classify", folder, "--out", out, "--model", name)["seconds"]
        for part, value in zip(parts, (seconds["embed"], seconds["fit"], seconds["total"], classified), strict=True):
            parts[part].append((images, value))
    plot(bench, "growth-images", parts, "images", "seconds")
    rows = [[f"{int(n):,}", *(short(parts[p][i][1]) for p in parts)] for i, (n, _) in enumerate(parts["classify"])]
    return "By images (built-in network, linear head), seconds:\n\n" + table(["images", *parts], rows)


def by_labels(bench: Bench) -> str:
    """Training on five pictures per label; the labels are arbitrary, the hardest case for fitting a head."""
    train, _ = photos.train_and_test(bench)
    parts: dict[str, Points] = {"embed": [], "fit": [], "all": []}
    for labels in (2, 10) if bench.quick else (2, 10, 100, 1_000):
        files = photos.files_below(train)
        folder = photos.different(files, 5 * labels, bench.scratch(f"labels-{labels}"), labels)
        answer = bench.handful("train", folder, "--name", f"labels{labels}", "--backbone", "builtin-resnet")
        for part, key in (("embed", "embed"), ("fit", "fit"), ("all", "total")):
            parts[part].append((labels, answer["seconds"][key]))
    plot(bench, "growth-labels", parts, "labels, five pictures each", "seconds of train")
    rows = [[f"{int(n):,}", *(short(parts[p][i][1]) for p in parts)] for i, (n, _) in enumerate(parts["all"])]
    return "By labels (five pictures each, head auto), seconds:\n\n" + table(["labels", *parts], rows)


def by_clients(bench: Bench) -> str:
    """The built-in network over HTTP."""
    train, _ = photos.train_and_test(bench)
    bench.handful("train", train, "--name", "clients", "--backbone", "builtin-resnet")
    folder, rows, curves = jpegs(bench), [], dict[str, Points](rate=[], p50=[], p99=[])
    clients_tried = (1, 8) if bench.quick else (1, 2, 4, 8, 16, 32, 64, 128, 256)
    with running(handful_server(bench, "clients", HANDFUL_MAX_WAITING_IMAGES="512")) as server:
        load(server.port, 8, 1.0, folder)
        for clients in clients_tried:
            answer = load(server.port, clients, 3.0, folder)
            rows.append([clients, *(short(answer[k]) for k in ("rate", "p50", "p95", "p99")), answer["wrong"]])
            for key, points in curves.items():
                points.append((clients, answer[key]))
    shown = {"requests/s": curves["rate"], "p50, ms": curves["p50"], "p99, ms": curves["p99"]}
    plot(bench, "growth-clients", shown, "clients", "requests/s and ms")
    return "By clients (built-in network, JPEG photos):\n\n" + table(
        ["clients", "requests/s", "p50 ms", "p95 ms", "p99 ms", "errors"], rows
    )


def by_photo_size(bench: Bench) -> str:
    """Decoding to the network's input, with and without JPEG's own scaling, on one core."""
    original = Image.open(photos.phone_photos()[0])
    folder, scaled, whole = bench.scratch("sizes"), Points(), Points()
    preprocessing = Preprocessing(side_pixels=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for short_side in (28, 64, 128, 256, 512, 1024, 2048, 3000):
        image = original.resize((short_side * 4 // 3, short_side))
        path = folder / f"{short_side}.jpg"
        image.save(path, quality=92)
        megapixels = image.width * image.height / 1e6
        scaled.append((megapixels, 1000 / per_second(partial(prepare, preprocessing, path), 1)))
        whole.append((megapixels, 1000 / per_second(partial(prepare_whole, preprocessing, path), 1)))
    plot(
        bench, "growth-photo-size", {"as handful decodes": scaled, "decoded whole": whole}, "megapixels", "ms per image"
    )
    rows = [[f"{m:.3g}", short(a), short(b), f"{b / a:.1f}"] for (m, a), (_, b) in zip(scaled, whole, strict=True)]
    return "By photo size (JPEG to 224 pixels, one core), ms:\n\n" + table(
        ["megapixels", "as handful decodes", "decoded whole", "times"], rows
    )


def prepare(preprocessing: Preprocessing, path: Path) -> object:
    return preprocessing(preprocessing.read(path))


def prepare_whole(preprocessing: Preprocessing, path: Path) -> object:
    with Image.open(path) as image:
        return preprocessing(image.convert("RGB"))


def run(bench: Bench) -> Section:
    """No targets: curves."""
    parts: Sequence[str] = [by_images(bench), by_labels(bench), by_clients(bench), by_photo_size(bench)]
    names = ("growth-images", "growth-labels", "growth-clients", "growth-photo-size")
    text = "\n\n".join(f"{part}\n\n![{name}]({name}.png)" for part, name in zip(parts, names, strict=True))
    return Section(title="How cost grows", text=text)
