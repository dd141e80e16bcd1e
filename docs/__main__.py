"""Renews what is generated in README.md and docs/.

python -m docs tables               the tables of flags, settings, calls, errors and metrics: seconds
python -m docs examples [NAME ...]  the output of commands, from a run on generated photos: a minute; without names,
                                    all but the slow one (compare: some minutes)
python -m docs pictures             docs/images/, from generated photos: two minutes; needs Chromium or Chrome
"""

from __future__ import annotations

import argparse
import sys

from docs import examples, pictures, tables


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("tables", "examples", "pictures"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(examples.EXAMPLES)}")
    asked = parser.parse_args()
    if wrong := set(asked.names) - (set(examples.EXAMPLES) if asked.kind == "examples" else set()):
        parser.error(f"{', '.join(sorted(wrong))}: no such example; {', '.join(examples.EXAMPLES)} are allowed")
    if asked.kind == "tables":
        tables.renew()
    elif asked.kind == "examples":
        examples.renew(asked.names)
    else:
        pictures.renew()
    return 0


if __name__ == "__main__":
    sys.exit(main())
