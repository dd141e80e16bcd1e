"""The tree of HTTP errors: its picture is the code's own, and every error has a code and a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from handful.service.artifact.errors import ImageTooManyBytes, NotAnImage
from handful.service.http import errors, library_errors, model_errors
from handful.service.http.errors import ArchiveError, FieldNotAFile, NotAnArchive, RequestError, status_of


def classes(parent: type[RequestError] = RequestError) -> Iterator[type[RequestError]]:
    for child in parent.__subclasses__():
        yield child
        yield from classes(child)


@pytest.mark.parametrize("module", [errors, library_errors, model_errors])
def test_the_tree_in_the_docstring_names_every_error_with_its_status(module: ModuleType) -> None:
    drawn = re.findall(r"── (\w+) +(\d{3})\n", module.__doc__ or "")
    here = [each for each in classes() if each.__module__ == module.__name__]
    assert drawn == [(each.__name__, str(each.status)) for each in here]


@pytest.mark.parametrize("error", list(classes()))
def test_every_error_has_a_code_of_its_own_and_one_sentence(error: type[RequestError]) -> None:
    assert re.fullmatch("[a-z]+(_[a-z]+)*", error.code)
    assert [each for each in classes() if each.code == error.code] == [error]
    assert re.fullmatch(r"[A-Z].*\.", error.__doc__ or "", re.DOTALL)


def test_a_code_is_the_classs_name_in_snake_case() -> None:
    assert FieldNotAFile.code == "field_not_a_file"
    assert NotAnArchive.code == "not_an_archive"
    assert issubclass(NotAnArchive, ArchiveError)


def test_an_images_error_is_413_where_it_is_too_large() -> None:
    assert status_of(ImageTooManyBytes) == 413
    assert status_of(NotAnImage) == 400
