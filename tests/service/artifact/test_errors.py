"""The tree of errors: every class says what it means, and its code follows from its name."""

from __future__ import annotations

from collections.abc import Iterator

from handful.service.artifact import errors


def below(error: type[errors.HandfulError]) -> Iterator[type[errors.HandfulError]]:
    yield error
    for each in error.__subclasses__():
        yield from below(each)


def test_every_error_of_the_artifact_has_one_sentence_and_a_place_in_the_tree() -> None:
    tree = (errors.__doc__ or "").split()
    for error in below(errors.HandfulError):
        if error.__module__ == errors.__name__:
            assert (error.__doc__ or "").partition("\n")[0].endswith("."), error
            assert error.__name__ in tree, error


def test_codes_of_images_are_those_that_clients_know() -> None:
    assert {error.code for error in errors.ImageError.__subclasses__()} == {
        "not_an_image",
        "image_unreadable",
        "image_truncated",
        "image_too_complex",
        "image_too_many_bytes",
        "image_too_many_pixels",
    }
