"""How every command speaks: one JSON document or words on stdout, an exit status, the flags they share."""

from __future__ import annotations

import json

import click

FOUND, WRONG = 1, 2  # exit statuses: done but something was found; wrong use or unusable input

json_option = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
model_option = click.option("--model", metavar="NAME[:VERSION]", help="Which model; default: the only name there is.")
tta_option = click.option(
    "--tta", is_flag=True, help="Average over ten views of each image (corners, middle, mirrors); 11 times the work."
)


def answer(result: object, words: str, *, as_json: bool) -> None:
    """One JSON document, or the words for a person, on stdout."""
    click.echo(json.dumps(result, ensure_ascii=False, indent=2) if as_json else words)
