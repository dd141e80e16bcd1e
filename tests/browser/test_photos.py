"""The photo library on the page: dropped, moved, renamed and deleted, by mouse, keys and camera, in two tabs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import becomes_true, drop
from conftest import write_photo
from heif import heic
from running_server import Server, until

pytestmark = pytest.mark.browser


@pytest.fixture
def model(studio: Server) -> str:
    """A model of its own, without photos."""
    number = len(studio.client.get("/models").json()["models"])
    name = f"model-{number}"
    assert studio.client.post("/models", json={"name": name}).status_code == 201
    return name


def counts(studio: Server, model: str) -> dict[str, int]:
    labels = studio.client.get(f"/models/{model}/photos").json()["labels"]
    return {each["label"]: each["photos"] for each in labels}


def some(folder: Path, count: int, seed: int = 0) -> list[Path]:
    return [write_photo(folder / f"{number:02}.jpg", (200, 50, 40), seed + number, 24) for number in range(count)]


def test_folders_become_labels_and_what_is_no_photo_is_said(
    visit: Callable[..., Any], studio: Server, model: str, tmp_path: Path
) -> None:
    some(tmp_path / "all/red", 3)
    some(tmp_path / "all/blue", 2, 50)
    (tmp_path / "all/red/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "all/red/notes.txt").write_text("not a photo")
    (tmp_path / "all/blue/.hidden").write_text("not a photo")
    page = visit(f"#/m/{model}/photos")
    page.locator(".drop-zone input[type=file]").set_input_files(tmp_path / "all")
    page.get_by_text("1 file could not be read:").wait_for()
    assert counts(studio, model) == {"blue": 2, "red": 3}
    assert "broken.jpg" in page.locator(".notice.warn").nth(1).inner_text()
    page.get_by_text("1 file is no photo and was left out.").wait_for()
    becomes_true(page, "document.querySelectorAll('[data-label=red] [role=option]').length === 3")


def test_photos_dropped_on_a_label_belong_to_it_and_copies_are_said(
    visit: Callable[..., Any], studio: Server, model: str, tmp_path: Path
) -> None:
    photos = some(tmp_path, 3)
    (tmp_path / "phone.heic").write_bytes(heic())
    page = visit(f"#/m/{model}/photos")
    page.get_by_label("Name your first label").fill("red")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-label=red]")
    drop(page, "[data-label=red]", *photos, tmp_path / "phone.heic")
    becomes_true(page, "document.querySelectorAll('[data-label=red] img').length === 4")
    becomes_true(page, "[...document.querySelectorAll('[data-label=red] img')].every(each => each.naturalWidth > 0)")
    drop(page, "[data-label=red]", photos[0])
    page.get_by_text("1 photo was there already.").wait_for()
    assert counts(studio, model) == {"red": 4}
    drop(page, "main", photos[0])  # under no label: the person is asked
    page.get_by_role("dialog", name="What does this photo show?").get_by_label("New label").fill("other things")
    page.keyboard.press("Enter")
    page.get_by_text("1 photo lies under another label already:").wait_for()
    page.get_by_role("button", name="Move to other things").click()
    page.get_by_text("1 photo moved to other things.").wait_for()
    assert counts(studio, model) == {"red": 3, "other things": 1}


def test_all_is_done_by_the_keyboard_alone(
    visit: Callable[..., Any], studio: Server, model: str, tmp_path: Path
) -> None:
    for label in ("blue", "red"):
        files = [("photos", (each.name, each.read_bytes())) for each in some(tmp_path / label, 3, len(label) * 10)]
        studio.client.post(f"/models/{model}/photos", params={"label": label}, files=files)
    page = visit(f"#/m/{model}/photos")
    page.wait_for_selector("[data-label=red] [role=option]")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "option":
            break
    assert page.evaluate("document.activeElement.closest('[data-label]').dataset.label") == "blue"
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.locator(".tray b").get_by_text("2 chosen", exact=True).wait_for()
    page.keyboard.press("2")  # the second label
    until(lambda: counts(studio, model) == {"blue": 1, "red": 5})
    page.get_by_text("2 photos moved to red.").wait_for()
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    until(lambda: counts(studio, model) == {"blue": 3, "red": 3})
    becomes_true(page, "document.querySelectorAll('[data-label=blue] [role=option]').length === 3")
    page.locator("[data-label=blue] [role=option]").first.focus()
    page.keyboard.press("Delete")
    until(lambda: counts(studio, model)["blue"] == 2)
    page.get_by_role("button", name="More for red").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the first of the menu: rename
    page.get_by_role("dialog", name="Rename red").get_by_label("Label").fill("crimson")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-label=crimson]")
    assert counts(studio, model) == {"blue": 2, "crimson": 3}


def test_two_tabs_tell_each_other_what_is_gone(
    visit: Callable[..., Any], studio: Server, model: str, tmp_path: Path
) -> None:
    files = [("photos", (each.name, each.read_bytes())) for each in some(tmp_path, 2)]
    studio.client.post(f"/models/{model}/photos", params={"label": "red"}, files=files)
    one, other = visit(f"#/m/{model}/photos"), visit(f"#/m/{model}/photos")
    for page in (one, other):
        page.locator("[role=option]").first.wait_for()
        page.locator("[role=option]").first.click()
    one.get_by_role("button", name="Delete", exact=True).click()
    until(lambda: counts(studio, model) == {"red": 1})
    other.get_by_role("button", name="Delete", exact=True).click()
    other.get_by_role("alert").get_by_text("perhaps no longer").wait_for()
    becomes_true(other, "document.querySelectorAll('[role=option]').length === 1")


def test_the_camera_records_while_it_is_held(visit: Callable[..., Any], studio: Server, model: str) -> None:
    studio.client.post(f"/models/{model}/labels", json={"label": "me"})
    page = visit(f"#/m/{model}/photos")
    page.get_by_role("button", name="Camera for me").click()
    page.wait_for_selector("video")
    page.get_by_role("button", name="Hold to record").hover()
    page.mouse.down()
    page.get_by_text("photos taken").wait_for()
    page.mouse.up()
    page.get_by_role("button", name="Done").click()
    becomes_true(page, "!document.querySelector('video')")
    until(lambda: counts(studio, model)["me"] >= 2)


@pytest.mark.slow
def test_five_hundred_photos_are_dropped_at_once(
    visit: Callable[..., Any], studio: Server, model: str, tmp_path: Path
) -> None:
    some(tmp_path / "all/red", 250)
    some(tmp_path / "all/blue", 250, 1000)
    page = visit(f"#/m/{model}/photos")
    page.locator(".drop-zone input[type=file]").set_input_files(tmp_path / "all")
    page.get_by_text("500 photos were added.").wait_for(timeout=120_000)
    assert counts(studio, model) == {"blue": 250, "red": 250}
    assert page.locator("[data-label=red] [role=option]").count() == 60
    page.locator("[data-label=red]").get_by_role("button", name="Show more").click()
    becomes_true(page, "document.querySelectorAll('[data-label=red] [role=option]').length === 250")
