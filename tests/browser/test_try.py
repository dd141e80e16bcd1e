"""Answers on the page: each under its own photo, in words that are true, and corrected by one click."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import becomes_true, drop, requested, text
from conftest import write_photo
from heif import heic
from running_server import Server

pytestmark = pytest.mark.browser
PLACE = "#/m/colours/try"


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo(tmp_path_factory.mktemp("red") / "red.jpg", (200, 50, 40), 901)


@pytest.fixture(scope="module")
def blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo(tmp_path_factory.mktemp("blue") / "blue.jpg", (40, 60, 200), 902)


@pytest.fixture(scope="module")
def strange(studio: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo that the model calls unknown."""
    folder = tmp_path_factory.mktemp("strange")
    colours = [(60, 200, 50), (0, 255, 0), (255, 255, 0), (255, 255, 255), (0, 0, 0), (255, 0, 255), (90, 160, 90)]
    for number, colour in enumerate(colours):
        path = write_photo(folder / f"strange-{number}.jpg", colour, 903 + number)
        if studio.client.post("/predict", files={"image": ("a.jpg", path.read_bytes())}).json()["unknown"]:
            return path
    pytest.fail("the model knows all of these colours")


def card(page: Any, name: str) -> Any:
    return page.locator(f".answer-card[aria-label='{name}']")


def test_a_late_answer_stays_under_its_own_photo(visit: Callable[..., Any], red: Path, blue: Path) -> None:
    page = visit(PLACE)
    held: list[Any] = []
    page.route("**/predict", lambda route: held.append(route) if not held else route.continue_())
    drop(page, ".drop-zone", red)
    page.wait_for_selector(".answer-card")
    requested(page, held)
    drop(page, ".drop-zone", blue)
    card(page, "blue.jpg").locator(".answer").wait_for()
    assert text(page, ".answer-card[aria-label='blue.jpg'] .answer") == ["blue"]
    assert text(page, ".answer-card[aria-label='red.jpg'] .answer") == []  # nothing is said before it is known
    held[0].continue_()
    card(page, "red.jpg").locator(".answer").wait_for()
    assert text(page, ".answer-card[aria-label='red.jpg'] .answer") == ["red"]
    assert text(page, ".answer-card[aria-label='blue.jpg'] .answer") == ["blue"]


def test_an_answer_that_comes_after_its_photo_was_cleared_is_shown_nowhere(
    visit: Callable[..., Any], red: Path, blue: Path
) -> None:
    page = visit(PLACE)
    held: list[Any] = []
    page.route("**/predict", lambda route: held.append(route) if not held else route.continue_())
    drop(page, ".drop-zone", red)
    page.wait_for_selector(".answer-card")
    requested(page, held)
    page.get_by_role("button", name="Clear").click()
    drop(page, ".drop-zone", blue)
    page.locator(".answer").wait_for()
    held[0].continue_()
    page.wait_for_timeout(300)
    assert text(page, ".answer") == ["blue"]


def test_every_dropped_photo_is_answered_and_the_least_sure_comes_first(
    visit: Callable[..., Any], red: Path, blue: Path, strange: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(red.read_bytes()[:600])
    page = visit(PLACE)
    drop(page, "main", red, strange, broken, blue)
    page.wait_for_selector(".chips")
    names = page.locator(".answer-card").evaluate_all("cards => cards.map(card => card.ariaLabel)")
    assert names[:2] == ["broken.jpg", strange.name]
    assert set(names[2:]) == {"red.jpg", "blue.jpg"}
    assert "ends before its last row" in card(page, "broken.jpg").inner_text()
    page.get_by_role("button", name="Unknown 1").click()
    assert page.locator(".answer-card").count() == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))}
    assert rows["red.jpg"]["label"] == "red"
    assert float(rows["red.jpg"]["probability_red"]) == float(rows["red.jpg"]["confidence"])
    assert (rows[strange.name]["label"], rows[strange.name]["unknown"]) == ("", "true")
    assert rows["broken.jpg"]["error"]


def test_what_is_unknown_has_no_bar_and_can_be_anything(visit: Callable[..., Any], strange: Path) -> None:
    page = visit(PLACE)
    drop(page, ".drop-zone", strange)
    page.locator(".answer").wait_for()
    assert text(page, ".answer") == ["Not like anything it has learned"]
    assert "Closest: " in page.locator(".answer-body").inner_text()
    assert page.locator(".answer-body .bar").count() == 0
    assert "%" not in page.locator(".answer-body").inner_text()
    page.get_by_role("button", name="something else").click()
    assert text(page, "dialog .choice span") == ["blue", "red", "none of these"]
    assert page.get_by_label("New label").is_visible()


def test_a_corrected_photo_waits_under_its_own_name_and_can_be_taken_back(
    visit: Callable[..., Any], studio: Server, red: Path
) -> None:
    page = visit(PLACE)
    drop(page, ".drop-zone", red)
    page.locator(".answer").wait_for()
    page.locator(".answer-card").focus()
    page.keyboard.press("1")  # blue
    page.get_by_text("Noted: blue").wait_for()
    waiting = studio.client.get("/models/colours/corrections").json()
    assert [(photo["name"], photo["label"]) for photo in waiting["photos"]] == [("red.jpg", "blue")]
    page.get_by_role("link", name="Learn it now").click()
    page.get_by_text("1 photo waits to be learned").wait_for()
    assert page.locator(".waiting img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.go_back()
    studio.client.post("/models/colours/photos/delete", json={"ids": [waiting["photos"][0]["id"]]})


def test_a_corrected_photo_can_be_taken_back(visit: Callable[..., Any], studio: Server, blue: Path) -> None:
    page = visit(PLACE)
    drop(page, ".drop-zone", blue)
    page.get_by_role("group", name="What blue.jpg really shows").get_by_role("button", name="red").click()
    page.get_by_text("Noted: red").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("group", name="What blue.jpg really shows").wait_for()
    assert studio.client.get("/models/colours/corrections").json()["waiting"] == 0


def test_a_heic_is_shown_and_a_closer_look_shows_where_it_looked(visit: Callable[..., Any], tmp_path: Path) -> None:
    photo = tmp_path / "phone.heic"
    photo.write_bytes(heic())
    page = visit(PLACE)
    drop(page, ".drop-zone", photo)
    page.locator(".answer").wait_for()
    becomes_true(page, "document.querySelector('.answer-picture img')?.naturalWidth > 0")
    page.get_by_role("button", name="A closer look").click()
    page.get_by_role("button", name="Where did it look?").click()
    becomes_true(page, "document.querySelector('img.explained')?.naturalWidth > 0")


def test_the_camera_is_answered_while_it_runs(visit: Callable[..., Any]) -> None:
    page = visit(PLACE)
    page.get_by_role("button", name="Camera").click()
    page.locator(".live-answer .answer").wait_for()
    page.get_by_role("button", name="Keep this one").click()
    page.locator(".answer-card .answer").wait_for()
    page.get_by_role("button", name="Stop the camera").click()
    becomes_true(page, "!document.querySelector('video')")
