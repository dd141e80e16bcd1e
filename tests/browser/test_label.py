"""Photos are labelled by keys alone, a row at a time, taken back, and learned beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import SECONDS, becomes_true, drop
from conftest import write_photo
from running_server import Server, until

pytestmark = pytest.mark.browser
PLACE = "#/m/colours/label"
COLOURS = {"red": (200, 50, 40), "blue": (40, 60, 200)}
LABELLED = "(document.querySelector('.label-state p')?.textContent ?? '')"


def write_pool(folder: Path, per_label: int) -> dict[str, list[Path]]:
    return {
        label: [write_photo(folder / f"{label}-{n}.jpg", colour, 5000 + 300 * place + n) for n in range(per_label)]
        for place, (label, colour) in enumerate(COLOURS.items())
    }


def shown(page: Any) -> list[str]:
    """The names of the photos in the row."""
    names: list[str] = page.locator(".label-row [role=option]").evaluate_all(
        "tiles => tiles.map(each => each.ariaLabel)"
    )
    return names


def counts(studio: Server) -> dict[str, int]:
    listed = studio.client.get("/models/colours/photos").json()["labels"]
    return {each["label"]: each["photos"] for each in listed}


@pytest.fixture(autouse=True)
def _as_it_was(studio: Server) -> Iterator[None]:
    """Other modules find the model `colours` and its library as they were."""
    client, listed = studio.client, "/models/colours/photos?limit=1000"
    before = {each["id"] for each in client.get(listed).json()["photos"]}
    champion = client.get("/models/colours").json()["champion"]
    yield
    added = [each["id"] for each in client.get(listed).json()["photos"] if each["id"] not in before]
    if added:
        client.post("/models/colours/photos/delete", json={"ids": added})
    client.delete("/models/colours/labels/purple")
    if client.get("/models/colours").json()["champion"] != champion:
        assert client.post("/models/colours/promote", json={"version": champion}).status_code == 200


def test_rows_are_accepted_refused_taken_back_and_learned_by_keys_alone(
    visit: Callable[..., Any], studio: Server, tmp_path: Path
) -> None:
    before = counts(studio)
    version = studio.client.get("/models/colours").json()["versions"][0]["version"]
    page = visit(PLACE)
    pool = write_pool(tmp_path, 14)
    drop(page, ".drop-zone", *pool["red"])
    becomes_true(page, "document.querySelectorAll('.label-row [role=option]').length === 12")
    drop(page, ".drop-zone", *pool["blue"])  # now, so that no answer of theirs comes before one of the first dozen
    becomes_true(page, f"{LABELLED}.includes('28 left')")
    first, other = "red", "blue"
    assert all(name.startswith(first) for name in shown(page))
    becomes_true(page, "document.activeElement.matches('.label-row [role=option]')")

    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")  # the second photo is not what the row is
    page.keyboard.press(str(1 + ["blue", "red"].index(other)))  # but the other label
    becomes_true(page, f"{LABELLED}.includes('27 left')")
    assert counts(studio) == {**before, other: before[other] + 1}
    page.keyboard.press("u")
    becomes_true(page, f"{LABELLED}.includes('28 left')")
    assert counts(studio) == before

    becomes_true(page, "document.activeElement.matches('.label-row [role=option]')")
    for left in (16, 4):
        page.keyboard.press("Enter")
        becomes_true(page, f"{LABELLED}.includes('{left} left')")
    assert sum(counts(studio).values()) == sum(before.values()) + 24
    until(lambda: studio.client.get("/models/colours").json()["versions"][0]["version"] != version, SECONDS)
    jobs = studio.client.get("/jobs?model=colours").json()["jobs"]
    assert jobs[0]["kind"] == "retrain"
    page.get_by_text("Of the 24 labelled here, the answer was right for").wait_for()
    page.get_by_text("The last learning changed").wait_for()


def test_something_else_is_a_new_label_and_a_refused_photo_comes_again(
    visit: Callable[..., Any], studio: Server, tmp_path: Path
) -> None:
    before = counts(studio)
    page = visit(PLACE)
    drop(page, ".drop-zone", write_photo(tmp_path / "odd.jpg", COLOURS["red"], 7001))
    becomes_true(page, "document.activeElement.matches('.label-row [role=option]')")
    assert "red" in page.locator(".head h2").last.inner_text()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")  # not these
    becomes_true(page, "[...document.querySelectorAll('.head h2')].at(-1)?.textContent.includes('blue')")
    becomes_true(page, "document.activeElement.matches('.label-row [role=option]')")
    page.keyboard.press("e")
    page.locator("dialog input").fill("purple")
    page.keyboard.press("Enter")
    becomes_true(page, f"{LABELLED}.includes('0 left')")
    assert counts(studio) == {**before, "purple": 1}
    page.get_by_role("button", name="Undo").press("Enter")
    becomes_true(page, f"{LABELLED}.includes('1 left')")
    assert counts(studio).get("purple", 0) == 0
