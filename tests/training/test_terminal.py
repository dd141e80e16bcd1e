"""The text at the end of a training: what was left out, how good it is, what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.training.photos.sources import Problem
from handful.training.terminal.problems import SHOWN
from handful.training.terminal.texts import train_text

CV = {"accuracy": 0.95, "accuracy_ci95": [0.9, 0.98], "folds": 5, "ece": 0.02, "unknown_rate": 0.03}


def trained(**parts: Any) -> dict[str, Any]:
    return {
        "model": "shop:1",
        "path": "home/models/shop/1",
        "report": "home/models/shop/1/report/report.html",
        "labels": ["bags", "belts", "shoes"],
        "head": "linear",
        "cv": CV,
        "unknown": {},
        "images": {"used": 60, "skipped": 0, "per_label": {"bags": 20, "belts": 20, "shoes": 20}},
        "seconds": {"total": 3.0},
        **parts,
    }


def lines_of(result: dict[str, Any], *problems: Problem, champion: str = "shop:1") -> list[str]:
    return train_text(result, problems, Path("photos"), champion).splitlines()


def test_the_verdict_follows_the_accuracy_and_stands_first_where_the_model_only_guesses() -> None:
    good = lines_of(trained(verdict={"level": "good", "sentence": "At least 90 of 100 are right."}))
    assert good[0] == "shop:1 has learned bags, belts and shoes from 60 photos: bags 20, belts 20, shoes 20."
    accuracy = next(number for number, line in enumerate(good) if "answers about 95 right" in line)
    assert "Good: At least 90 of 100 are right." in good[accuracy:]
    guessing = lines_of(trained(verdict={"level": "guessing", "sentence": "Check the labels."}))
    assert guessing[0] == "No better than guessing: Check the labels."
    assert sum("guessing" in line for line in guessing) == 1
    assert not any("uess" in line for line in lines_of(trained()))


def test_what_leaves_files_out_adds_up_and_remarks_stand_apart() -> None:
    images = {"used": 60, "skipped": 4, "per_label": {"bags": 60}}
    problems = [
        Problem("bags/a.jpg", "near_duplicate", "It looks like bags/b.jpg."),
        Problem("bags/c.jpg", "duplicate", "It is the same picture as bags/d.jpg; delete one of them."),
        Problem("hats", "too_few_images", "It has 3 usable images, 5 are needed; add some. It is left out."),
    ]
    lines = lines_of(trained(images=images), *problems)
    assert lines[1:6] == [
        "4 files were left out:",
        "  bags/c.jpg: It is the same picture as bags/d.jpg; delete one of them.",
        "  hats: It has 3 usable images, 5 are needed; add some. It is left out.",
        "1 thing to look at, with nothing left out:",
        "  bags/a.jpg: It looks like bags/b.jpg.",
    ]


def test_of_many_problems_the_first_are_shown_and_the_others_counted() -> None:
    problems = [Problem(f"{number}.jpg", "near_duplicate", "It looks like another.") for number in range(SHOWN + 5)]
    lines = lines_of(trained(), *problems)
    assert sum("It looks like another." in line for line in lines) == SHOWN
    assert "  and 5 more: `handful check photos` lists all" in lines


def test_a_version_that_is_not_in_use_says_which_is_and_how_to_use_it() -> None:
    lines = lines_of(trained(model="shop:2"), champion="shop:1")
    assert "shop:1 stays the version in use." in lines
    assert any("handful models promote shop:2" in line for line in lines)
    assert any("--model shop:2" in line for line in lines)
