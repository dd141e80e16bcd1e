"""Corrected images lie once under their right label, in a folder that training can read."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from handful.service.artifact.atomic import PARTIAL, PARTIAL_KEPT_SECONDS
from handful.service.feedback.folder import FeedbackFolder
from handful.service.http.errors import FeedbackFull, LabelUnknown, LabelWrong
from handful.service.library.labels import check_label
from handful.training.photos.sources import read_folder
from running_server import encoded

JPEG, PNG = encoded(), encoded("PNG", seed=1)


@pytest.fixture
def folder(tmp_path: Path) -> FeedbackFolder:
    return FeedbackFolder(tmp_path / "feedback", max_bytes=1_000_000, max_images=5)


def test_an_image_lies_under_its_label_by_its_content(folder: FeedbackFolder) -> None:
    stored = folder.store(JPEG, "shoes")
    digest = hashlib.sha256(JPEG).hexdigest()
    assert (stored.label, stored.previous, stored.sha256) == ("shoes", None, digest)
    assert (folder.folder / "shoes" / f"{digest}.jpg").read_bytes() == JPEG
    assert folder.store(JPEG, "shoes").previous == "shoes"
    assert folder.counts() == {"shoes": 1}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_ending_is_the_formats(folder: FeedbackFolder, kind: str) -> None:
    folder.store(encoded(kind), "shoes")
    (path,) = (folder.folder / "shoes").iterdir()
    assert path.suffix == {"JPEG": ".jpg"}.get(kind, f".{kind.lower()}")


def test_an_image_given_another_label_moves_and_an_empty_label_goes(folder: FeedbackFolder) -> None:
    folder.store(JPEG, "shoes")
    assert folder.store(JPEG, "Sac à main").previous == "shoes"
    assert folder.counts() == {"Sac à main": 1}
    assert not (folder.folder / "shoes").exists()


def test_what_a_killed_worker_left_goes_and_training_reads_the_folder_without_a_complaint(
    folder: FeedbackFolder,
) -> None:
    folder.store(JPEG, "shoes")
    left = folder.folder / f"{PARTIAL}elsewhere-1-x"
    left.write_bytes(JPEG[:99])
    old = time.time() - PARTIAL_KEPT_SECONDS - 1
    os.utime(left, (old, old))
    folder.store(PNG, "handbags")
    assert not left.exists()
    dataset = read_folder(folder.folder)
    assert dataset.labels == ("handbags", "shoes")
    assert len(dataset.examples) == 2
    assert not dataset.problems


def test_there_is_a_limit_to_images_and_to_bytes(folder: FeedbackFolder) -> None:
    for seed in range(5):
        folder.store(encoded(seed=seed), "shoes")
    with pytest.raises(FeedbackFull, match="5 images"):
        folder.store(encoded(seed=6), "shoes")
    assert folder.store(encoded(seed=4), "bags").previous == "shoes"  # moving needs no room
    small = FeedbackFolder(folder.folder.with_name("small"), max_bytes=len(JPEG), max_images=9)
    small.store(JPEG, "shoes")
    with pytest.raises(FeedbackFull, match="MB"):
        small.store(PNG, "bags")
    assert small.counts() == {"shoes": 1}


def test_many_at_once_leave_every_image_once(tmp_path: Path) -> None:
    folders = [FeedbackFolder(tmp_path / "f", 10_000_000, 1000) for _ in range(8)]
    images = [encoded(seed=seed) for seed in range(10)]

    def store(number: int) -> None:
        for image in images:
            folders[number].store(image, f"label {number % 3}")

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(folders[0].counts().values()) == 10
    names = [path.name for path in (tmp_path / "f").rglob("*.jpg")]
    assert len(names) == len(set(names)) == 10


WRONG = (
    *("../x", "..", ".", "a/b", "a\\b", ".hidden", "__MACOSX", "Thumbs.db", "a\n", "a\0b", "\x1b[2J", "x" * 101),
    *("ü" * 128, "con", "NUL.txt", "a ", "a.", "\u202eabc", "", "\ud800"),
)


@pytest.mark.parametrize("label", WRONG)
def test_a_label_that_is_no_folders_name_is_refused(label: str) -> None:
    with pytest.raises(LabelWrong) as e:
        check_label(label, [label], new=True)
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 300


def test_a_label_is_the_models_or_new_on_purpose() -> None:
    known = ("shoes", "Sac à main")
    assert check_label("shoes", known, new=False) == "shoes"
    assert check_label("belts", known, new=True) == "belts"
    with pytest.raises(LabelUnknown, match="new=true"):
        check_label("belts", known, new=False)
    assert check_label("Sac a\u0300 main", known, new=False) == "Sac à main"  # the same text in other bytes
    for almost in ("Shoes", "sac a\u0300 main"):
        with pytest.raises(LabelUnknown, match="it has"):
            check_label(almost, known, new=True)


def test_a_label_in_other_capitals_than_the_folders_is_refused(folder: FeedbackFolder) -> None:
    folder.store(JPEG, "Belts")
    with pytest.raises(LabelWrong, match="Belts"):
        folder.store(PNG, "belts")


@pytest.mark.parametrize(
    ("given", "known", "label"),
    [("other", ["shoes"], "other"), ("Other", ["shoes"], "other"), ("Other", ["Other", "shoes"], "Other")],
)
def test_something_else_is_no_label_unless_the_model_has_one_of_that_name(
    given: str, known: list[str], label: str
) -> None:
    assert check_label(given, known, new=False) == label
