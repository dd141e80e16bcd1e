"""A model's versions and photos move together, whatever interrupts it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from handful.service.artifact.store import Store
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ModelExists
from handful.service.models.catalogue import Catalogue
from handful.service.models.changes import RENAMING, ModelChanges


@pytest.fixture
def changes(own_home: Path) -> ModelChanges:
    """A model `bags` with two versions, of which the first is the champion, and one photo."""
    for version in ("1", "2"):
        write(own_home / f"models/bags/{version}/card.json", json.dumps({"name": "bags", "version": version}))
    write(own_home / "models/bags/champion", "1\n")
    write(own_home / "photos/bags/red/a.jpg", "a")
    return ModelChanges(Catalogue())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def holds(home: Path, name: str) -> tuple[list[str], str | None, bool]:
    """Versions, champion, and whether the photo is there."""
    store = Store(home)
    return store.versions(name), store.champion(name), (home / f"photos/{name}/red/a.jpg").exists()


NOTHING: tuple[list[str], None, bool] = ([], None, False)


def test_everything_moves_to_the_new_name(own_home: Path, changes: ModelChanges) -> None:
    changes.rename("bags", "cups")
    assert holds(own_home, "cups") == (["1", "2"], "1", True)
    assert holds(own_home, "bags") == NOTHING
    with pytest.raises(ModelUnknown):
        changes.rename("bags", "mugs")


@pytest.mark.parametrize("moved", [0, 1, 2, 3, 4])
def test_a_renaming_that_was_killed_is_finished_at_the_next_start(
    own_home: Path, changes: ModelChanges, moved: int
) -> None:
    """After so many of its steps."""
    (own_home / "models" / RENAMING).write_text(json.dumps({"old": "bags", "new": "cups"}))
    steps: list[Callable[[], object]] = [
        lambda: (own_home / "photos/bags").rename(own_home / "photos/cups"),
        lambda: write(own_home / "models/cups/champion", "1\n"),
        lambda: (own_home / "models/bags/1").rename(own_home / "models/cups/1"),
        lambda: (own_home / "models/bags/2").rename(own_home / "models/cups/2"),
    ]
    for step in steps[:moved]:
        step()
    changes.finish()
    assert holds(own_home, "cups") == (["1", "2"], "1", True)
    assert Store(own_home).versions("bags") == []
    assert not (own_home / "models" / RENAMING).exists()


def test_a_number_is_not_used_again_under_either_name(own_home: Path, changes: ModelChanges) -> None:
    changes.rename("bags", "cups")
    assert (Store(own_home).highest("bags"), Store(own_home).highest("cups")) == (2, 2)
    changes.delete("cups")
    assert Store(own_home).highest("cups") == 2


def test_what_was_deleted_comes_back_as_it_was(own_home: Path, changes: ModelChanges) -> None:
    before = holds(own_home, "bags")
    token = changes.delete("bags").token
    assert holds(own_home, "bags") == NOTHING
    assert changes.catalogue.names() == []
    changes.undo(token)
    assert holds(own_home, "bags") == before


def test_names_that_differ_in_capitals_alone_are_one_name(changes: ModelChanges) -> None:
    with pytest.raises(ModelExists, match="'bags'"):
        changes.create("BAGS")
    assert changes.rename("bags", "Bags") == "Bags"
