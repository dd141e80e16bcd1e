"""Every screen at every size, in both languages, light and dark; what the files of the page hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import becomes_true, drop, text
from conftest import write_photo
from handful.service.page.files import FILES
from running_server import Server

SCREENS = {
    "#/models": ".model",
    "#/m/colours/photos": "[role=option]",
    "#/m/colours/train": ".confusion",
    "#/m/colours/label": ".drop-zone",
    "#/m/colours/try": ".drop-zone",
    "#/m/colours/improve": ".timeline",
    "#/m/colours/use": "pre",
}
SMALL = """() => [...document.querySelectorAll('button, a, input, select, [role=option]')]
    .filter(each => each.offsetParent && !each.closest('.visually-hidden, .skip, .cover'))
    .map(each => [each.outerHTML.slice(0, 80), each.getBoundingClientRect().width, each.getBoundingClientRect().height])
    .filter(([, width, height]) => Math.min(width, height) < 43.9)"""
NAMELESS = """() => [...document.querySelectorAll('button, a, input:not([type=file]), select, [role=option], img')]
    .filter(each => each.offsetParent && !each.closest('[aria-hidden=true]'))
    .filter(each => !(each.ariaLabel || each.labels?.length || each.innerText?.trim() || each.hasAttribute('alt')))
    .map(each => each.outerHTML.slice(0, 80))"""
CONTRAST = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = ([r, g, b]) => [r, g, b].map(each => each / 255)
        .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0)
    const behind = element => {
        for (let each = element; each; each = each.parentElement) {
            const colour = numbers(getComputedStyle(each).backgroundColor)
            if (colour.length === 3 || colour[3] === 1) return colour
        }
        return [255, 255, 255]
    }
    const texts = [...document.querySelectorAll('main *, header *')].filter(each => each.offsetParent && !each.disabled
        && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    return texts.map(each => {
        const pair = [light(numbers(getComputedStyle(each).color)), light(behind(each))].sort((a, b) => b - a)
        return [each.outerHTML.slice(0, 80), (pair[0] + 0.05) / (pair[1] + 0.05)]
    }).filter(([, ratio]) => ratio < 4.5)
}"""


def keys(name: str) -> list[str]:
    return re.findall(r'^  "([^"]+)":', FILES[name].decode(), re.MULTILINE)


def test_both_languages_say_the_same_things() -> None:
    english, german = keys("text_en.js"), keys("text_de.js")
    assert len(english) == len(set(english)) > 150
    assert len(german) == len(set(german))
    assert set(english) <= set(german)
    assert all(key.startswith("error.") for key in set(german) - set(english))  # else the service's own sentence


def test_every_sentence_that_a_script_says_exists() -> None:
    scripts = "".join(
        content.decode() for name, content in FILES.items() if name.endswith(".js") and "text_" not in name
    )
    said = set(re.findall(r'\bt\("([^"]+)"', scripts))
    assert len(said) > 120
    assert said <= set(keys("text_en.js"))


def test_every_import_of_a_script_exists() -> None:
    for name, content in FILES.items():
        for names, module in re.findall(r'^import \{([^}]+)\} from "\./(\w+\.js)"', content.decode(), re.MULTILINE):
            exported = set(
                re.findall(r"^export (?:const|let|class|async function|function) (\w+)", FILES[module].decode(), re.M)
            )
            assert {each.split(" as ")[0].strip() for each in names.split(",")} <= exported, (name, module)


def test_the_page_is_light_and_plain() -> None:
    assert sum(map(len, FILES.values())) < 200 * 1024
    for name, content in FILES.items():
        assert content.count(b"\n") < 400, name
        if name.endswith(".js"):
            assert not re.search(rb"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", content), name


@pytest.mark.browser
@pytest.mark.parametrize(
    "how",
    [
        {"viewport": {"width": 390, "height": 800}, "locale": "de-DE"},
        {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
        {"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"},
    ],
    ids=["390 German", "320 dark", "wide"],
)
def test_every_screen_fits_and_can_be_touched_read_and_named(
    visit: Callable[..., Any], how: dict[str, Any], tmp_path: Path
) -> None:
    page = visit(**how)
    for place, shown in SCREENS.items():
        page.evaluate("place => { location.hash = place }", place)
        page.wait_for_selector(shown)
        if place.endswith("try"):
            drop(page, ".drop-zone", *[write_photo(tmp_path / f"{seed}.png", (200, 50, 40), seed) for seed in (70, 71)])
            page.wait_for_selector(".chips")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, place
        assert page.evaluate(SMALL) == [], place
        assert page.evaluate(NAMELESS) == [], place
        assert page.evaluate(CONTRAST) == [], place
        assert page.locator("h1").count() == 1, place
    german = how.get("locale") == "de-DE"
    assert page.evaluate("document.documentElement.lang") == ("de" if german else "en")


@pytest.mark.browser
def test_the_language_is_switched_and_kept(visit: Callable[..., Any]) -> None:
    page = visit("#/m/colours/photos")
    page.get_by_label("Language").select_option("de")
    page.get_by_role("heading", name="Fotos", exact=True).wait_for()
    page.reload()
    page.get_by_role("heading", name="Fotos", exact=True).wait_for()
    assert text(page, ".steps a") == ["Fotos", "Lernen", "Benennen", "Testen", "Verbessern", "Nutzen"]


@pytest.mark.browser
def test_what_a_model_is_worth_is_on_the_page(visit: Callable[..., Any], studio: Server) -> None:
    page = visit()
    card = page.locator(".model").filter(has_text="colours")
    card.filter(has_text="Right ").wait_for()
    assert "blue · red" in card.inner_text()
    assert re.search(r"Right \d+ times out of 100", card.inner_text())
    becomes_true(page, "document.querySelectorAll('.strip img').length >= 4")
    page.goto(f"http://127.0.0.1:{studio.port}/#/m/colours/train")
    page.wait_for_selector(".confusion")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Full report").click()
    opened.value.wait_for_selector("h1")
    assert opened.value.locator("h1").count() == 1
    page.get_by_role("link", name="Use").click()
    page.wait_for_selector("pre")
    assert f"curl -F image=@photo.jpg http://127.0.0.1:{studio.port}/models/colours/predict" in text(page, "pre")
    page.get_by_role("link", name="Improve").click()
    page.get_by_role("heading", name="Version 1").wait_for()


@pytest.mark.browser
def test_an_export_is_begun_and_stopped(visit: Callable[..., Any], studio: Server) -> None:
    page = visit("#/m/colours/use")
    with studio.jobs_held():
        page.get_by_role("button", name="Download as ONNX").click()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped. Nothing was changed.").wait_for()
    exports = [each for each in studio.client.get("/jobs").json()["jobs"] if each["kind"] == "export"]
    assert [each["state"] for each in exports] == ["cancelled"]


@pytest.mark.slow  # `test_output_calls.py` asks for the file without a browser
@pytest.mark.browser
def test_a_model_is_downloaded_as_one_file(visit: Callable[..., Any]) -> None:
    page = visit("#/m/colours/use")
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Download as ONNX").click()
    assert re.fullmatch(r"colours-\d+\.onnx", downloaded.value.suggested_filename)
    page.get_by_text("It answers as the model does").wait_for()


@pytest.mark.browser
def test_a_service_that_ends_is_said_in_one_sentence(visit: Callable[..., Any]) -> None:
    page = visit()
    page.route(re.compile("/models$"), lambda route: route.abort())
    page.reload()
    page.get_by_text("The service does not answer. Is it still running?").wait_for()


@pytest.mark.browser
def test_models_are_made_renamed_deleted_and_brought_back(visit: Callable[..., Any], studio: Server) -> None:
    page = visit()
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name of the model").fill("colours")
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="colours").wait_for()  # there is one already
    page.get_by_label("Name of the model").fill("made-here")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Drop your folders here").wait_for()
    page.get_by_role("link", name="Models").click()
    page.get_by_role("button", name="More for made-here").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_text("made-here was deleted.").wait_for()
    assert "made-here" not in [each["name"] for each in studio.client.get("/models").json()["models"]]
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("link", name="made-here").wait_for()
    page.get_by_role("button", name="More for made-here").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_role("dialog", name="Rename made-here").get_by_label("Name of the model").fill("renamed")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="renamed").wait_for()
