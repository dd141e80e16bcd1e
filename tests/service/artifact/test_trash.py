"""What is deleted comes back whole within an hour, whatever happened meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from handful.service.artifact.errors import NothingToUndo, UndoTaken
from handful.service.artifact.trash import TABLE, WHOLE, Trash


@pytest.fixture
def bags(tmp_path: Path) -> Path:
    return photo(tmp_path / "photos/bags/red/1.jpg", "red")


def photo(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".trash" not in path.parts
    }


def aged(trash: Trash, token: str, hours: float) -> None:
    table = trash.folder / token / TABLE
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    text = table.read_text()
    before = text.partition('"at":"')[2].partition('"')[0]
    table.write_text(text.replace(before, at))


def test_what_was_put_away_comes_back_where_it_lay(tmp_path: Path, bags: Path) -> None:
    model = photo(tmp_path / "models/bags/1/card.json", "{}")
    before, trash = files(tmp_path), Trash(tmp_path)
    token, until = trash.put([model.parents[1], bags.parents[1]], "bags is back.")
    assert files(tmp_path) == {}
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)
    assert trash.undo(token) == "bags is back."
    assert files(tmp_path) == before
    with pytest.raises(NothingToUndo):
        trash.undo(token)


def test_only_the_owner_may_look_into_it(tmp_path: Path, bags: Path) -> None:
    trash = Trash(tmp_path)
    trash.put([bags], "")
    assert trash.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("token", ["", ".", "..", "../photos", "0" * 32, "lock"])
def test_a_token_that_is_none_is_refused(tmp_path: Path, bags: Path, token: str) -> None:
    Trash(tmp_path).put([bags], "")
    with pytest.raises(NothingToUndo):
        Trash(tmp_path).undo(token)


def test_after_an_hour_it_is_over_and_erased(tmp_path: Path, bags: Path) -> None:
    trash = Trash(tmp_path)
    young, old = trash.put([bags], "").token, trash.put([photo(bags, "again")], "").token
    aged(trash, old, 1.01)
    with pytest.raises(NothingToUndo):
        trash.undo(old)
    trash.sweep()
    assert not (trash.folder / old).exists()
    trash.undo(young)
    assert bags.read_text() == "red"


def test_a_new_folder_under_the_old_name_is_not_mixed_with_it(tmp_path: Path, bags: Path) -> None:
    trash = Trash(tmp_path)
    token = trash.put([bags.parents[1]], "").token
    photo(bags, "new")
    with pytest.raises(UndoTaken, match="photos/bags"):
        trash.undo(token)
    assert bags.read_text() == "new"
    bags.unlink()
    bags.parent.rmdir()
    trash.undo(token)  # into the empty folder
    assert files(tmp_path) == {"photos/bags/red/1.jpg": "red"}


def test_merging_keeps_both_and_doubles_nothing(tmp_path: Path, bags: Path) -> None:
    photo(bags.with_name("2.jpg"), "same")
    trash = Trash(tmp_path)
    token = trash.put([bags.parent], "", merge=True).token
    photo(bags, "another")
    photo(bags.with_name("2.jpg"), "same")
    trash.undo(token)
    assert files(bags.parent) == {"1.jpg": "another", "1-2.jpg": "red", "2.jpg": "same"}


def test_what_is_gone_already_is_left_out(tmp_path: Path, bags: Path) -> None:
    trash = Trash(tmp_path)
    token = trash.put([bags.with_name("never.jpg"), bags], "").token
    trash.undo(token)
    assert files(tmp_path) == {"photos/bags/red/1.jpg": "red"}


def test_a_deletion_that_was_killed_is_taken_back(tmp_path: Path, bags: Path) -> None:
    """The state after a kill between two moves: the table is there, the first has moved and the second has not."""
    second = photo(bags.with_name("2.jpg"), "second")
    before, trash = files(tmp_path), Trash(tmp_path)
    folder = trash.folder / trash.put([bags, second], "").token
    (folder / WHOLE).unlink()
    (folder / "1").rename(second)
    assert not bags.exists()
    trash.sweep()
    assert files(tmp_path) == before
    assert not folder.exists()


def test_a_deletion_that_was_killed_before_it_moved_anything_leaves_nothing(tmp_path: Path, bags: Path) -> None:
    trash = Trash(tmp_path)
    folder = trash.folder / trash.put([bags], "").token
    (folder / "0").rename(bags)
    for file in (TABLE, WHOLE):
        (folder / file).unlink()
    trash.sweep()
    assert not folder.exists()
    assert bags.exists()
