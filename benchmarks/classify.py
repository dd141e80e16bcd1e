"""A folder through the same network: handful and its peers, and the limit of decoding and network together."""

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
AS_IT_IS = ", as it is"  # without a flag for another precision: float32
INTEGERS = "handful classify, trained with --int8"


def trained(bench: Bench) -> Path:
    """A ResNet-18 with a linear head: its artifact's folder, which timm opens, too."""
    return Path(_trained(bench, "resnet18")["path"])


def trained_in_integers(bench: Bench) -> str:
    """The same with `--int8`, as `integers`; a sentence on whether they were kept, as else the row shows bfloat16."""
    found = _trained(bench, "integers", "--int8")["int8"]
    kept = "kept" if found["kept"] else "not kept, so that row is bfloat16, too"
    return f"8-bit integers were {kept}: {found['reason']}."


def _trained(bench: Bench, name: str, *more: str) -> dict[str, Any]:
    train, _ = photos.train_and_test(bench)
    backbone = backbone_folder("resnet18", SIDE)
    answer: dict[str, Any] = bench.handful(
        "train", train, "--name", name, "--backbone", backbone, "--head", "linear", *more
    )
    return answer


def contenders(bench: Bench, artifact: Path, folder: Path) -> dict[str, Callable[[], float]]:
    """Each classifies the folder and tells its images a second, start and loading of the network not counted."""
    out = bench.scratch("classified") / "rows.csv"

    def ours(name: str) -> float:
        answer = bench.handful("classify", folder, "--out", out, "--model", name)
        return float(answer["images"] / answer["seconds"])

    def peer(script: str, *arguments: str | Path) -> float:
        answer = bench.peer(script, *arguments, folder)
        return float(answer["images"] / answer["seconds"])

    return {
        PLAIN: partial(ours, "resnet18"),
        INTEGERS: partial(ours, "integers"),
        f"timm loader{AS_IT_IS}": partial(peer, "timm_loader", artifact, "float32"),
        "timm loader, bfloat16": partial(peer, "timm_loader", artifact, "bfloat16"),
        f"transformers pipeline{AS_IT_IS}": partial(peer, "transformers_pipeline", artifact, "float32"),
        "transformers pipeline, bfloat16": partial(peer, "transformers_pipeline", artifact, "bfloat16"),
        f"Ultralytics predict{AS_IT_IS}": partial(peer, "ultralytics_predict", str(SIDE)),
    }


def compare(bench: Bench, artifact: Path, folder: Path, limit: float) -> tuple[str, dict[str, Measured], list[str]]:
    """A table with ratios; those that cannot run here are named with the reason."""
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
        table(["way", "images/s", "handful is so many times as fast", "of the limit in bfloat16"], rows),
        rates,
        [*missing.values()],
    )


def measured(bench: Bench, artifact: Path, title: str, files: list[Path], images: int) -> tuple[str, list[Target]]:
    """One set of photos."""
    folder = photos.many(files, images, bench.scratch(f"many-{images}"))
    network, decode = network_limit(flops(random_backbone("resnet18"), SIDE)), decode_rate(files, SIDE)
    limit = folder_limit(network, decode)
    text, rates, missing = compare(bench, artifact, folder, limit)
    ours, integers = (rates[name].median for name in (PLAIN, INTEGERS))
    best, as_it_is = (max((r.median for k, r in rates.items() if _is(k, of)), default=0.0) for of in ("", AS_IT_IS))
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
            f"with --int8 {integers / best:.2f} times the best of them in any precision, in bfloat16"
            f" {ours / best:.2f} times; without a flag for a precision, {integers / as_it_is:.2f} and"
            f" {ours / as_it_is:.2f} times"
            if best and as_it_is
            else "no peer ran",
            reached=bool(best) and max(ours, integers) >= 2.5 * best,
            why="the best of them can be told to run the same network in bfloat16, too; on a processor with few cores"
            " the network is nearly all of the time, and no one can be faster than its limit",
        ),
    ]
    return "\n\n".join([intro, text, *missing]), targets


def _is(name: str, of: str) -> bool:
    """Whether a way is a peer's, of that kind."""
    return name not in {PLAIN, INTEGERS} and name.endswith(of)


def run(bench: Bench) -> Section:
    """Targets: 85 % of the limit, 2.5 times the best peer."""
    artifact = trained(bench)
    integers = trained_in_integers(bench)
    web = photos.files_below(photos.source(bench))
    sets = [("photos", web, 96 if bench.quick else 480)]
    sets += [("12-megapixel photos", photos.phone_photos(), 16 if bench.quick else 64)]
    parts = [measured(bench, artifact, *each) for each in sets]
    targets = [target for _, found in parts for target in found]
    return Section(
        title="Classifying a folder", text="\n\n".join([*(text for text, _ in parts), integers]), targets=targets
    )
