"""make bench: every benchmark, or those named, and benchmarks/RESULTS.md from all that were ever run here.

python -m benchmarks [NAME ...] [--quick] [--photos FOLDER] [--device cpu|cuda] [--seconds N]
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, photos
from benchmarks.bench import CACHE, HERE, Bench
from benchmarks.sections import Section, Target
from benchmarks.timing import table

NAMES = (
    "limits",
    "network",
    "classify",
    "encodings",
    "learning",
    "intervals",
    "suggesting",
    "labelling",
    "serving",
    "startup",
    "memory",
    "growth",
    "cores",
    "cluster",
    "everywhere",
    "gpu",
)


def main() -> int:
    """Exit status 1: a benchmark failed; the others were run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one round of little; RESULTS.md is left as it is")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="labelled photos instead of generated ones")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="of gpu; default: cuda where there is one; cpu only tries it, in small",
    )
    parser.add_argument("--seconds", type=float, help="of gpu, default: 430; of everywhere, default: until it is done")
    asked = parser.parse_args()
    if wrong := set(asked.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(wrong))}: no such benchmark; {', '.join(NAMES)} are allowed")
    if asked.photos and not asked.photos.is_dir():
        parser.error(f"--photos {asked.photos} is not a folder")
    bench = Bench(
        asked.photos.resolve() if asked.photos else None,
        asked.quick,
        asked.device,
        asked.seconds or 430.0,
        asked.seconds,
    )
    failed = [name for name in asked.names or NAMES if not _run(name, bench)]
    shutil.rmtree(CACHE / "scratch", ignore_errors=True)
    return 1 if failed else 0


def _run(name: str, bench: Bench) -> bool:
    began = machine.busy()
    print(f"## {name}: {began}", flush=True)
    started = time.perf_counter()
    try:
        section: Section = importlib.import_module(f"benchmarks.{name}").run(bench)
    except Exception as e:  # noqa: BLE001 - the other benchmarks are still worth their time
        print(f"{name} failed: {e}", file=sys.stderr, flush=True)
        return False
    seconds = time.perf_counter() - started
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {began} before"
    if not section.measured_at:  # it may be an earlier run's, on a machine with a GPU
        section = section.model_copy(update={"measured_at": when, "seconds": seconds})
    print(f"{section.text}\n\n{targets_table(section.targets)}\n({seconds:.0f} s)\n", flush=True)
    if not bench.quick and bench.device != "cpu":
        kept = CACHE / "results"
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{name}.json").write_text(section.model_dump_json(indent=1))
        before = (HERE / "RESULTS.md").read_text("utf-8")
        measured_here = len(list(kept.glob("*.json"))) > 1
        text = results(bench) if measured_here else with_section(before, section)
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
    return True


def results(bench: Bench) -> str:
    """RESULTS.md from what was kept of each benchmark."""
    kept = {name: CACHE / "results" / f"{name}.json" for name in NAMES}
    sections = [Section.model_validate_json(p.read_text()) for p in kept.values() if p.exists()]
    targets = [target for section in sections for target in section.targets]
    total = sum(section.seconds for section in sections)
    parts = [
        "# Results",
        "Written by `make bench`, not by hand. Medians, in brackets the extremes of the rounds, contenders in turn.",
        f"{machine.described()}\n- photos: {_photos(bench)}\n- {total / 60:.0f} minutes in all",
        "Again: `make bench`, `make bench BENCH=--photos=FOLDER` (one folder a label), `make bench BENCH=--quick`, or"
        " one alone, `.venv/bin/python -m benchmarks network`.",
        *(f"Another machine's: [{path.name}]({path.name})." for path in sorted(HERE.glob("RESULTS-*.md"))),
        "## The targets",
        targets_table(targets),
        *(f"## {s.title}\n\n{s.text}\n\n*{s.measured_at}; {s.seconds:.0f} s*" for s in sections),
    ]
    return "\n\n".join(parts) + "\n"


def with_section(text: str, section: Section) -> str:
    """RESULTS.md with one section more, or anew: for the first benchmark in a checkout, whose others ran elsewhere."""
    head, *parts = text.rstrip().split("\n\n## ")
    written = f"{section.title}\n\n{section.text}\n\n*{section.measured_at}; {section.seconds:.0f} s*"
    titles = [part.partition("\n")[0] for part in parts]
    if section.title in titles:
        parts[titles.index(section.title)] = written
    else:
        parts.append(written)
    if "The targets" in titles:
        at = titles.index("The targets")
        lines, new = parts[at].splitlines(), targets_table(section.targets).splitlines()[2:]
        names = [line.split(" | ")[0] for line in new]
        parts[at] = "\n".join([*(line for line in lines if line.split(" | ")[0] not in names), *new])
    return "\n\n## ".join([head, *parts]) + "\n"


def targets_table(targets: list[Target]) -> str:
    """Every missed one with its reason."""
    said = {True: "reached", False: "missed", None: "not measured"}
    rows = [[t.what, t.target, t.measured, said[t.reached] + (f": {t.why}" if t.why else "")] for t in targets]
    return table(["what", "to reach", "measured", ""], rows) if rows else ""


def _photos(bench: Bench) -> str:
    folder = photos.source(bench)
    labels = {p.name: len(photos.files_below(p)) for p in sorted(folder.iterdir()) if p.is_dir()}
    kind = "a folder that was given" if bench.photos_given else "generated by `handful sample`"
    return f"{kind}, " + ", ".join(f"{count} {name}" for name, count in labels.items())


if __name__ == "__main__":
    sys.exit(main())
