"""The Ray engine on one and on two nodes of this machine: the rows of the local engine, whatever is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq
import pytest
from commands import Command, handful
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.service.classify.given import GivenPhotos
from handful.service.classify.local import RowsFromHere, classify_sources
from handful.service.classify.on_ray import RayClassifier, RowsFromRay, _files
from handful.service.classify.ray_cluster import RaySettings

ray = pytest.importorskip("ray")

COPIES = 1500


@pytest.fixture(scope="module")
def many(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to few photos, and two files that are none."""
    folder = tmp_path_factory.mktemp("many")
    originals = sorted(photos.rglob("*.*"))
    for number in range(COPIES):
        (folder / f"{number:05}.jpg").symlink_to(originals[number % len(originals)])
    (folder / "broken.jpg").write_bytes(originals[0].read_bytes()[:100])
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    return folder


@pytest.fixture(scope="module")
def expected(artifact: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    classifier, out = Classifier.load(artifact), tmp_path_factory.mktemp("local") / "rows.parquet"
    classifier.choose_fastest_for(COPIES + 2)
    classifier.network.make_even()
    classify_sources(RowsFromHere(classifier, GivenPhotos([many])), out)
    return sorted_rows(out)


def sorted_rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out).sort_by("path").to_pylist()
    return rows


def test_an_actor_without_ray_gives_rows_and_errors(artifact: Path, photos: Path, tmp_path: Path) -> None:
    """What runs in an actor, called as Ray calls it."""
    classifier = Classifier.load(artifact)
    sources = GivenPhotos([photos / "red/00.jpg", photos / "red/01.png"])
    rows = RowsFromRay(classifier.card, artifact, sources, tmp_path / "x.csv", RaySettings(), total=2, tta=False)
    assert rows._write_manifest(iter([photos / "red/00.jpg", tmp_path / "gone.jpg"]), tmp_path, 100) == 1
    actor = RayClassifier.__new__(RayClassifier)
    actor.classifier, actor._tta = classifier, False
    first, second = actor({"file": ArrowLike([str(tmp_path / "00000000.parquet")])}).to_pylist()
    assert first["label"]
    assert second["error"].startswith("image_unreadable: ")
    assert "report" not in {name.split("/")[0] for name in _files(artifact)}


def test_a_manifest_that_a_killed_command_left_is_replaced(
    artifact: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "203.0.113.1:6379")  # nobody is asked
    out, card = tmp_path / "rows.csv", open_artifact(artifact).card
    left = tmp_path / ".rows.csv.manifest/00000007.parquet"
    left.parent.mkdir()
    left.write_bytes(b"of an earlier run")
    rows = RowsFromRay(card, artifact, GivenPhotos([photos]), out, RaySettings(), total=2, tta=False)
    with rows._manifest() as folder:
        assert folder == left.parent
        assert not list(folder.iterdir())
    assert not list(tmp_path.iterdir())


class ArrowLike:
    def __init__(self, values: list[str]) -> None:
        self._values = values

    def to_pylist(self) -> list[str]:
        return self._values


def test_flags_of_ray_alone(home: Path, photos: Path, tmp_path: Path) -> None:
    for words, said in (
        (["--actor-gpus", "0.5", "--out", tmp_path / "x.csv"], "--actor-gpus is for --engine ray"),
        (["--engine", "ray"], "add --out FILE"),
    ):
        wrong = handful(home, "classify", photos, *words)
        assert wrong.returncode == 2
        assert said in wrong.stderr


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one core each on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False},
    )
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


@pytest.mark.slow
def test_a_killed_actor_and_a_killed_node_lose_and_double_nothing(
    cluster: Any, artifact: Path, many: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    classifier, sources = Classifier.load(artifact), GivenPhotos([many])
    out = tmp_path / "rows.parquet"
    rows = RowsFromRay(classifier.card, artifact, sources, out, RaySettings(), total=COPIES + 2, tta=False)
    worker, killed = cluster.worker_nodes.copy().pop(), []

    def kill() -> None:
        time.sleep(0.2)
        killed.append(kill_actor())
        cluster.remove_node(worker, allow_graceful=False)
        killed.append(worker)

    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        if done == 1:
            threading.Thread(target=kill).start()

    classify_sources(rows, out, progress=progress)
    assert sorted_rows(out) == expected
    assert len(killed) == 2
    assert all(killed)  # an actor was found


def kill_actor() -> int:
    """Kills the process of one actor of this machine's clusters that are descendants of this process."""
    for process in psutil.Process().children(recursive=True):
        if "RayClassifier" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            return int(process.pid)
    return 0


@pytest.mark.slow
def test_a_killed_command_is_resumed(home: Path, many: Path, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    words: list[str | Path] = ["classify", many, "--out", out, "--engine", "ray", "--resume"]
    environment = {"HANDFUL_HOME": str(home), "RAY_ADDRESS": ""}
    running = Command(*words, environment=environment)
    journal = out.with_name("rows.parquet.partial")
    for _ in range(2400):
        if journal.exists() and journal.stat().st_size > 5000:
            break
        assert running.is_alive()
        time.sleep(0.05)
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    assert handful(home, *words, RAY_ADDRESS="").returncode == 1  # two photos could not be read
    assert sorted_rows(out) == expected


@pytest.mark.slow
def test_no_node_has_so_much(cluster: Any, artifact: Path, many: Path, tmp_path: Path) -> None:
    assert cluster
    classifier, sources = Classifier.load(artifact), GivenPhotos([many])
    rows = RowsFromRay(
        classifier.card, artifact, sources, tmp_path / "x.csv", RaySettings(cpus=64), total=COPIES, tta=False
    )
    with pytest.raises(UsageError, match="No node of the Ray cluster has 64 CPUs and 0 GPUs"):
        classify_sources(rows, tmp_path / "x.csv")
