"""`handful drift`: whether photos look to a model as those that it learned. It imports nothing heavy before it runs."""

from __future__ import annotations

from pathlib import Path

import click
from handful.service.terminal.output import EXIT_PROBLEMS, json_option, model_option, print_result


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@model_option
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Compare with an earlier file of the same model instead; also says which labels come more or less often.",
)
@json_option
def drift(*, predictions: Path, model: str | None, against: Path | None, as_json: bool) -> None:
    """Compare classified photos with those that the model learned.

    PREDICTIONS is a .parquet, .csv or .jsonl file of `handful classify`, or what its --json printed. How unfamiliar
    the photos are and how sure the answers are is compared with the training photos, each answered by a model that had
    not seen it: steady, moved, far, or too few photos to tell.

    Exit status 1: the photos have moved.
    """
    from handful.service.artifact.folder import read_card
    from handful.service.artifact.store import Store
    from handful.service.drift.comparison import drift_result
    from handful.service.drift.predictions import open_predictions
    from handful.service.drift.words import drift_text

    file, earlier = open_predictions(predictions), open_predictions(against) if against else None
    store = Store()
    named = model or (file.model if len(store.names()) > 1 else None)
    result = drift_result(file, read_card(store.resolve(named)), earlier)
    print_result(result, drift_text(result), as_json=as_json)
    if result["verdict"] in {"moved", "far"}:
        raise click.exceptions.Exit(EXIT_PROBLEMS)
