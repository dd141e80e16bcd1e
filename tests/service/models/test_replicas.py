"""A model on its way to an object store and from there to the services that follow it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Command, handful
from handful.service.artifact.errors import ArtifactInconsistent, StoreError, UsageError
from handful.service.artifact.folder import open_artifact, read_card
from handful.service.artifact.remote import check_model_url
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.service.models.remote_model import RemoteModel
from handful.service.models.remote_pull import pull_from
from handful.service.models.remote_push import PushedThere, push_to
from running_server import Server, encoded, publish_copy, running, until

pytest.importorskip("moto")
pytest.importorskip("s3fs")
from store_stand_in import Faults, object_store

FILES = {"card.json", "config.json", "embeddings.safetensors", "model.safetensors", "version.json"}


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[Faults, Any]]:
    with object_store("models") as made:
        yield made


@pytest.fixture
def maker(tmp_path: Path, artifact: Path) -> Store:
    """Where versions are made: colours:1, the champion, and colours:2."""
    for _ in range(2):
        publish_copy(tmp_path / "maker", artifact)
    return Store(tmp_path / "maker")


def push(maker: Store, url: str, version: str | None = None, **how: Any) -> PushedThere:
    path = maker.path("colours", version or maker.served("colours"))
    asked = {"embeddings": None, "promote": None, **how}
    return push_to(url, path, is_champion=maker.served("colours") == path.name, **asked)


def test_what_is_pushed_and_pulled_answers_the_same(
    store: tuple[Faults, Any], maker: Store, photos: Path, tmp_path: Path
) -> None:
    faults, s3 = store
    url = "s3://models/there/colours"
    first = push(maker, url)
    assert first.champion
    assert first.uploaded
    assert {Path(path).name for path in s3.find(f"models/there/colours/versions/{first.version}")} == FILES
    faults.cut.update({"model.safetensors": 1})
    faults.unavailable.update({"champion.json": 1})
    here = Store(tmp_path / "here")
    path = pull_from(url, here)
    images = sorted(photos.rglob("*.*"))[:4]
    answers = [list(Classifier.load(each).classify(images)) for each in (maker.path("colours", "1"), path)]
    assert answers[0] == answers[1]
    card = open_artifact(path).card
    assert card.model == "colours:1"
    assert card.origin
    assert (card.origin.repo, card.origin.revision) == (url, first.sha256)
    assert not card.data.embeddings_kept

    faults.asked.clear()
    assert pull_from(f"{url}@1", here) == path
    assert not push(maker, url).uploaded
    assert not [asked for asked in faults.asked if "model.safetensors" in asked or asked.startswith("PUT")]


def test_the_pointer_goes_with_the_champion_and_back(store: tuple[Faults, Any], maker: Store, tmp_path: Path) -> None:
    faults, _ = store
    url = "s3://models/pointer/colours"
    assert push(maker, url, "2").champion  # the first there
    assert push(maker, url, "1").champion  # the champion here
    assert not push(maker, url, "2").champion
    assert push(maker, url, "2", promote=True).champion
    ref = RemoteModel(url).champion()
    assert ref
    assert ref.number == 2
    here = Store(tmp_path / "here")
    assert pull_from(url, here).name == "2"  # its number there
    assert pull_from(f"{url}@1", here, promote=True).name == "3"  # 1 may have been another one here
    assert here.champion("colours") == "3"
    with pytest.raises(UsageError, match=r"has no single version '7'; versions there: 1-[0-9a-f]{16}, 2-"):
        pull_from(f"{url}@7", here)
    assert push(maker, url, "1", promote=False).champion is False
    assert not any(asked.startswith("DELETE") for asked in faults.asked)


def test_a_push_that_breaks_off_moves_nothing_and_can_be_begun_again(store: tuple[Faults, Any], maker: Store) -> None:
    faults, _ = store
    url = "s3://models/broken/colours"
    push(maker, url)
    before = RemoteModel(url).champion()
    maker.promote("colours", "2")
    faults.denied.add("/version.json")
    with pytest.raises(StoreError, match=r"version.json cannot be written: access is denied"):
        push(maker, url)
    faults.denied.clear()
    assert RemoteModel(url).champion() == before
    assert [ref.number for ref in RemoteModel(url).versions()] == [1]
    assert push(maker, url).uploaded
    assert [ref.number for ref in RemoteModel(url).versions()] == [1, 2]


@pytest.mark.usefixtures("store")
@pytest.mark.slow
def test_a_push_and_a_pull_that_are_killed_leave_nothing_half(
    store: tuple[Faults, Any], maker: Store, tmp_path: Path
) -> None:
    faults, _ = store
    url, here = "s3://models/killed/colours", Store(tmp_path / "here")

    def killed(method: str, home: Path, *command: str) -> None:
        faults.asked.clear()
        faults.release.clear()
        faults.held.add("model.safetensors")
        running = Command("models", *command, environment={"HANDFUL_HOME": str(home)})
        until(lambda: any(asked.startswith(method) and "model.safetensors" in asked for asked in faults.asked))
        running.kill()
        faults.held.clear()
        faults.release.set()

    killed("PUT", maker.models.parent, "push", "colours", url)
    assert RemoteModel(url).champion() is None
    assert not RemoteModel(url).versions()
    assert push(maker, url).uploaded
    killed("GET", here.models.parent, "pull", url)
    assert not here.names()
    assert list((here.models / "colours").glob(".partial-*"))
    assert open_artifact(pull_from(url, here)).card.model == "colours:1"
    assert not list((here.models / "colours").glob(".partial-*"))


def test_a_number_is_never_used_for_another_version(maker: Store, artifact: Path, tmp_path: Path) -> None:
    url = "s3://models/numbers/colours"
    push(maker, url)
    publish_copy(tmp_path / "other", artifact)
    other = Store(tmp_path / "other").path("colours", "1")
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**card, "created_at": "2020-01-01T00:00:00Z"}))
    with pytest.raises(UsageError, match=r"has another version 1, 1-[0-9a-f]{16}, which was made elsewhere"):
        push(Store(tmp_path / "other"), url)
    with pytest.raises(UsageError, match=r"already, without embeddings, and a version there is never changed"):
        push(maker, url, embeddings=True)
    assert push(maker, "s3://models/numbers/with/colours", embeddings=True).thumbnails


@pytest.mark.parametrize("what", ["champion.json", "version.json", "model.safetensors", "card.json"])
def test_what_was_changed_there_is_refused(store: tuple[Faults, Any], maker: Store, tmp_path: Path, what: str) -> None:
    _, s3 = store
    url, here = f"s3://models/changed-{what}/colours", Store(tmp_path / "here")
    pushed = push(maker, url)
    folder = url.removeprefix("s3://")
    path = f"{folder}/{what}" if what == "champion.json" else f"{folder}/versions/{pushed.version}/{what}"
    data = s3.cat_file(path)
    other = data.replace(b'"version": "1-', b'"version": "../1-') if what == "champion.json" else data[:-1] + b"!"
    s3.pipe_file(path, other)
    with pytest.raises((ArtifactInconsistent, StoreError), match=r"is not what handful writes|sha256"):
        pull_from(url, here)
    s3.pipe_file(path, data + b"x" * 100_000)
    with pytest.raises((ArtifactInconsistent, StoreError), match=r"are allowed|has more than"):
        pull_from(url, here)
    assert not here.names()


def test_a_folder_that_machines_share_is_a_store_too(maker: Store, artifact: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/shared/models/colours"
    home = maker.models.parent
    pushed = handful(home, "models", "push", "colours", url, "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["champion"] is True
    pulled = handful(tmp_path / "here", "models", "pull", url, "--name", "hues")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"{url} is here as hues:1, the champion; labels: blue, red; without embeddings")
    assert (
        read_card(tmp_path / "here/models/hues/1").files["model.safetensors"]
        == read_card(artifact).files["model.safetensors"]
    )
    refused = handful(home, "models", "push", "colours", url, "--private")
    assert (refused.returncode, "--private is for a repository on the Hub" in refused.stderr) == (2, True)
    refused = handful(home, "models", "push", "colours", "acme/colours", "--promote")
    assert (refused.returncode, "'acme/colours' is a repository" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    "url", ["ftp://host/colours", "s3://", "s3://bucket/a/../colours", "s3://b/c?x", "file://models/colours", "colours"]
)
def test_an_address_that_names_no_model_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not the address of a model|names no folder from the root on"):
        check_model_url(url)


def test_a_version_keeps_its_number_unless_it_is_taken(maker: Store, artifact: Path) -> None:
    def write(folder: Path, version: str) -> None:
        for file in artifact.glob("*.*"):
            (folder / file.name).write_bytes(file.read_bytes())
        card = json.loads((artifact / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, "name": "colours", "version": version}))

    assert maker.publish("colours", write, 7).name == "7"
    assert maker.publish("colours", write, 5).name == "5"
    assert maker.publish("colours", write, 7).name == "8"
    assert maker.publish("colours", write).name == "9"
    maker.delete("colours", "5")
    assert maker.publish("colours", write, 5).name == "5"


@pytest.mark.parametrize(
    ("arguments", "follow", "words"),
    [
        ([], "s3:/bucket/colours", "'s3:/bucket/colours' is not the address of a model"),
        (["--model", "colours:1"], "s3://bucket/colours", "is one version for ever, and HANDFUL_FOLLOW asks for"),
        (["--onnx", "colours.onnx"], "s3://bucket/colours", "HANDFUL_FOLLOW and HANDFUL_MODEL are both set"),
    ],
)
def test_a_service_that_cannot_follow_says_why(
    home: Path, tmp_path: Path, arguments: list[str], follow: str, words: str
) -> None:
    (tmp_path / "colours.onnx").write_bytes(b"not looked into")
    done = handful(home, "serve", *arguments, cwd=tmp_path, HANDFUL_FOLLOW=follow)
    assert done.returncode == 2
    assert words in done.stderr


def metric(server: Server, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def served(server: Server) -> str:
    """NAME:VERSION that answered an image; empty where none does yet."""
    answer = server.client.post("/predict", files={"image": encoded()})
    return str(answer.json()["model"]) if answer.status_code == 200 else ""


def test_a_service_follows_the_champion_there_and_serves_on_when_the_store_is_away(
    store: tuple[Faults, Any], maker: Store, artifact: Path, tmp_path: Path
) -> None:
    faults, s3 = store
    url, home = "s3://models/followed/colours", tmp_path / "replica"
    with running(home, follow=url, follow_seconds="0.2", poll_seconds="0.1") as server:
        assert server.client.get("/readyz").status_code == 503
        assert "There is no model" not in server.client.get("/readyz").text
        until(lambda: "has no champion yet" in server.output())
        push(maker, url)
        until(lambda: served(server) == "colours:1")
        until(lambda: metric(server, "handful_follow_up") == 1)
        push(maker, url, "2", promote=True)
        until(lambda: served(server) == "colours:2")

        before = metric(server, "handful_follow_failures_total")
        faults.denied.add("champion.json")
        until(lambda: metric(server, "handful_follow_failures_total") >= before + 2)
        assert metric(server, "handful_follow_up") == 0
        assert served(server) == "colours:2"
        assert server.output().count("cannot be followed now") == 2  # now, and before the first push
        faults.denied.clear()
        until(lambda: metric(server, "handful_follow_up") == 1)

        publish_copy(maker.models.parent, artifact)
        third = push(maker, url, "3", promote=False)
        broken = f"models/followed/colours/versions/{third.version}/model.safetensors"
        whole = s3.cat_file(broken)
        s3.pipe_file(broken, whole[:-1] + b"!")
        push(maker, url, "3", promote=True)
        until(lambda: "another sha256 than was announced" in server.output())
        assert served(server) == "colours:2"
        s3.pipe_file(broken, whole)
        until(lambda: served(server) == "colours:3")

        faults.asked.clear()
        push(maker, url, "1", promote=True)
        until(lambda: served(server) == "colours:1")
        assert not [asked for asked in faults.asked if asked.startswith("GET") and "model.safetensors" in asked]
        damaged = home / "models/colours/3/model.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
        push(maker, url, "3", promote=True)
        until(lambda: served(server) == "colours:3")
        push(maker, url, "1", promote=True)
        until(lambda: served(server) == "colours:1")
        Store(home).promote("colours", "2")  # what is decided here does not last
        until(lambda: Store(home).champion("colours") == "1")
        answer = server.client.post("/models/colours/train", json={})
        assert (answer.status_code, "another store" in answer.text) == (409, True)
    assert not list((home / "models/colours").glob(".partial-*"))
