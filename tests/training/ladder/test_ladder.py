"""compare: every rung on the same folds, nothing of the held-out photos learned."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import handful
from conftest import COLOURS, write_photo
from handful.service.artifact.errors import DataError, UsageError
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.ladder.command import _table, ladder
from handful.training.ladder.features import MAX_IMAGES, train_head
from handful.training.ladder.fit import Pictures, ScratchNetwork, statistics_of_parts, train_network
from handful.training.ladder.hog import hog
from handful.training.ladder.ladder import climb_ladder
from handful.training.ladder.rungs import DENSE, RUNGS, SMALL_CNN
from handful.training.ladder.settings import TITLES, LadderSettings, chosen_names
from handful.training.ladder.squares import Squares, StoredSquares
from numpy.typing import NDArray

QUICK = replace(DENSE, max_epochs=3)


def colours(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise, redder or bluer by label: (N, 32, 32, 3) and (N,)."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pictures = random.integers(60, 160, (count, 32, 32, 3))
    pictures[..., 0] += 60 * labels[:, None, None]
    return pictures.astype(np.uint8), labels


def silent(count: int, text: str | None = None, *, fewer: int = 0) -> None:
    """Progress that nobody watches."""


def trained(pictures: Pictures, labels: NDArray[np.int64], train: NDArray[np.intp], seed: int = 0) -> ScratchNetwork:
    return train_network(QUICK, pictures, labels, train, 2, seed, silent)


def test_a_network_learns_and_the_same_seed_learns_the_same() -> None:
    pictures, labels = colours(80)
    train, test = np.arange(60), np.arange(60, 80)
    answers = trained(pictures, labels, train).answer(test)
    assert (answers.argmax(axis=1) == labels[test]).mean() > 0.9
    assert np.array_equal(answers, trained(pictures, labels, train).answer(test))
    assert not np.array_equal(answers, trained(pictures, labels, train, seed=1).answer(test))


def test_nothing_is_learned_from_photos_outside_the_training_part() -> None:
    pictures, labels = colours(80)
    train = np.arange(60)
    other_pictures, other_labels = pictures.copy(), labels.copy()
    other_pictures[60:], other_labels[60:] = 255, 1 - labels[60:]
    answers = trained(pictures, labels, train).answer(train)
    assert np.array_equal(answers, trained(other_pictures, other_labels, train).answer(train))


def test_more_photos_are_seen_fewer_times() -> None:
    epochs = [SMALL_CNN.epochs(photos) for photos in (20, 200, 2000, 20_000, 200_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert (epochs[0], epochs[-1]) == (SMALL_CNN.max_epochs, SMALL_CNN.min_epochs)


def test_hog_sees_an_edges_direction_and_not_the_light() -> None:
    upright = np.full((64, 64, 3), 60, np.uint8)
    upright[:, 32:] = 120
    [across], [down] = hog(upright[None]), hog(upright.transpose(1, 0, 2)[None])
    assert across.shape == (1764,)
    assert across.reshape(-1, 9).sum(axis=0).argmax() == 0  # the gradient points to the right
    assert down.reshape(-1, 9).sum(axis=0).argmax() == 4  # downwards, between 4 and 5 of nine
    assert not hog(np.full((1, 64, 64, 3), 7, np.uint8)).any()


def test_a_label_that_no_training_photo_has_is_never_answered() -> None:
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    labels = np.where(np.arange(30) < 15, 0, 2)
    features[:15] += 3
    head = train_head("linear", LabelledEmbeddings(features, labels, np.arange(30), 4), 0)
    assert (head.logits(features).argmax(axis=1) == labels).mean() > 0.9
    assert np.isneginf(head.logits(features)[:, [1, 3]]).all()


def test_with_many_images_the_head_still_learns_from_all() -> None:
    labels = np.arange(MAX_IMAGES + 500) % 2
    features = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32) + 2 * labels[:, None]
    head = train_head("linear", LabelledEmbeddings(features, labels, np.arange(len(labels)), 2), 0)
    assert (head.logits(features).argmax(axis=1) == labels).mean() > 0.9
    assert head.parameters == 8


@pytest.mark.usefixtures("own_home")
def test_every_rung_is_tested_on_every_photo_once(tmp_path: Path, photos: Path, backbone: Path) -> None:
    names = ("linear", "pixels", "majority", "hog")
    settings = LadderSettings(rungs=names, backbone=str(backbone))
    result, _ = climb_ladder(photos, settings, tmp_path / "out")
    assert result["images"]["skipped"] == 0
    assert result["judged"] == 24
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["majority", "pixels", "hog", "linear"]  # the ladder's order
    assert rows["pixels"]["accuracy"] > 0.9 > rows["majority"]["accuracy"]
    low, high = rows["pixels"]["accuracy_ci95"]
    assert low < rows["pixels"]["accuracy"] <= high
    assert rows["linear"]["trained"] == 2 * 16 + 2 < rows["linear"]["parameters"]
    assert (tmp_path / "out/ladder.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("own_home")
@pytest.mark.slow
def test_the_top_rung_is_trained_end_to_end(tmp_path: Path, backbone: Path) -> None:
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(12):
            part = "train" if number < 8 else "test"
            write_photo(tmp_path / f"data/{part}/{name}/{number}.png", colour, 900 + 20 * label + number)
    settings = LadderSettings(rungs=("finetuned",), backbone=str(backbone))
    [row] = climb_ladder(tmp_path / "data", settings, tmp_path / "out")[0]["rows"]
    assert row["accuracy"] > 0.6
    assert row["trained"] == row["parameters"]


@pytest.mark.usefixtures("own_home")
def test_a_split_folder_is_tested_on_its_own_test_part(tmp_path: Path, photos: Path, backbone: Path) -> None:
    shutil.copytree(photos, tmp_path / "data/train")
    for label, (name, colour) in enumerate([*COLOURS.items(), ("green", (30, 200, 40))]):
        for number in range(6):
            write_photo(tmp_path / f"data/test/{name}/{number}.png", colour, 900 + 10 * label + number)
    settings = LadderSettings(rungs=("pixels",), backbone=str(backbone))
    result, _ = climb_ladder(tmp_path / "data", settings, tmp_path / "out")
    assert (result["judged"], result["folds"]) == (12, 1)  # green was not learned
    assert result["rows"][0]["accuracy"] > 0.9


def test_stored_squares_are_read_in_any_order() -> None:
    pictures, _ = colours(9)
    stored = StoredSquares(iter(pictures), 32)
    assert len(stored) == 9
    for rows in ([], [0], [3, 4, 5], [8, 2, 3, 3, 0], list(range(9))):
        assert np.array_equal(stored[np.array(rows, dtype=np.intp)], pictures[rows])


def test_a_network_learns_the_same_from_stored_squares() -> None:
    pictures, labels = colours(40)
    train = np.arange(32)
    stored, in_memory = (trained(each, labels, train) for each in (StoredSquares(iter(pictures), 32), pictures))
    assert np.array_equal(stored.answer(np.arange(40)), in_memory.answer(np.arange(40)))


def test_mean_and_deviation_do_not_depend_on_the_parts_they_are_measured_on() -> None:
    whole = torch.from_numpy(colours(30)[0]).permute(0, 3, 1, 2).float() / 255
    mean, deviation = statistics_of_parts([whole[:7], whole[7:8], whole[8:]])
    assert torch.allclose(mean, whole.mean(dim=(0, 2, 3), keepdim=True))
    assert torch.allclose(deviation, whole.std(dim=(0, 2, 3), keepdim=True))


def test_a_photo_that_has_gone_meanwhile_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png could be read a moment ago"):
        Squares([tmp_path / "gone.png"]).at(32)


def test_an_unknown_rung_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="There is no rung 'resnet'; allowed are majority, pixels, hog"):
        chosen_names(["pixels", "resnet"])
    assert chosen_names([]) == tuple(TITLES) == tuple(RUNGS)


def test_the_table_stays_readable_in_a_pipe() -> None:
    row = {"name": "pixels", "title": "pixels, logistic regression", "accuracy": 0.9, "accuracy_ci95": (0.8, 0.95)}
    table = _table([{**row, "parameters": 56_909_194, "trained": 56_909_194, "seconds": 1234.5}])
    assert "80.0% to 95.0%" in table
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) <= 110


def compare(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return handful(home, "compare", *arguments, cwd=home)


def test_the_command_says_where_its_plot_lies(tmp_path: Path, photos: Path) -> None:
    """The backbone does not exist, and is not looked for: no chosen rung uses it."""
    done = compare(tmp_path, photos, "--backbone", "nobody/nothing", "--rungs", "pixels, majority", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["name"] for row in result["rows"]] == ["majority", "pixels"]
    assert (tmp_path / result["plot"]).is_file()
    assert result["plot"].startswith("compare-photos")
    assert result["backbone"] is None
    assert not (tmp_path / "cache").exists()  # nothing was embedded


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either a labelled folder or --mnist1d"),
        (["x", "--mnist1d"], "either a labelled folder or --mnist1d"),
        (["x", "--rungs", "deep"], "There is no rung 'deep'; allowed are majority"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ladder.main(arguments, standalone_mode=False)
