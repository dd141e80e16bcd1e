"""A whole folder is labelled in the browser by keys alone, from the first photo without a model to the last."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chromium import SECONDS, becomes_true
from conftest import COLOURS, write_photo
from running_server import Server, running, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LEFT = "Number(/(\\d+) left/.exec(document.querySelector('.label-state p')?.textContent ?? '')?.[1] ?? -1)"
TILES = ".label-row [role=option]"
READY = f"document.activeElement.matches('{TILES}')"


@contextmanager
def labelling(place: Path, backbone: Path, model: str, per_label: int) -> Iterator[Server]:
    for seed, (label, colour) in enumerate(COLOURS.items()):
        for number in range(per_label):
            write_photo(place / f"photos/{label}-{number}.png", colour, 20_000 + 2000 * seed + number, 24)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BROWSER", "true")
        command = ("label", place / "photos", "--model", model, "--out", place / "out")
        with running(place / "home", None, command, backbones=str(backbone)) as server:
            yield server
            assert "Traceback" not in server.output()


def give(page: Any, label: str, labels: list[str]) -> None:
    """The photos of the row that show the label get it, by arrows, Space and the label's key."""
    names = page.locator(TILES).evaluate_all("tiles => tiles.map(tile => tile.ariaLabel)")
    wanted = [place for place, name in enumerate(names) if name.startswith(label)]
    if not wanted:
        return
    here = page.evaluate(f"[...document.querySelectorAll('{TILES}')].indexOf(document.activeElement)")
    for place in wanted:
        for _ in range(abs(place - here)):
            page.keyboard.press("ArrowRight" if place > here else "ArrowLeft")
        here = place
        page.keyboard.press("Space")
    left = page.evaluate(LEFT)
    if label in labels:
        page.keyboard.press(str(labels.index(label) + 1))
    else:
        page.keyboard.press("e")
        page.locator("dialog input").fill(label)
        page.keyboard.press("Enter")
        labels.append(label)
    becomes_true(page, f"{LEFT} === {left - len(wanted)}")


def label_row(page: Any, labels: list[str]) -> None:
    """A row of one answer: what it is not gets its label, the rest is accepted; without a model each gets its own."""
    becomes_true(page, READY)
    if page.locator(".label-row.cold").count():
        give(page, page.locator(TILES).first.get_attribute("aria-label").partition("-")[0], labels)
        return
    heading = page.locator(".head h2").last.inner_text()
    answer = next((label for label in labels if label in heading), None)
    names = page.locator(TILES).evaluate_all("tiles => tiles.map(tile => tile.ariaLabel)")
    wrong = {name.partition("-")[0] for name in names} - {answer}
    for label in sorted(wrong):
        give(page, label, labels)
    if len(names) > sum(not name.startswith(str(answer)) for name in names):
        left, kept = page.evaluate(LEFT), page.locator(TILES).count()
        page.keyboard.press("Enter")
        becomes_true(page, f"{LEFT} === {left - kept}")


def rows(place: Path) -> list[dict[str, str]]:
    with (place / "out/manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_without_a_model_photos_are_clicked_and_the_first_model_then_answers(
    visit: Callable[..., Any], backbone: Path, tmp_path: Path
) -> None:
    with labelling(tmp_path, backbone, "new", 15) as server:
        page = visit("#/m/new/label", server)
        labels: list[str] = []
        becomes_true(page, f"{LEFT} === 30")
        becomes_true(page, READY)
        assert page.get_by_role("heading", name="Click photos of one label").count() == 1
        page.keyboard.press("Enter")  # there is nothing to accept
        while page.evaluate(LEFT) > 6:
            label_row(page, labels)
        page.wait_for_selector(".label-row:not(.cold) [role=option]")
        assert server.client.get("/models/new").json()["champion"] == "1"
        page.keyboard.press("u")
        until(lambda: len(rows(tmp_path)) < 24)
        page.reload()
        while page.evaluate(LEFT) != 0:
            label_row(page, labels)
        assert {row["label"] for row in rows(tmp_path)} == set(COLOURS)
        assert len(rows(tmp_path)) == 30


def test_a_thousand_photos_are_labelled_by_keys_alone(
    visit: Callable[..., Any], home: Path, backbone: Path, tmp_path: Path
) -> None:
    shutil.copytree(home, tmp_path / "home")
    with labelling(tmp_path, backbone, "colours", 500) as server:
        page = visit("#/m/colours/label", server)
        becomes_true(page, f"{LEFT} === 1000")
        labels = sorted(COLOURS)
        while page.evaluate(LEFT):
            label_row(page, labels)
        written = rows(tmp_path)
        assert len(written) == 1000
        assert all(row["label"] == Path(row["source"]).name.partition("-")[0] for row in written)
        assert all((tmp_path / "out" / row["path"]).samefile(row["source"]) for row in written)
        until(lambda: int(server.client.get("/models/colours").json()["champion"]) > 1, SECONDS)
