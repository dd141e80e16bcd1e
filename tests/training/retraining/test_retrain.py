"""`retrain` learns new photos on top of what the champion knows, and replaces it only by what is not worse."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from commands import Command
from conftest import COLOURS, home_at, write_photo
from handful.service.artifact.card import FineTuneCard
from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.folder import WEIGHTS, file_sha256, open_artifact
from handful.service.artifact.images import read_image
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.training.cli import retrain
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.command import retrain_folder
from handful.training.settings import RetrainSettings, TrainSettings
from handful.training.train import train_folder
from PIL import Image
from running_server import publish_copy

THREE = {**COLOURS, "green": (30, 200, 40)}


@pytest.fixture
def own(tmp_path: Path, home: Path) -> Path:
    """A HANDFUL_HOME of its own with `colours:1`, without the cache: nothing is left of the old photos."""
    shutil.copytree(home / "models", tmp_path / "home/models")
    return tmp_path / "home"


def new_photos(folder: Path, per_label: int, seed: int = 5000, **called: str) -> Path:
    """Each colour in a folder that is called like it, or as said."""
    for label, (name, colour) in enumerate(THREE.items()):
        if name in called or not called:
            for number in range(per_label):
                write_photo(folder / called.get(name, name) / f"{number}.png", colour, seed + 100 * label + number)
    return folder


def two(folder: Path, per_label: int, seed: int = 5000) -> Path:
    return new_photos(folder, per_label, seed, blue="blue", red="red")


def run(folder: Path | None, home: Path, **settings: Any) -> dict[str, Any]:
    with home_at(home):
        return retrain_folder(folder, RetrainSettings(**settings))[0]


@pytest.fixture(scope="module")
def grown(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with the champion and what it became with six photos more of each label, for reading; and the result."""
    folder = tmp_path_factory.mktemp("grown")
    shutil.copytree(home / "models", folder / "home/models")
    return folder / "home", run(two(folder / "new", 6), folder / "home")


def test_new_photos_are_learned_without_the_old_ones(grown: tuple[Path, dict[str, Any]]) -> None:
    own, result = grown
    assert result["model"] == "colours:2"
    assert result["previous"] == "colours:1"
    assert (result["new"], result["known"], result["relabelled"]) == (12, 0, [])
    per_label = {"blue": 18, "red": 18}
    assert result["images"] == {
        "found": 36,
        "used": 36,
        "skipped": 0,
        "left_out": {},
        "other": 0,
        "per_label": per_label,
    }
    assert result["promoted"], result["reason"]
    assert result["champion"]["known"]["images"] == 24
    assert result["challenger"]["new"] == {"images": 12, "accuracy": 1.0, **_log_loss(result["challenger"]["new"])}
    card = open_artifact(Store(own).resolve("colours")).card
    assert card.model == "colours:2"
    assert card.parent == "colours:1"
    assert card.gate
    assert card.gate.reason == result["reason"]


def _log_loss(side: dict[str, float]) -> dict[str, float]:
    return {"log_loss": side["log_loss"]}


def test_old_and_new_photos_have_a_thumbnail_and_a_name(grown: tuple[Path, dict[str, Any]]) -> None:
    """Those of the known photos are the old ones, though no file of theirs is at hand; the report shows both."""
    own, result = grown
    before, after = (open_artifact(own / f"models/colours/{number}").thumbnails() for number in (1, 2))
    assert (len(before), len(after)) == (24, 36)
    assert after[:24] == before
    assert {each.name for each in before} >= {"blue/00.jpg", "blue/01.png", "red/00.jpg"}
    assert {each.name for each in after[24:30]} == {f"blue/{number}.png" for number in range(6)}
    assert all(max(read_image(each.jpeg).size) <= 96 for each in after)
    report = Path(result["report"]).read_text(encoding="utf-8")
    assert report.count("The photo is not available.") == 0
    assert "learned from 36 photos: 24 learned before and 12 new" in " ".join(report.split())


def test_known_photos_keep_their_folds_and_embeddings(grown: tuple[Path, dict[str, Any]]) -> None:
    own, _ = grown
    before = open_artifact(own / "models/colours/1").embeddings()
    after = open_artifact(own / "models/colours/2").embeddings()
    for each in ("embeddings", "hashes", "pictures", "folds"):
        assert np.array_equal(before[each], after[each][:24]), each
    assert len(after["embeddings"]) == 36


def test_a_known_photo_is_recognised_even_as_another_file(own: Path, photos: Path, tmp_path: Path) -> None:
    new = two(tmp_path / "new", 3)
    shutil.copy(photos / "red/00.jpg", new / "red/again.jpg")
    Image.open(photos / "red/01.png").save(new / "red/resaved.bmp")
    result = run(new, own)
    assert (result["new"], result["known"], result["images"]["used"]) == (6, 2, 30)
    assert result["images"]["skipped"] == 0


def test_a_photo_whose_label_changed_is_relabelled_and_listed(own: Path, photos: Path, tmp_path: Path) -> None:
    new = two(tmp_path / "new", 4)
    shutil.copy(photos / "red/00.jpg", new / "blue/00.jpg")
    result = run(new, own)
    assert result["relabelled"] == [{"path": "blue/00.jpg", "former": "red", "label": "blue"}]
    assert result["images"]["per_label"] == {"blue": 17, "red": 15}


def test_a_third_label_grows_the_head(own: Path, tmp_path: Path) -> None:
    result = run(new_photos(tmp_path / "new", 8, green="green"), own)
    assert result["labels"] == ["blue", "red", "green"]
    assert result["promoted"], result["reason"]
    classifier = Classifier.load(Store(own).resolve("colours"))
    for name, colour in THREE.items():
        [answer] = classifier.predict(classifier.read(write_photo(tmp_path / f"{name}.png", colour, 77))[None])
        assert classifier.labels[int(np.argmax(answer.probabilities))] == name


def test_a_small_new_label_is_left_out_and_a_small_addition_is_not(own: Path, tmp_path: Path) -> None:
    new = new_photos(tmp_path / "new", 4, green="green", red="red")
    with home_at(own):
        result, problems = retrain_folder(new, RetrainSettings())
    assert result["labels"] == ["blue", "red"]
    assert (result["images"]["found"], result["images"]["used"], result["images"]["skipped"]) == (32, 28, 4)
    assert result["images"]["left_out"] == {"too_few_images": 4}
    assert result["images"]["per_label"] == {"blue": 12, "red": 16}
    assert ("green", "too_few_images") in {(problem.path, problem.kind) for problem in problems}


def test_swapped_labels_leave_the_champion_where_it_is(own: Path, tmp_path: Path) -> None:
    new = new_photos(tmp_path / "new", 6, blue="red", red="blue")
    result = run(new, own)
    assert not result["promoted"]
    assert "labels of the 12 new photos are wrong" in result["reason"]
    assert len(result["suspected"]) == 12
    assert Store(own).versions("colours") == ["1", "2"]
    assert Store(own).champion("colours") == "1"
    assert run(new, own, promote="always")["promoted"]
    assert Store(own).champion("colours") == "3"


def hard_photo(home: Path, folder: Path) -> tuple[Path, str]:
    """A photo between the colours that the champion is not sure of, under the label that it does not answer."""
    classifier = Classifier.load(Store(home).resolve("colours"))
    blue, red = (np.array(COLOURS[name]) for name in ("blue", "red"))
    for share in np.linspace(0.3, 0.7, 81):
        path = write_photo(folder / "hard.png", tuple((blue + share * (red - blue)).astype(int).tolist()), 9)
        [answer] = classifier.predict(classifier.read(path)[None])
        if 0.25 < min(answer.probabilities) < 0.45 and not answer.unknown:
            return path, classifier.labels[int(np.argmin(answer.probabilities))]
    raise AssertionError("no photo is hard for the champion")


def test_a_correction_is_learned_and_what_was_known_stays(own: Path, tmp_path: Path) -> None:
    photo, label = hard_photo(own, tmp_path)
    (tmp_path / "new" / label).mkdir(parents=True)
    shutil.copy(photo, tmp_path / "new" / label)
    result = run(tmp_path / "new", own)
    assert result["promoted"], result["reason"]
    assert (result["corrections"]["given"], result["corrections"]["learned"]) == (1, 1)
    assert "Of 1 photo that the champion answers wrongly it answers 1 rightly" in result["reason"]
    classifier = Classifier.load(Path(result["path"]))
    [answer] = classifier.predict(classifier.read(photo)[None])
    assert answer.label == label
    assert result["challenger"]["known"]["accuracy"] == result["champion"]["known"]["accuracy"]


def test_a_wrong_label_is_held_back_unless_a_person_insists(own: Path, tmp_path: Path) -> None:
    new = new_photos(tmp_path / "new", 1, blue="red")
    with home_at(own):
        result, problems = retrain_folder(new, RetrainSettings())
    [held] = result["corrections"]["held_back"]
    assert (held["path"], held["label"], held["looks_like"]) == ("red/0.png", "red", "blue")
    assert (result["model"], result["promoted"]) == ("colours:1", False)
    assert "--promote always" in result["reason"]
    assert [problem.path for problem in problems if problem.kind == "doubted_label"] == ["red/0.png"]
    insisted = run(new, own, promote="always")
    assert insisted["promoted"]
    assert (insisted["images"]["per_label"]["red"], insisted["corrections"]["given"]) == (13, 1)


def test_wrong_labels_among_right_ones_are_left_out_of_learning(own: Path, tmp_path: Path) -> None:
    new_photos(two(tmp_path / "new", 6), 2, seed=7000, blue="red")  # over two of the reds
    result = run(tmp_path / "new", own)
    assert result["promoted"], result["reason"]
    held = len(result["corrections"]["held_back"])
    assert held in {1, 2}
    assert {each["path"] for each in result["corrections"]["held_back"]} <= {"red/0.png", "red/1.png"}
    assert result["images"]["left_out"] == {"doubted_label": held}
    assert result["images"]["per_label"] == {"blue": 18, "red": 18 - held}
    assert "held back" in " ".join(Path(result["report"]).read_text(encoding="utf-8").split())


def test_never_is_never(own: Path, tmp_path: Path) -> None:
    result = run(two(tmp_path / "new", 4), own, promote="never")
    assert not result["promoted"]
    assert result["gate"]["passed"]
    assert Store(own).champion("colours") == "1"


def test_labels_are_renamed_dropped_and_merged_without_photos(own: Path, tmp_path: Path) -> None:
    run(new_photos(tmp_path / "new", 8, green="green"), own)
    result = run(None, own, rename={"green": "leaf"}, drop=("blue",))
    assert result["images"]["per_label"] == {"red": 12, "leaf": 8}
    assert result["promoted"], result["reason"]
    with pytest.raises(UsageError, match="known labels: red, leaf"):
        run(None, own, drop=("blue",))
    merged = run(None, own, rename={"leaf": "red"})
    assert merged["images"]["per_label"] == {"red": 20}
    assert merged["verdict"]["level"] == "not_yet"


def test_nothing_new_makes_no_version(own: Path, photos: Path) -> None:
    result = run(photos, own)
    assert (result["model"], result["known"], result["promoted"]) == ("colours:1", 24, False)
    assert Store(own).versions("colours") == ["1"]


def test_without_kept_embeddings_it_says_what_it_needs(tmp_path: Path, photos: Path, backbone: Path) -> None:
    settings = TrainSettings(name="colours", backbone=str(backbone), keep_embeddings=False)
    with home_at(tmp_path / "home"):
        result, _ = train_folder(photos, settings)
    artifact = open_artifact(Path(result["path"]))
    assert set(artifact.embeddings()) == {"unknown.directions"}
    assert artifact.thumbnails() == []
    assert not list((tmp_path / "home").rglob("thumbnails*"))
    with closing(sqlite3.connect(tmp_path / "home/cache/embeddings.sqlite3")) as cache:
        assert cache.execute("SELECT count(*) FROM thumbnails").fetchone() == (0,)
    assert not artifact.card.data.embeddings_kept
    with pytest.raises(DataError, match="handful train FOLDER --name colours"):
        run(two(tmp_path / "new", 4), tmp_path / "home")


def test_it_wants_something_to_do(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a folder"):
        run(None, own)
    with pytest.raises(UsageError, match="not there"):
        run(tmp_path / "nowhere", own)


def test_near_duplicates_of_known_photos_stay_in_their_fold(own: Path, photos: Path, tmp_path: Path) -> None:
    new = two(tmp_path / "new", 3)
    image = Image.open(photos / "red/01.png")
    image.putpixel((0, 0), (0, 0, 0))
    image.save(new / "red/touched.png")
    with home_at(own):
        result, problems = retrain_folder(new, RetrainSettings())
    assert ("red/touched.png", "near_duplicate") in {(problem.path, problem.kind) for problem in problems}
    known = ChampionModel.load(Path(result["path"])).known
    rows = {each.content_sha256: row for row, each in enumerate(known.images)}
    old, copy = (rows[file_sha256(path)] for path in (photos / "red/01.png", new / "red/touched.png"))
    assert known.folds is not None
    assert np.array_equal(known.folds[old], known.folds[copy])


def test_a_fine_tuned_champion_remembers_embeddings_by_its_own_weights(artifact: Path) -> None:
    champion = ChampionModel.load(artifact)
    assert champion.weights_sha256 == champion.card.backbone.sha256
    gains = {f"{what}_gain": 0.1 for what in ("accuracy", "log_loss")}
    gains_ci95 = {f"{gain}_ci95": (0.0, 0.2) for gain in gains}
    tuned = FineTuneCard.model_validate({"layer": None, "settings": {}, **gains, **gains_ci95})
    card = champion.card.model_copy(update={"finetune": tuned})
    changed = replace(champion, artifact=replace(champion.artifact, card=card))
    assert changed.weights_sha256 == card.files[WEIGHTS] != card.backbone.sha256


def test_two_at_once_both_publish_and_only_one_that_was_compared_takes_over(own: Path, tmp_path: Path) -> None:
    folders = [two(tmp_path / f"new{each}", 4, 6000 + 1000 * each) for each in range(2)]
    with home_at(own), ThreadPoolExecutor(2) as pool:
        results = [result for result, _ in pool.map(lambda folder: retrain_folder(folder, RetrainSettings()), folders)]
    assert {result["model"] for result in results} == {"colours:2", "colours:3"}
    champion = "colours:1"
    for result in sorted((r for r in results if r["promoted"]), key=lambda r: r["model"]):
        assert result["previous"] == champion
        champion = result["model"]
    assert Store(own).champion("colours") == champion.partition(":")[2] != "1"


def test_a_champion_that_was_not_compared_with_stays(own: Path, artifact: Path) -> None:
    publish_copy(own, artifact)
    store = Store(own)
    assert not store.promote("colours", "2", over="7")
    assert store.champion("colours") == "1"
    assert store.promote("colours", "2", over="1")
    assert store.champion("colours") == "2"


def test_the_command_says_what_it_did_and_exits_by_it(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_HOME", str(own))
    done = CliRunner().invoke(retrain, [str(two(tmp_path / "new", 4)), "--json"])
    assert done.exit_code == 0, done.output
    assert {"previous", "new", "known", "relabelled", "champion", "challenger", "promoted", "reason", "cv"} <= set(
        json.loads(done.stdout)
    )
    swapped = new_photos(tmp_path / "swapped", 6, 8000, blue="red", red="blue")
    done = CliRunner().invoke(retrain, [str(swapped), "--name", "colours"])
    assert done.exit_code == 1
    assert "colours:3 is not in use; colours:2 stays." in done.stdout
    done = CliRunner().invoke(retrain, ["--rename", "red=rouge"])
    assert done.exit_code == 0
    assert "rouge" in done.stdout
    assert CliRunner().invoke(retrain, ["--rename", "red"]).exit_code == 2


@pytest.mark.slow
def test_killed_at_any_moment_the_champion_is_whole_and_the_next_run_works(own: Path, tmp_path: Path) -> None:
    new = two(tmp_path / "new", 4)
    arguments = ("retrain", new, "--name", "colours")
    environment = {"HANDFUL_HOME": str(own)}
    started = time.monotonic()
    assert Command(*arguments, "--promote", "never", environment=environment).wait().returncode == 0
    whole_run = time.monotonic() - started
    moments = random.Random(1)
    for _ in range(4):
        command = Command(*arguments, environment=environment)
        time.sleep(moments.uniform(0.1, 1.0) * whole_run)
        command.kill()
        store = Store(own)
        for version in store.versions("colours"):
            Classifier.load(store.path("colours", version))
        Classifier.load(store.resolve("colours"))
    result = run(two(tmp_path / "newer", 4, 9000), own)
    assert result["promoted"], result["reason"]
