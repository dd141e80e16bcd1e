"""A real Chromium on a real service; every page is watched for what must never happen."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running_server import Server, running, until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, PROGRAMS)), None)
OPTIONS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
SECONDS = 300  # far more than needed, so that a loaded machine does not fail a test
# What is said for some seconds, perhaps with a button to undo it, stays for minutes: a test may be slow.
LASTING = "{ const wait = setTimeout; window.setTimeout = (work, ms) => wait(work, ms > 5000 ? 60 * ms : ms) }"
HARMLESS = "Failed to load resource"  # an error's status is the test's to judge; the page says it to the person

DROP = """([at, files]) => {
    const transfer = new DataTransfer()
    for (const {name, data} of files) {
        const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
        transfer.items.add(new File([bytes], name, {type: "image/jpeg"}))
    }
    const event = kind => new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true})
    const target = document.querySelector(at)
    target.dispatchEvent(event("dragover"))
    target.dispatchEvent(event("drop"))
}"""


def skip_without_browser() -> Any:
    """Playwright's interface."""
    api = pytest.importorskip("playwright.sync_api", reason="The page's tests need playwright: pip install playwright.")
    if PROGRAM is None:
        pytest.skip("The page's tests need a browser: apt-get install chromium.")
    return api


@pytest.fixture(scope="module")  # while it is open, no other event loop can run in this thread
def chromium() -> Iterator[Any]:
    api = skip_without_browser()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def studio(home: Path, backbone: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with the model `colours`, whose photos lie in its library; a training starts from the tiny network."""
    skip_without_browser()
    own = tmp_path_factory.mktemp("studio") / "home"
    shutil.copytree(home, own)
    shutil.copytree(photos, own / "photos/colours")
    with running(own, backbones=str(backbone), answer_seconds=str(SECONDS)) as server:  # a heat map may be slow
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture
def visit(chromium: Any, studio: Server) -> Iterator[Callable[..., Any]]:
    """Opens a page of the service; at the end none may have asked elsewhere, broken its policy or raised an error."""
    wrong: list[str] = []
    contexts: list[Any] = []

    def opened(place: str = "", server: Server = studio, **how: Any) -> Any:
        context = chromium.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 900}, **how})
        contexts.append(context)
        context.set_default_timeout(1000 * SECONDS)
        context.add_init_script(LASTING)
        page = context.new_page()
        watch(page, f"http://127.0.0.1:{server.port}/", wrong)
        page.goto(f"http://127.0.0.1:{server.port}/{place}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def watch(page: Any, address: str, wrong: list[str]) -> None:
    """Notes requests to elsewhere, errors of scripts, and all that the browser complains of."""
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda line: wrong.append(line.text) if _is_bad(line) else None)
    page.on("request", lambda request: wrong.append(request.url) if not _is_own(request.url, address) else None)


def _is_bad(line: Any) -> bool:
    return line.type in {"error", "warning"} and not line.text.startswith(HARMLESS)


def _is_own(url: str, address: str) -> bool:
    return url.startswith((address, "blob:", "data:"))


def drop(page: Any, at: str, *photos: Path) -> None:
    """Drops files on what `at` selects, as from a folder on the desktop."""
    files = [{"name": each.name, "data": base64.b64encode(each.read_bytes()).decode()} for each in photos]
    page.wait_for_selector(".screen")
    page.wait_for_selector(at)
    page.evaluate(DROP, [at, files])


def text(page: Any, selector: str) -> list[str]:
    return [line.strip() for line in page.locator(selector).all_inner_texts()]


def becomes_true(page: Any, expression: str) -> None:
    """Asked from outside: the page's own policy forbids what evaluates text."""
    until(lambda: bool(page.evaluate(expression)), SECONDS)


def requested(page: Any, held: list[Any]) -> None:
    """Waits until a route has held a request back. Routes are called while the page is asked something."""
    until(lambda: bool(page.evaluate("true") and held), SECONDS)
