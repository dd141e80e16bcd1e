"""With a key: a form to sign in, for this tab alone, and nothing offered that the key may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import becomes_true, drop, text
from conftest import write_photo
from running_server import Server, running

pytestmark = pytest.mark.browser
KEY, ASKING = "a-key-for-everything", "a-key-for-asking-only"


@pytest.fixture(scope="module")
def guarded(studio: Server) -> Iterator[Server]:
    with running(studio.home, api_key=KEY, predict_key=ASKING) as server:
        yield server


def sign_in(page: Any, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")


def test_enter_signs_in_and_the_same_photo_can_be_asked_again(
    visit: Callable[..., Any], guarded: Server, tmp_path: Path
) -> None:
    photo = write_photo(tmp_path / "red.jpg", (200, 50, 40), 33)
    page = visit("#/m/colours/try", guarded)
    sign_in(page, "not-a-key-of-this-one")
    page.get_by_text("That is not a key of this service.").wait_for()
    sign_in(page, KEY)
    for count in (1, 2):
        drop(page, ".drop-zone", photo)
        becomes_true(page, f"document.querySelectorAll('.answer').length === {count}")
    page.get_by_role("link", name="Photos").click()
    becomes_true(page, "[...document.querySelectorAll('[role=option] img')].some(each => each.naturalWidth > 0)")
    page.goto(f"http://127.0.0.1:{guarded.port}/#/m/colours/train")
    with page.context.expect_page() as report:
        page.get_by_role("button", name="Full report").click()
    report.value.wait_for_selector("h1")
    assert report.value.locator("h1").count() == 1
    page.get_by_role("link", name="Photos").click()
    page.wait_for_selector("[role=option]")
    page.reload()
    page.wait_for_selector("[role=option]")
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_label("Key").wait_for()  # each tab is signed in by itself
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").wait_for()
    assert page.evaluate("JSON.stringify([sessionStorage, localStorage])").find(KEY) == -1


def test_a_key_for_asking_is_offered_nothing_that_changes(
    visit: Callable[..., Any], guarded: Server, tmp_path: Path
) -> None:
    page = visit("", guarded)
    sign_in(page, ASKING)
    page.get_by_role("link", name="colours").click()
    page.wait_for_selector(".drop-zone")
    assert text(page, ".steps a") == ["Try", "Use"]
    drop(page, ".drop-zone", write_photo(tmp_path / "red.jpg", (200, 50, 40), 34))
    page.locator(".answer").wait_for()
    assert page.get_by_role("button", name="something else").count() == 0
    page.get_by_role("button", name="A closer look").wait_for()
    page.evaluate("location.hash = '#/m/colours/photos'")
    page.wait_for_selector(".drop-zone")
    assert page.locator("[role=option]").count() == 0
