"""The Ray engine: a manifest of photos goes in, actors fetch, decode and predict, small rows come out.

Pixels never enter Ray's object store: an actor runs handful's own pipeline on its cores or its GPU, and what passes
between processes are names and rows. The driver appends each row to the same journal as the local engine, so that a run
which was killed goes on, on Ray or without. (Ray's own checkpoints would hold all finished paths in memory.)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.disk_set import DiskSet
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.label_names import in_one_form
from handful.service.artifact.limits import MEGABYTES_VARIABLE, MEGAPIXELS_VARIABLE
from handful.service.classify.given import GivenPhotos, Photo, fetched_ahead
from handful.service.classify.given import given as parsed
from handful.service.classify.ray_cluster import ActorPool, RaySettings, actor_pool, cluster
from handful.service.classify.result_files import Row, columns, parquet_schema, result_row

if TYPE_CHECKING:
    import pyarrow as pa
    from handful.service.artifact.card import ModelCard

MOST_FILE_ROWS = 2048  # of the manifest: the photos of one task, whose answers come back at once
TASKS_PER_ACTOR = 4  # at least, so that all have work to the end
LEFT_BEHIND = ("report",)  # of an artifact: not needed to answer


class RowsFromRay:
    """In any order. The manifest lies in a temporary folder, or beside `out` where the cluster is not started here."""

    def __init__(
        self,
        card: ModelCard,
        artifact: Path,
        sources: GivenPhotos,
        out: Path,
        settings: RaySettings,
        *,
        total: int,
        tta: bool,
    ) -> None:
        """`total` is the number of photos of the whole run, which decides how the network is computed."""
        self.card, self.labels, self.sources, self.tta = card, in_one_form(card.labels), sources, tta
        self._artifact, self._out, self._settings, self._total = artifact, out, settings, total
        self._engines: set[str] = set()

    @property
    def engine(self) -> str:
        """Those of all actors; nodes of different kinds may have different ones."""
        return ", ".join(sorted(self._engines))

    def rows(self, photos: Iterator[Photo]) -> Generator[Row]:
        with self._manifest() as folder, cluster():
            pool = actor_pool(self._settings)
            rows = min(MOST_FILE_ROWS, max(16, -(-self._total // (TASKS_PER_ACTOR * pool.actors))))
            files, seen = self._write_manifest(photos, folder, rows), DiskSet()
            for table in self._run(pool, folder, files) if files else ():
                self._engines.update(table["engine"].unique().to_pylist())
                for row in table.drop_columns("engine").to_pylist():
                    if seen.add(row["path"]):  # a task that Ray repeats must not double its rows
                        yield self._plain(row)

    @contextmanager
    def _manifest(self) -> Iterator[Path]:
        """Its folder; beside `out` it has one name, so that a run which goes on takes away what a killed one left."""
        if not os.environ.get("RAY_ADDRESS"):
            with tempfile.TemporaryDirectory(prefix="handful-manifest-") as name:
                yield Path(name)
            return
        folder = self._out.with_name(f".{self._out.name}.manifest")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)  # a network file system may keep what another node has open
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_manifest(self, photos: Iterator[Photo], folder: Path, rows: int) -> int:
        """Files of so many names and places each; returns how many files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = 0
        while some := list(islice(photos, rows)):
            names = [self.sources.name(photo) for photo in some]
            places = [os.fsencode(photo.absolute() if isinstance(photo, Path) else photo.url) for photo in some]
            pq.write_table(pa.table({"path": names, "place": places}), folder / _file_name(files))
            files += 1
        return files

    def _run(self, pool: ActorPool, folder: Path, files: int) -> Iterator[pa.Table]:
        """The rows of one file of the manifest after another, in the order in which actors finish them.

        Ray gets a block per file, with its name: a task that reads would wait for a core which the actors hold.
        """
        import pyarrow as pa
        import ray
        from ray.data import ActorPoolStrategy, from_arrow

        limits = {name: os.environ[name] for name in (MEGABYTES_VARIABLE, MEGAPIXELS_VARIABLE) if name in os.environ}
        files_of_model = _files(self._artifact)
        key, artifact = _key(files_of_model), ray.put(files_of_model)  # held here until all rows have come
        names = [pa.table({"file": [str(folder.absolute() / _file_name(number))]}) for number in range(files)]
        answers = from_arrow(names).map_batches(
            RayClassifier,
            fn_constructor_args=[key, artifact, self._total, pool.cpus, self.tta, limits],
            compute=ActorPoolStrategy(min_size=1, max_size=pool.actors),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
        )
        try:
            yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
        except ray.exceptions.RayError as e:  # such as a model that no actor can load
            raise UsageError(f"Ray could not go on: {str(e).strip().splitlines()[-1][:300]}") from e

    def _plain(self, row: Row) -> Row:
        """As the local engine gives it: a failed photo has only a path and an error."""
        if row["error"]:
            return {"path": row["path"], "label": "", "error": row["error"]}
        return {name: row[name] for name in columns(self.labels)}


class RayClassifier:
    """An actor: the model in memory, files of the manifest -> rows."""

    def __init__(
        self,
        key: str,
        files: Any,
        total: int,
        cpus: float,
        tta: bool,  # noqa: FBT001 - Ray passes it by its place
        limits: Mapping[str, str],
    ) -> None:
        """`files` is the artifact in the object store, `key` the hash of its content; it is written once per node."""
        import ray

        os.environ.update(limits)
        from handful.service.compute.device import limit_cpus
        from handful.service.lean.engines import classifier_of, fastest_classifier

        limit_cpus(max(1, int(cpus)))
        artifact = _on_this_node(key, lambda: ray.get(files))
        self.classifier = classifier_of(artifact) if tta else fastest_classifier(artifact, total, even=True)
        self.classifier.make_even()
        self._tta = tta

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        batch = pa.concat_tables([pq.read_table(file, partitioning=None) for file in batch["file"].to_pylist()])
        names = batch["path"].to_pylist()
        photos = [parsed(os.fsdecode(place)) for place in batch["place"].to_pylist()]
        rows = [
            result_row(name, result, self.classifier.labels)
            for name, result in zip(names, self._results(photos), strict=True)
        ]
        table = pa.Table.from_pylist(rows, parquet_schema(columns(self.classifier.labels)))
        return table.append_column("engine", [[self.classifier.engine_label] * len(rows)])

    def _results(self, photos: list[Photo]) -> Iterator[Any]:
        """One bad photo must not end a run of millions, whatever a decoder does with it."""
        try:
            yield from [result for _, result in self.classifier.classify(fetched_ahead(photos), tta=self._tta)]
        except Exception as e:  # noqa: BLE001
            if len(photos) == 1:
                yield ImageError(f"{type(e).__name__}: {' '.join(str(e).split())[:200]}")
            else:
                for photo in photos:
                    yield from self._results([photo])


def _file_name(number: int) -> str:
    return f"{number:08}.parquet"


def _files(artifact: Path) -> dict[str, bytes]:
    paths = {path.relative_to(artifact): path for path in artifact.rglob("*") if path.is_file()}
    return {name.as_posix(): path.read_bytes() for name, path in paths.items() if name.parts[0] not in LEFT_BEHIND}


def _key(files: Mapping[str, bytes]) -> str:
    """Of the content: Ray gives the same number to objects of different clusters."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def _on_this_node(key: str, files: Callable[[], dict[str, bytes]]) -> Path:
    """The artifact's folder, which the first actor of a node writes."""
    folder = Path(tempfile.gettempdir()) / f"handful-ray-{os.getuid() if hasattr(os, 'getuid') else 0}-{key}"
    if not folder.is_dir() or _is_foreign(folder):
        partial_folder = Path(tempfile.mkdtemp(prefix="handful-ray-"))
        for name, data in files().items():
            path = partial_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            partial_folder.rename(folder)
        except OSError:  # another actor was first
            if _is_foreign(folder):
                return partial_folder
            shutil.rmtree(partial_folder, ignore_errors=True)
    return folder


def _is_foreign(folder: Path) -> bool:
    """Whether another user made it, who could change it."""
    return hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()
