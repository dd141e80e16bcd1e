"""Classifying a folder with the same network: handful, its peers, and the limit of decoding plus network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import photos
from benchmarks.bench import Bench, PeerFailed
from benchmarks.limits import decode_rate, folder_limit, network_limit
from benchmarks.networks import backbone_folder, flops, random_backbone
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import Measured, short, table

SIDE = 224

PLAIN = "handful classify"
DEFAULT = ", default precision"  # float32
INT8 = "handful classify, trained with --int8"


def trained(bench: Bench) -> Path:
    """Trains a ResNet-18 with a linear head; returns its artifact's folder, which timm can open, too."""
    return Path(_trained(bench, "resnet18")["path"])


def trained_with_int8(bench: Bench) -> str:
    """Trains the same with `--int8`, as `int8`; returns a sentence on whether int8 was kept."""
    trial = _trained(bench, "int8", "--int8")["int8"]
    kept = "kept" if trial["kept"] else "not kept, so that row is bfloat16, too"
    return f"8-bit integers were {kept}: {trial['reason']}."


def _trained(bench: Bench, name: str, *more: str) -> dict[str, Any]:
    train, _ = photos.train_and_test(bench)
    backbone = backbone_folder("resnet18", SIDE)
    answer: dict[str, Any] = bench.handful(
        "train", train, "--name", name, "--backbone", backbone, "--head", "linear", *more
    )
    return answer


def contenders(bench: Bench, artifact: Path, folder: Path) -> dict[str, Callable[[], float]]:
    """Ways to classify the folder, each returning images per second without process start and model loading."""
    out = bench.scratch("classified") / "rows.csv"

    def ours(name: str) -> float:
        answer = bench.handful("classify", folder, "--out", out, "--model", name)
        return float(answer["images"] / answer["seconds"])

    def peer(script: str, *arguments: str | Path) -> float:
        answer = bench.peer(script, *arguments, folder)
        return float(answer["images"] / answer["seconds"])

    return {
        PLAIN: partial(ours, "resnet18"),
        INT8: partial(ours, "int8"),
        f"timm loader{DEFAULT}": partial(peer, "timm_loader", artifact, "float32"),
        "timm loader, bfloat16": partial(peer, "timm_loader", artifact, "bfloat16"),
        f"transformers pipeline{DEFAULT}": partial(peer, "transformers_pipeline", artifact, "float32"),
        "transformers pipeline, bfloat16": partial(peer, "transformers_pipeline", artifact, "bfloat16"),
        f"Ultralytics predict{DEFAULT}": partial(peer, "ultralytics_predict", str(SIDE)),
    }


def compare(bench: Bench, artifact: Path, folder: Path, limit: float) -> tuple[str, dict[str, Measured], list[str]]:
    """A table with ratios, the rates by way, and a sentence on each way that cannot run here."""
    values: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    ways = contenders(bench, artifact, folder)
    for _ in range(bench.repeats):
        for name in [name for name in ways if name not in missing]:
            try:
                values.setdefault(name, []).append(ways[name]())
            except PeerFailed as e:
                missing[name] = f"{name} could not run here: {e}."
    rates = {name: Measured(tuple(each)) for name, each in values.items() if each}
    ours = rates[PLAIN].median
    rows = [[name, r, f"{ours / r.median:.2f}", f"{r.median / limit:.0%}"] for name, r in rates.items()]
    return (
        table(["way", "images/s", "handful's speed-up", "of the limit in bfloat16"], rows),
        rates,
        [*missing.values()],
    )


def measured(bench: Bench, artifact: Path, title: str, files: list[Path], images: int) -> tuple[str, list[Target]]:
    """The text and the targets for one set of photos."""
    folder = photos.many(files, images, bench.scratch(f"many-{images}"))
    network, decode = network_limit(flops(random_backbone("resnet18"), SIDE)), decode_rate(files, SIDE)
    limit = folder_limit(network, decode)
    text, rates, missing = compare(bench, artifact, folder, limit)
    ours, int8 = (rates[name].median for name in (PLAIN, INT8))
    best, default = (
        max((r.median for k, r in rates.items() if _is_peer(k, kind)), default=0.0) for kind in ("", DEFAULT)
    )
    intro = (
        f"{images} {title}, resnet18 at {SIDE} pixels. Network alone at most {short(network)} images/s, decoding"
        f" {short(decode)}; on the same cores at most {short(limit)}."
    )
    targets = [
        judged(
            f"classify, {title}",
            "85 % of the limit",
            f"{ours / limit:.0%} of what network and decoding allow on the same cores,"
            f" {ours / min(network, decode):.0%} of the slower of them",
            reached=ours >= 0.85 * limit,
            why="resizing, normalising and start-up of the pipeline are not in the limit",
        ),
        judged(
            f"classify against timm, Ultralytics, transformers, {title}",
            "2.5 times the best",
            f"with --int8 {int8 / best:.2f} times the best of them in any precision, in bfloat16"
            f" {ours / best:.2f} times; against their default precisions {int8 / default:.2f} and"
            f" {ours / default:.2f} times"
            if best and default
            else "no peer ran",
            reached=bool(best) and max(ours, int8) >= 2.5 * best,
            why="the best of them can also run the same network in bfloat16; on a processor with few cores the network"
            " takes nearly all of the time, and nothing can be faster than its limit",
        ),
    ]
    return "\n\n".join([intro, text, *missing]), targets


def _is_peer(name: str, kind: str) -> bool:
    """Whether a way is a peer's and its name ends in `kind`."""
    return name not in {PLAIN, INT8} and name.endswith(kind)


def run(bench: Bench) -> Section:
    """Targets: 85 % of the limit, 2.5 times the best peer."""
    artifact = trained(bench)
    int8_kept = trained_with_int8(bench)
    web = photos.files_below(photos.source(bench))
    sets = [("photos", web, 96 if bench.quick else 480)]
    sets += [("12-megapixel photos", photos.phone_photos(), 16 if bench.quick else 64)]
    parts = [measured(bench, artifact, *each) for each in sets]
    targets = [target for _, part_targets in parts for target in part_targets]
    return Section(
        title="Classifying a folder", text="\n\n".join([*(text for text, _ in parts), int8_kept]), targets=targets
    )
