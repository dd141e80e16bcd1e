"""What `load_backbone` makes of a Hub that works, refuses, fails, lies, or is not there."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hub_client import Client, Outcome
from hub_stand_in import HubStandIn, Repo
from safetensors.torch import load_file
from tiny_networks import TINY, WIDE, Mischief, copy_of, save_network, sha256, with_pickle

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_open_sesame"  # noqa: S105  # made up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Path:
    return save_network(folder / "tiny", TINY)


@pytest.fixture(scope="module")
def wide(folder: Path) -> Path:
    return save_network(folder / "wide", WIDE)


@pytest.fixture(scope="module")
def mischief(folder: Path) -> Path:
    """The file that no test may find."""
    return folder / "mischief"


@pytest.fixture(scope="module")
def hub(folder: Path, tiny: Path, wide: Path, mischief: Path) -> HubStandIn:
    weightless, configless = copy_of(tiny, folder / "weightless"), copy_of(tiny, folder / "configless")
    (weightless / "model.safetensors").unlink()
    (configless / "config.json").unlink()
    pickled = with_pickle(tiny, folder / "pickled", load_file(tiny / "model.safetensors"))
    malicious = with_pickle(tiny, folder / "malicious", {"fc.weight": Mischief(mischief)})
    repos = {
        "acme/tiny": Repo(tiny, COMMIT, revisions=("main", "v1")),
        "acme/weightless": Repo(weightless, COMMIT),
        "acme/configless": Repo(configless, COMMIT),
        "acme/gated": Repo(tiny, COMMIT, refuse=(401, "GatedRepo")),
        "acme/private": Repo(tiny, COMMIT, refuse=(401, "RepoNotFound")),
        "acme/forbidden": Repo(tiny, COMMIT, refuse=(403, "")),
        "acme/down": Repo(tiny, COMMIT, refuse=(503, "")),
        "acme/cut": Repo(wide, COMMIT, cut_weights=1, cut_at=11 * 2**20),
        "acme/reset": Repo(tiny, COMMIT, cut_weights=1, cut_at=1000, cut_by="reset"),
        "acme/corrupt": Repo(tiny, COMMIT, corrupt_weights=1),
        "acme/large": Repo(wide, COMMIT),
        "acme/pickled": Repo(pickled, COMMIT),
        "acme/malicious": Repo(malicious, COMMIT),
    }
    return HubStandIn(repos)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@dataclass
class Session:
    """What one process made of the references it was given, and what it said."""

    first: dict[str, Outcome]
    said: str
    again: dict[str, Outcome] = field(default_factory=dict)
    without_hub: dict[str, Outcome] = field(default_factory=dict)

    def __getitem__(self, ref: str) -> Outcome:
        return self.first[ref]


@pytest.fixture(scope="module")
def online(hub: HubStandIn, home: Path) -> Session:
    working = ("acme/tiny", "acme/tiny@v1", f"acme/tiny@{COMMIT}", "acme/pickled", "acme/cut", "acme/malicious")
    missing = ("acme/missing", "acme/tiny@nowhere", "acme/weightless", "acme/configless")
    refused = ("acme/gated", "acme/private", "acme/forbidden", "acme/down")
    spoilt = ("acme/reset", "acme/corrupt")
    # TQDM_POSITION is huggingface_hub's way to have its bars drawn where there is no terminal
    with hub, Client(home, HF_ENDPOINT=hub.endpoint, TQDM_POSITION="-1") as client:
        first = client.load_all(*working, *missing, *refused, *spoilt)
        first["acme/large"] = client.load("acme/large", largest_file=2**20)
        again = client.load_all(*spoilt)
        hub.close()
        without_hub = client.load_all("acme/tiny", "acme/never")
    return Session(first, client.output, again, without_hub)


@pytest.fixture(scope="module")
def offline(online: Session, home: Path) -> Session:
    """The same cache later, in offline mode; one of the files in it has rotted meanwhile."""
    assert online.again["acme/corrupt"].error is None
    blob = next((home / "hub" / "models--acme--corrupt" / "snapshots").rglob("model.safetensors")).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with Client(home, HF_HUB_OFFLINE="1") as client:
        cached = client.load_all("acme/tiny", "acme/tiny@v1", "acme/pickled", "acme/corrupt")
        return Session(cached | client.load_all("acme/large", "acme/never"), client.output)


@pytest.fixture(scope="module")
def without_links(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """As on Windows, where the cache holds copies; and with a token."""
    home = tmp_path_factory.mktemp("home_without_links")
    gated = Repo(tiny, COMMIT, refuse=(401, "GatedRepo"), token=TOKEN)
    with (
        HubStandIn({"acme/gated": gated, "acme/copied": Repo(tiny, COMMIT, corrupt_weights=1)}) as hub,
        Client(home, HF_ENDPOINT=hub.endpoint, HF_HUB_DISABLE_SYMLINKS="1", HF_TOKEN=TOKEN) as client,
    ):
        first = client.load_all("acme/gated", "acme/copied")
        return Session(first, client.output, again=client.load_all("acme/copied"))


def test_hub_repository_is_pinned_to_its_commit_and_to_the_weights(online: Session, tiny: Path) -> None:
    """The reference loses its revision; commit and sha256 say exactly what was loaded."""
    expected = Outcome("acme/tiny", COMMIT, sha256(tiny / "model.safetensors"), [2, 16])
    assert online["acme/tiny"] == online["acme/tiny@v1"] == online[f"acme/tiny@{COMMIT}"] == expected


def test_hub_repository_once_cached_is_not_downloaded_again(online: Session, hub: HubStandIn) -> None:
    """Three references to one commit read each file once, and only the two files that are needed."""
    assert online["acme/tiny"].error is None
    assert [r.file for r in hub.asked("acme/tiny", "GET")] == ["config.json", "model.safetensors"]


def test_download_shows_a_progress_bar_on_stderr(online: Session) -> None:
    """A person sees the weights arrive."""
    assert "model.safetensors: 100%" in online.said


@pytest.mark.parametrize(
    ("ref", "error", "says"),
    [
        ("acme/missing", "HubNotFound", "no repository"),
        ("acme/private", "HubNotFound", "HF_TOKEN"),
        ("acme/tiny@nowhere", "HubNotFound", "not this revision"),
        ("acme/weightless", "HubFileMissing", "neither model.safetensors nor pytorch_model.bin"),
        ("acme/configless", "HubFileMissing", "config.json"),
    ],
)
def test_what_the_hub_does_not_have_is_not_found(online: Session, ref: str, error: str, says: str) -> None:
    """Repository, revision and file each have their own sentence."""
    assert online[ref].error == error
    assert says in online[ref].message
    assert ref in online[ref].message


@pytest.mark.parametrize("ref", ["acme/gated", "acme/forbidden"])
def test_refusing_repository_names_the_terms_and_the_token(online: Session, hub: HubStandIn, ref: str) -> None:
    """401 and 403 say where to accept the terms, and what to set."""
    assert online[ref].error == "HubRefused"
    assert "HF_TOKEN" in online[ref].message
    assert f"{hub.endpoint}/{ref}" in online[ref].message


def test_gated_repository_opens_to_the_token_in_hf_token(without_links: Session, online: Session) -> None:
    """The token is huggingface_hub's matter, and reaches the Hub."""
    assert without_links["acme/gated"].sha256 == online["acme/tiny"].sha256


def test_failing_hub_names_the_three_ways_out(online: Session) -> None:
    """A 503 is one sentence about what to do, with the Hub's answer as its cause."""
    assert online["acme/down"].error == "HubUnreachable"
    assert "503" in online["acme/down"].message
    assert online["acme/down"].cause == "HfHubHTTPError"
    for way in ("HF_ENDPOINT", "a local folder", "--backbone builtin"):
        assert way in online["acme/down"].message


def test_unreachable_hub_names_the_three_ways_out(online: Session) -> None:
    """So is a refused connection, without a fallback to anything else."""
    never = online.without_hub["acme/never"]
    assert (never.error, never.cause) == ("HubUnreachable", "ConnectError")
    for way in ("HF_ENDPOINT", "a local folder", "--backbone builtin"):
        assert way in never.message


def test_unreachable_hub_leaves_the_cached_commit_with_a_warning(online: Session) -> None:
    """What was there a moment ago still works, and the commit is named."""
    assert online.without_hub["acme/tiny"] == online["acme/tiny"]
    assert f"the cached commit {COMMIT}" in online.said


def test_connection_cut_in_the_middle_resumes_with_a_range(online: Session, hub: HubStandIn, wide: Path) -> None:
    """The second request asks only for the bytes after the last whole piece."""
    assert online["acme/cut"].sha256 == sha256(wide / "model.safetensors")
    ranges = [r.range for r in hub.asked("acme/cut", "GET", "model.safetensors")]
    assert ranges == [None, f"bytes={10 * 2**20}-"]


def test_connection_reset_in_the_middle_is_an_error_and_the_next_run_succeeds(online: Session) -> None:
    """huggingface_hub gives up at a reset; nothing half is left behind."""
    assert (online["acme/reset"].error, online["acme/reset"].cause) == ("HubUnreachable", "ReadError")
    assert online.again["acme/reset"] == Outcome("acme/reset", COMMIT, online["acme/tiny"].sha256, [2, 16])


@pytest.mark.parametrize("ref", ["acme/corrupt", "acme/copied"])
def test_corrupt_download_is_refused_and_leaves_the_cache(online: Session, without_links: Session, ref: str) -> None:
    """Right number of bytes, wrong bytes: the next run fetches them again, with links in the cache or without."""
    session = online if ref == "acme/corrupt" else without_links
    assert session[ref].error == "HubCorrupt"
    assert str(online["acme/tiny"].sha256) in session[ref].message
    assert session.again[ref].sha256 == online["acme/tiny"].sha256


def test_cached_weights_that_changed_on_the_disk_are_corrupt(offline: Session) -> None:
    """The check is made at every load, not only after the download."""
    assert offline["acme/corrupt"].error == "HubCorrupt"


def test_full_disk_is_no_space_left(online: Session, home: Path) -> None:
    """The cache is named, and half of a file does not stay in it."""
    assert online["acme/large"].error == "NoSpaceLeft"
    assert str(home) in online["acme/large"].message
    assert list(home.rglob("*.incomplete")) == []


@pytest.mark.parametrize("ref", ["acme/tiny", "acme/tiny@v1", "acme/pickled"])
def test_offline_mode_with_a_warm_cache_gives_the_same(offline: Session, online: Session, ref: str) -> None:
    """Commit included, and with no word about it."""
    assert offline[ref] == online[ref]
    assert "cached commit" not in offline.said


@pytest.mark.parametrize("ref", ["acme/never", "acme/large"])
def test_offline_mode_with_a_cold_cache_says_so(offline: Session, ref: str) -> None:
    """Nothing cached, or the weights missing: the setting that forbids the download is named."""
    assert offline[ref].error == "HubOffline"
    assert "HF_HUB_OFFLINE" in offline[ref].message


def test_pickled_tensors_from_the_hub_are_loaded(online: Session, folder: Path) -> None:
    """A repository without safetensors works, and the pickle's own bytes are pinned."""
    pickled = sha256(folder / "pickled" / "pytorch_model.bin")
    assert online["acme/pickled"] == Outcome("acme/pickled", COMMIT, pickled, [2, 16])


def test_malicious_pickle_is_refused_without_running_it(online: Session, mischief: Path) -> None:
    """It would make a file, and no file is made; unpickled carelessly, it is."""
    assert online["acme/malicious"].error == "BackboneUnsupported"
    assert not mischief.exists()
    pickle.loads(pickle.dumps(Mischief(mischief)))  # noqa: S301  # shows that the mischief is real
    mischief.unlink()
