"""From nothing to a model that is tried, corrected, improved and taken back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import drop
from conftest import COLOURS, write_photo
from running_server import Server

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LEARNING_MS = 300_000


def test_a_first_model_is_made_corrected_improved_and_rolled_back(
    visit: Callable[..., Any], studio: Server, tmp_path: Path
) -> None:
    for number, (label, colour) in enumerate(COLOURS.items()):
        for each in range(12):
            write_photo(tmp_path / label / f"{label}-{each:02}.jpg", colour, 500 + 100 * number + each)
    wrong = write_photo(tmp_path / "blue/really-red.jpg", COLOURS["red"], 777)
    page = visit()
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name of the model").fill("first")
    page.keyboard.press("Enter")
    for label in COLOURS:
        field = page.get_by_label("Name your first label").or_(page.get_by_label("New label", exact=True))
        field.last.fill(label)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"[data-label={label}]")
        drop(page, f"[data-label={label}]", *sorted((tmp_path / label).iterdir()))
    page.get_by_text("12 photos").first.wait_for()
    page.get_by_text("13 photos").first.wait_for()
    page.get_by_role("main").get_by_role("link", name="Train").click()
    page.get_by_role("button", name="Train").click()
    page.get_by_role("progressbar").wait_for()
    page.locator(".confusion").wait_for(timeout=LEARNING_MS)

    # the wrong label is found, shown as a picture and put right
    page.locator(".found li").filter(has_text="Answer: red").get_by_role("button", name="Move to red").first.click()
    page.get_by_role("button", name="Learn 1 change").click()
    page.locator(".outcome, .toast.bad").first.wait_for(timeout=LEARNING_MS)
    assert page.locator(".outcome").count() == 1, page.locator("#toasts").inner_text()
    labels = {each["name"]: each["label"] for each in studio.client.get("/models/first/photos").json()["photos"]}
    assert labels[wrong.name] == "red"

    page.get_by_role("link", name="Improve").click()
    page.get_by_role("heading", name="Version 2").wait_for()
    if studio.client.get("/models/first").json()["champion"] == "2":
        page.get_by_role("button", name="Go back one version").click()
        page.get_by_text("Version 1 is in use now.").wait_for()
    assert studio.client.get("/models/first").json()["champion"] == "1"
    page.get_by_role("button", name="Use version 2").click()
    page.get_by_text("Version 2 is in use now.").wait_for()
    versions = studio.client.get("/models/first").json()
    assert versions["champion"] == "2", json.dumps(versions)[:500]

    # learned again from nothing: it stands beside the one in use until it is chosen
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Train again").click()
    page.get_by_role("heading", name="Version 3 is ready").wait_for(timeout=LEARNING_MS)
    assert studio.client.get("/models/first").json()["champion"] == "2"
    page.get_by_role("button", name="Use version 3").click()
    page.get_by_text(re.compile("^Version 3, learned from 25 photos")).wait_for()
    assert studio.client.get("/models/first").json()["champion"] == "3"


def test_a_training_is_followed_from_another_tab_and_stopped(
    visit: Callable[..., Any], studio: Server, tmp_path: Path
) -> None:
    studio.client.post("/models", json={"name": "stopped"})
    for label, colour in COLOURS.items():
        photos = [write_photo(tmp_path / label / f"{each}.jpg", colour, 40 + each) for each in range(8)]
        files = [("photos", (each.name, each.read_bytes())) for each in photos]
        studio.client.post("/models/stopped/photos", params={"label": label}, files=files)
    one, other = visit("#/m/stopped/train"), visit("#/models")
    other.route(re.compile("/events$"), lambda route: route.abort())  # then it asks again and again
    with studio.jobs_held():
        one.get_by_role("button", name="Train").click()
        one.get_by_role("progressbar").wait_for()
        other.goto(f"http://127.0.0.1:{studio.port}/#/m/stopped/train")
        other.get_by_role("button", name="Stop").click()
        for page in (one, other):
            page.get_by_text("Stopped. Nothing was changed.").wait_for()
            page.get_by_role("heading", name="Ready to learn").wait_for()
