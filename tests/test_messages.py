"""Every flag that a message names exists on the command that can print the message.

What a command can reach is read from the source: from its function, along the names of functions, classes and constants
that it uses, wherever they are defined. Of a class that is used, those methods count whose names are used.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import click
import pytest
from test_architecture import SOURCES, tree

from handful.__main__ import handful

FLAG = re.compile(r"--[a-z][a-z0-9-]+")
COMMAND = re.compile(r"`handful ([^`]*)`|^    handful (.*)$", re.MULTILINE)  # in a sentence, in a page
FOREIGN = re.compile(r"`(?!handful )[a-z]+ [^`]*`")  # commands of other programs
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


class Place(NamedTuple):
    """A definition: at the top of a module, or in a class there (`Class.method`)."""

    module: str
    name: str


@cache
def all_commands() -> dict[str, click.Command]:
    """By the words that call them, such as `models list`."""

    def below(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from below(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    return dict(below(handful, ()))


def flags_of(command: click.Command) -> set[str]:
    parameters = command.get_params(click.Context(command))
    return {name for each in parameters for name in (*each.opts, *each.secondary_opts)}


@cache
def definitions(module: str) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}.{each.name}": each for each in methods}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id: node for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return found


@cache
def imported(module: str) -> dict[str, Place]:
    """Names that a module imports from ours, at its top or in its functions; a whole module has an empty name."""
    names: dict[str, Place] = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                whole = f"{node.module}.{each.name}"
                place = Place(whole, "") if whole in SOURCES else Place(node.module, each.name)
                if place.module in SOURCES:
                    names[each.asname or each.name] = place
    return names


def own_parts(place: Place) -> Sequence[ast.AST]:
    """What a definition consists of; of a class not its methods, of a function not its docstring."""
    node = definitions(place.module)[place.name]
    if isinstance(node, ast.ClassDef):
        return [each for each in node.body if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)][
            bool(ast.get_docstring(node)) :
        ]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.decorator_list, *node.body[bool(ast.get_docstring(node)) :]]
    return [node]


def resolved(module: str, name: str) -> Place | None:
    place = Place(module, name) if name in definitions(module) else imported(module).get(name)
    return place if place and (not place.name or place.name in definitions(place.module)) else None


@cache
def uses(place: Place) -> tuple[frozenset[Place], frozenset[str]]:
    """The definitions that a definition names, and the attributes that may be methods or properties of anything."""
    places: set[Place] = set()
    attributes: set[str] = set()
    for part in own_parts(place):
        calls = [node for node in ast.walk(part) if isinstance(node, ast.Call)]
        called = {id(node.func) for node in calls}
        called_without_arguments = {id(node.func) for node in calls if not (node.args or node.keywords)}
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute):
                if node.attr == "resolve" and id(node) in called_without_arguments:
                    continue  # a path's
                own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
                attributes.add(node.attr if own or id(node) in called else f"{node.attr} property")
                whole = resolved(place.module, node.value.id) if isinstance(node.value, ast.Name) else None
                if whole and not whole.name and node.attr in definitions(whole.module):
                    places.add(Place(whole.module, node.attr))
            elif isinstance(node, ast.Name) and (used := resolved(place.module, node.id)) and used.name:
                places.add(used)
    return frozenset(places), frozenset(attributes)


def reachable(start: Place) -> set[Place]:
    reached: set[Place] = set()
    attributes: set[str] = set()
    todo = {start}
    while todo:
        place = todo.pop()
        reached.add(place)
        places, named = uses(place)
        attributes |= named
        todo |= places - reached
        if not todo:
            classes = [each for each in reached if isinstance(definitions(each.module)[each.name], ast.ClassDef)]
            todo = {
                Place(each.module, name)
                for each in classes
                for name in definitions(each.module)
                if name.startswith(f"{each.name}.") and is_used(Place(each.module, name), attributes)
            } - reached
    return reached


def is_used(method: Place, attributes: set[str]) -> bool:
    name = method.name.partition(".")[2]
    node = definitions(method.module)[method.name]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    decorated = {each.id for each in node.decorator_list if isinstance(each, ast.Name)}
    is_property = bool(decorated & {"property", "cached_property"})
    return name in attributes or name.startswith("__") or (is_property and f"{name} property" in attributes)


def texts(place: Place) -> Iterator[str]:
    """The strings in a definition; the holes of an f-string are `{}`. A string that is a flag is no message."""
    for part in own_parts(place):
        inside = {id(each) for node in ast.walk(part) if isinstance(node, ast.JoinedStr) for each in node.values}
        for node in ast.walk(part):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            if text and not re.fullmatch(r"--[\w/-]+", text):
                yield text


@pytest.mark.parametrize("words", all_commands())
def test_every_flag_in_a_message_exists_on_the_command_that_prints_it(words: str) -> None:
    command = all_commands()[words]
    callback = inspect.unwrap(command.callback) if command.callback else None
    assert callback is not None
    start = Place(callback.__module__, callback.__name__)
    named = {
        (flag, place)
        for place in reachable(start)
        for text in texts(place)
        for flag in FLAG.findall(FOREIGN.sub("", COMMAND.sub("", text)))
    }
    missing = {(flag, *place) for flag, place in named if flag not in flags_of(command)}
    assert not missing


def test_the_search_finds_messages_behind_functions_classes_and_constants() -> None:
    """Else the test above could pass because it sees nothing."""
    retrain = {text for place in reachable(Place("handful.training.cli", "retrain")) for text in texts(place)}
    for part in ("use --promote always", "names folders of old photos", "names {!r}; labels", "Say --model NAME"):
        assert any(part.replace("{!r}", "{}") in text for text in retrain), part
    train = {text for place in reachable(Place("handful.training.cli", "train")) for text in texts(place)}
    assert any("use --backbone builtin" in text for text in train)
    assert not any("use --backbone builtin" in text for text in retrain)  # it has no such flag


def test_every_command_in_a_message_exists_with_its_flags() -> None:
    places = [Place(module, name) for module in SOURCES for name in definitions(module)]
    named = {
        (found, place) for place in places for text in texts(place) for found in map("".join, COMMAND.findall(text))
    }
    assert len(named) > 5
    for found, place in named:
        assert not wrong_flags(found.split()), (found, *place)


def test_every_command_to_paste_exists_with_its_flags() -> None:
    """Those that `command_line` makes for the ends of texts."""
    calls = [
        [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        for module in SOURCES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command_line"
    ]
    constant = [words for words in calls if words]
    assert len(constant) > 8
    for words in constant:
        assert not wrong_flags(words), words


def wrong_flags(words: list[str]) -> set[str]:
    """Flags, or a whole command, that do not exist."""
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in all_commands()), None)
    if name is None:
        return set() if words == ["models"] or words[0].startswith("{}") else {words[0]}
    return {word for word in words if FLAG.fullmatch(word)} - flags_of(all_commands()[name])
