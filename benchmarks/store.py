"""An object store with a folder's photos, as a process: python -m benchmarks.store FOLDER SAID.

SAID gets the environment in which a command finds it, and how many objects a second it gives, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import HERE

THREADS = 16
NEEDED = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "NO_PROXY")


def main() -> None:
    """Serves until it is killed."""
    sys.path.append(str(HERE.parent / "tests"))
    from store_stand_in import object_store  # of tests/

    folder, said = Path(sys.argv[1]), Path(sys.argv[2])
    with object_store() as (_, store):
        names = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            names.append(f"photos/all/{path.relative_to(folder).as_posix()}")
            store.pipe(names[-1], path.read_bytes())
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(store.cat_file, names))
        limit = len(names) / (time.perf_counter() - began)
        partial = said.with_suffix(".part")
        partial.write_text(json.dumps({"environ": {name: os.environ[name] for name in NEEDED}, "limit": limit}))
        partial.rename(said)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
