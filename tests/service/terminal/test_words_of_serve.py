"""What `serve` says before it serves, where it cannot write."""

from __future__ import annotations

from pathlib import Path

from commands import handful
from handful.service.terminal.serving import starting_words
from running_server import free_port


def test_a_home_that_cannot_be_written_names_the_variable(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = handful(home, "serve", "--port", str(free_port()), BENTOML_HOME=str(tmp_path / "file/bentoml"))
    assert done.returncode == 2
    assert "set BENTOML_HOME" in done.stderr.splitlines()[-1]


def test_a_place_without_models_that_cannot_get_any_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "set HANDFUL_HOME" in starting_words("127.0.0.1", 3000, tmp_path / "file/models")
    assert "`handful train FOLDER`" in starting_words("127.0.0.1", 3000, tmp_path / "new/models")
    assert "model" not in starting_words("127.0.0.1", 3000, None)
