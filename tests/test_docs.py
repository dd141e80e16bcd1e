"""README.md, CONTRIBUTING.md and docs/ are true: commands, flags, settings, calls and links exist, and code runs."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml  # type: ignore[import-untyped]  # huggingface_hub installs it; there are no types for it
from commands import python
from handful.service.settings import PREFIX, Settings, variable
from PIL import Image

from docs.blocks import PAGES, ROOT, blocks
from docs.pictures import MAX_BYTES
from docs.tables import api, leaf_commands, tables
from handful.__main__ import handful

OTHER_VARIABLES = {"HANDFUL_HOME"}  # read by commands too, so it is no field of Settings
README_LINES = 200
IMAGES = sorted((ROOT / "docs/images").iterdir())
SHELL = {"sh", "console"}


@dataclass(frozen=True)
class Fence:
    """A block of code in a page."""

    page: str
    language: str
    text: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


TEXT = "\n".join(map(read, PAGES))
FENCES = [
    Fence(page.name, match["language"], textwrap.dedent(match["text"]))
    for page in PAGES
    for match in re.finditer(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", read(page), re.DOTALL | re.MULTILINE)
]
SPANS = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE))))


def shell_lines() -> Iterator[tuple[str, str]]:
    """Page and command of every line that a reader may paste; of a transcript, those after a `$`."""
    for fence in FENCES:
        if fence.language in SHELL:
            for line in fence.text.replace("\\\n", " ").splitlines():
                if fence.language == "sh" or line.startswith("$ "):
                    yield fence.page, line.removeprefix("$ ").strip()


def calls_of(line: str) -> Iterator[list[str]]:
    """The words after `handful` of each call in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_operator, group in itertools.groupby(lexer, lambda word: set(word) <= set("();<>|&")):
        words = list(group)
        starts = [n for n, word in enumerate(words[:-1]) if Path(word).name == "handful"]
        if not is_operator and starts and words[starts[0] + 1] in handful.commands:
            yield words[starts[0] + 1 :]


PASTED = sorted({(page, shlex.join(call)) for page, line in shell_lines() for call in calls_of(line)})
MENTIONED = sorted({shlex.join(call) for span in SPANS for call in calls_of(span)})


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command, and the words after its name."""
    command: click.Command = handful
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_the_pages_hold_commands() -> None:
    assert len(PASTED) > 30
    assert len(MENTIONED) > 5


@pytest.mark.parametrize(("page", "line"), PASTED)
def test_every_command_line_is_accepted(page: str, line: str) -> None:
    command, words = command_of(shlex.split(line))
    assert not isinstance(command, click.Group), page
    command.make_context(command.name, words)  # raises for a missing argument, an unknown flag or a wrong value


@pytest.mark.parametrize("line", MENTIONED)
def test_every_command_in_a_sentence_exists_with_its_flags(line: str) -> None:
    command, words = command_of(shlex.split(line))
    flags = {flag for parameter in command.get_params(click.Context(command)) for flag in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= flags


def test_every_flag_in_a_sentence_is_a_flag_of_some_command() -> None:
    own = {flag for command in leaf_commands().values() for each in command.params for flag in each.opts}
    own |= {flag for command in leaf_commands().values() for each in command.params for flag in each.secondary_opts}
    foreign = {"--build-context", "--format", "--user", "--help"}  # docker's; every command's
    assert {span.split()[0] for span in SPANS if span.startswith("--")} <= own | foreign


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_those_of_the_code(page: Path) -> None:
    """`python -m docs tables` renews them."""
    rendered = tables()
    written = {name: text for name, text in blocks(page).items() if not name.startswith("output ")}
    assert written == {name: rendered.get(name) for name in written}


def test_every_table_is_in_a_page() -> None:
    assert {name for page in PAGES for name in blocks(page)} >= tables().keys()


def test_every_command_is_shown_and_every_flag_has_a_meaning() -> None:
    shown = {" ".join(line.split()) for _, line in PASTED} | set(MENTIONED)
    for name, command in leaf_commands().items():
        assert any(line == name or line.startswith(f"{name} ") for line in shown), name
        assert not [each.name for each in command.params if isinstance(each, click.Option) and not each.help], name


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [line for _, line in shell_lines()] + SPANS
    named = {match[1] for line in lines if (match := re.match(r"make ([a-z]+)", line))}
    assert {"demo", "test", "bench"} <= named <= targets


def test_every_variable_exists_and_is_documented() -> None:
    own = {variable(name) for name in Settings.model_fields} | OTHER_VARIABLES
    assert set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", TEXT)) == own


def test_every_call_over_http_in_the_pages_exists() -> None:
    endpoints = {(each.method, each.path) for each in api().endpoints}
    lines = [line for _, line in shell_lines() if re.search(r"\bcurl\b.*http://", line)]
    assert len(lines) > 5
    for line in lines:
        path = re.sub(r"^/models/[^/]+", "/models/{name}", re.findall(r"http://[^/\s]+(/[^\s?#]*)", line)[0])
        for word, parameter in {"JOB": "{job}", "TOKEN": "{token}", "ID": "{photo}", "boots": "{label}"}.items():
            path = re.sub(rf"/{word}(?=/|$)", f"/{parameter}", path)
        sends = re.search(r" (-F|--form|--json|--data\S*|-T) ", line)
        method = match[1] if (match := re.search(r"-X ([A-Z]+)", line)) else "POST" if sends else "GET"
        assert (method, path) in endpoints, line


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_picture_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(page)) if not link.startswith("https://")]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", read(ROOT / "README.md"))}
    assert {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"} <= linked


def test_the_readme_stays_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("picture", IMAGES, ids=lambda path: path.name)
def test_every_picture_is_shown_small_and_a_png(picture: Path) -> None:
    assert f"images/{picture.name})" in TEXT
    assert picture.stat().st_size < MAX_BYTES
    with Image.open(picture) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("fence", [each for each in FENCES if each.language == "python"], ids=lambda fence: fence.page)
def test_every_python_block_runs(fence: Fence, artifact: Path, photos: Path, tmp_path: Path) -> None:
    for source, name in ((artifact, "bags"), (photos, "photos"), (photos, "more-photos")):
        shutil.copytree(source, tmp_path / name)
    shutil.copy(min(photos.rglob("*.jpg")), tmp_path / "photo.jpg")
    code = "import warnings; warnings.simplefilter('error', UserWarning)\n" + fence.text
    done = python(tmp_path / "home", code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "['blue', 'red']" in done.stdout


def test_every_yaml_block_can_be_read() -> None:
    documents = [yaml.safe_load(each.text) for each in FENCES if each.language == "yaml"]
    assert documents
    assert all("services" in document for document in documents)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {fence.language for fence in FENCES} <= {*SHELL, "python", "yaml"}


def test_the_examples_hold_no_path_of_the_machine_they_ran_on() -> None:
    outputs = [text for page in PAGES for name, text in blocks(page).items() if name.startswith("output ")]
    assert all(outputs), "python -m docs examples fills them"
    assert not [text for text in outputs if "/tmp" in text or str(Path.home()) in text]  # noqa: S108
