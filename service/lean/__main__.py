"""Measures which engine is the fastest for a model, and keeps its network if that is OpenVINO.

python -m handful.service.lean FOLDER

A process of its own, because torch stays in the memory of a process that has imported it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from handful.service.lean.engines import fastest_classifier


def main() -> None:
    fastest_classifier(Path(sys.argv[1]), None)


if __name__ == "__main__":
    main()
