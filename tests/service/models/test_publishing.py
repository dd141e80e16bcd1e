"""A version on its way to a Hub and back, through the real huggingface_hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from handful.service.artifact.card import ModelCard
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from hub_client import SHARING, Client
from hub_stand_in import HubStandIn, Repo, git_sha1
from tiny_networks import TINY, save_network

TOKEN = "hf_may_write"  # noqa: S105  # made up
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The stand-in, a process that speaks to it, and the home that it pulls to."""

    stand_in: HubStandIn
    client: Client
    home: Path
    artifact: Path

    def push(self, repo: str, token: str | None = TOKEN, **settings: Any) -> dict[str, Any]:
        return self.client.ask("push", token, [str(self.artifact), repo, settings])

    def pull(self, ref: str, name: str | None = None, *, promote: bool = False) -> dict[str, Any]:
        return self.client.ask("pull", TOKEN, [ref, str(self.home), name, promote])

    def folder(self, repo: str) -> Path:
        return self.stand_in.repos[repo].folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    plain = Repo(save_network(folder / "plain", TINY), COMMIT)
    stand_in = HubStandIn({"acme/plain": plain}, written=folder / "written", writers={"acme": TOKEN})
    # hf_xet speaks a protocol of its own to servers of its own; without it files go the way of LFS
    environment = {"HF_HUB_DISABLE_XET": "1"}
    with stand_in, Client(folder / "cache", SHARING, HF_ENDPOINT=stand_in.endpoint, **environment) as client:
        yield Hub(stand_in, client, folder / "home", artifact)


def card(folder: Path) -> ModelCard:
    return open_artifact(folder).card


def test_push_then_pull_gives_the_same_predictions(hub: Hub) -> None:
    """The pulled version opens, says where it is from, and answers as the one that was pushed."""
    pushed = hub.push("acme/colours", private=True)
    assert (pushed["model"], pushed["private"], pushed["embeddings"]) == ("colours:1", True, True)
    pulled = Path(hub.pull("acme/colours")["path"])
    assert pulled == hub.home / "models/colours/1"
    origin = card(pulled).origin
    assert origin is not None
    assert (origin.repo, origin.revision, origin.model) == ("acme/colours", pushed["commit"], "colours:1")
    pixels = torch.rand(4, 3, 32, 32)
    assert Classifier.load(pulled).predict(pixels) == Classifier.load(hub.artifact).predict(pixels)
    assert (pulled / "embeddings.safetensors").read_bytes() == (hub.artifact / "embeddings.safetensors").read_bytes()
    assert pushed["thumbnails"] is False  # nobody asked for them
    assert open_artifact(pulled).thumbnails() == []


def test_plain_timm_opens_what_was_pushed_and_gives_the_same_logits(hub: Hub) -> None:
    """As a user of timm writes it, with the repository's name."""
    hub.push("acme/for-timm")
    pixels = torch.rand(2, 3, 32, 32)
    answer = hub.client.ask("logits", None, ["acme/for-timm", pixels.tolist()])
    assert "logits" in answer, answer
    theirs = torch.tensor(answer["logits"])
    network = Classifier.load(hub.artifact).network
    ours = network.logits(network.embed(pixels))
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.05 * float(theirs.abs().max()))


def test_a_public_repository_gets_nothing_of_a_single_photo(hub: Hub) -> None:
    """Neither embeddings, hashes, the report nor the path of a folder; what is left is whole, and says so."""
    assert hub.push("acme/public")["embeddings"] is False
    there = hub.folder("acme/public")
    assert {path.name for path in there.iterdir()} == {
        *("README.md", "card.json", "config.json", "embeddings.safetensors", "model.safetensors")
    }
    assert set(open_artifact(there).embeddings()) == {"unknown.directions"}
    assert not card(there).data.embeddings_kept
    assert str(Path(card(hub.artifact).backbone.ref).parent) not in (there / "card.json").read_text()
    pulled = Classifier.load(Path(hub.pull("acme/public", "without")["path"]))
    assert pulled.predict(torch.rand(1, 3, 32, 32))


def test_what_is_asked_for_is_pushed_and_what_is_not_any_more_is_removed(hub: Hub) -> None:
    """Report and thumbnails come with their flags, and leave the repository with the next push without these."""
    done = hub.push("acme/open", embeddings=True, report=True, licence="mit")
    assert (done["private"], done["embeddings"], done["report"]) == (False, True, True)
    assert (hub.folder("acme/open") / "report/report.html").is_file()
    pulled = open_artifact(Path(hub.pull("acme/open", "open")["path"]))
    assert pulled.thumbnails() == open_artifact(hub.artifact).thumbnails() != []
    readme = (hub.folder("acme/open") / "README.md").read_text()
    for line in ("library_name: timm", "pipeline_tag: image-classification", "license: mit", "model-index:"):
        assert line in readme
    assert 'timm.create_model("hf-hub:acme/open"' in readme
    hub.push("acme/open")
    assert not (hub.folder("acme/open") / "report").exists()
    assert not (hub.folder("acme/open") / "thumbnails.safetensors").exists()


def test_a_later_pull_is_a_challenger_unless_promoted(hub: Hub) -> None:
    """The first version of a name answers; others wait to be promoted."""
    hub.push("acme/thrice")
    versions = [Path(hub.pull("acme/thrice", "thrice", promote=promote)["path"]).name for promote in (False, False)]
    store = Store(hub.home)
    assert (versions, store.champion("thrice")) == (["1", "2"], "1")
    hub.pull("acme/thrice", "thrice", promote=True)
    assert store.champion("thrice") == "3"


@pytest.mark.parametrize(
    ("repo", "token", "error", "words"),
    [
        ("acme/new", None, "HubRefused", "status 401"),
        ("acme/new", "hf_reads_only", "HubRefused", "HF_TOKEN to a token with the right to write"),
        ("other/new", TOKEN, "HubRefused", "status 403"),
        ("new", TOKEN, "UsageError", "ORG/NAME"),
        ("acme/new@v1", TOKEN, "UsageError", "ORG/NAME"),
    ],
)
def test_who_may_not_write_is_told_what_to_set(hub: Hub, repo: str, token: str | None, error: str, words: str) -> None:
    """And no repository is made."""
    done = hub.push(repo, token)
    assert done["error"] == error
    assert words in done["message"]
    assert repo not in hub.stand_in.repos


def test_private_is_refused_where_the_repository_is_public(hub: Hub) -> None:
    """Nothing is written to it."""
    hub.push("acme/seen")
    before = hub.stand_in.repos["acme/seen"].commit
    assert "public" in hub.push("acme/seen", private=True)["message"]
    assert hub.stand_in.repos["acme/seen"].commit == before


def test_an_upload_that_is_cut_goes_on_and_a_cut_commit_leaves_the_old_version(hub: Hub) -> None:
    """A file is sent again by huggingface_hub; a commit is one request, and it is there or not."""
    hub.stand_in.uploaded.clear()
    hub.stand_in.cut_uploads = 1
    assert "commit" in hub.push("acme/cut")
    repo = hub.stand_in.repos["acme/cut"]
    before, repo.cut_commits = repo.commit, 1
    done = hub.push("acme/cut", licence="mit")
    assert done["error"] == "HubUnreachable"
    assert "push again" in done["message"]
    assert repo.commit == before
    assert hub.push("acme/cut", licence="mit")["commit"] != before


@pytest.mark.parametrize(
    ("ref", "error", "words"),
    [
        ("acme/missing", "HubNotFound", "no repository"),
        ("acme/colours@v9", "HubNotFound", "not this revision"),
        ("acme/plain", "ArtifactIncomplete", "handful train FOLDER --backbone acme/plain"),
        ("colours", "UsageError", "ORG/NAME[@REVISION]"),
    ],
)
def test_what_cannot_be_pulled_is_one_sentence(hub: Hub, ref: str, error: str, words: str) -> None:
    """It names the way out, and nothing is published."""
    hub.push("acme/colours", private=True)
    before = sorted((hub.home / "models").rglob("card.json"))
    done = hub.pull(ref)
    assert done["error"] == error
    assert words in done["message"]
    assert sorted((hub.home / "models").rglob("card.json")) == before


def test_a_corrupt_download_is_refused_and_the_next_one_succeeds(hub: Hub) -> None:
    """Right number of bytes, wrong bytes."""
    hub.push("acme/corrupt")
    hub.stand_in.repos["acme/corrupt"].corrupt_weights = 1
    assert hub.pull("acme/corrupt", "corrupt")["error"] == "HubCorrupt"
    assert "corrupt" not in Store(hub.home).names()
    assert "path" in hub.pull("acme/corrupt", "corrupt")


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"architecture": "hf-hub:acme/plain"}, "ArtifactInconsistent"),
        ({"architecture": 5}, "ArtifactInconsistent"),
        ({"model_args": {"block": "no_such"}}, "ArtifactInconsistent"),
        ({"label_names": ["a", "b"]}, "ArtifactInconsistent"),
    ],
)
def test_a_strangers_description_leads_nowhere_else(
    hub: Hub, tmp_path: Path, entries: dict[str, Any], error: str
) -> None:
    """What timm would fetch or build by it is refused before anything is published."""
    folder = Path(shutil.copytree(hub.artifact, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text()) | entries
    (folder / "config.json").write_text(json.dumps(config))
    hub.stand_in.repos["acme/strange"] = Repo(folder, git_sha1((folder / "config.json").read_bytes()))
    asked = len(hub.stand_in.requests)
    assert hub.pull("acme/strange", "strange")["error"] == error
    assert {request.repo for request in hub.stand_in.requests[asked:]} == {"acme/strange"}
    assert "strange" not in Store(hub.home).names()


@pytest.mark.slow
def test_offline_says_so_and_the_cache_still_serves(hub: Hub, tmp_path: Path, artifact: Path) -> None:
    """What was pulled before can be pulled again; the rest names the setting."""
    hub.push("acme/colours", private=True)
    hub.pull("acme/colours", "cached")
    with Client(hub.home.parent / "cache", SHARING, HF_HUB_OFFLINE="1") as client:
        cached = client.ask("pull", None, ["acme/colours", str(tmp_path), None, False])
        never = client.ask("pull", None, ["acme/never", str(tmp_path), None, False])
        push = client.ask("push", TOKEN, [str(artifact), "acme/colours", {}])
    assert "path" in cached
    assert never["error"] == push["error"] == "HubOffline"
    assert "HF_HUB_OFFLINE" in never["message"]
    assert "unset it" in push["message"]
