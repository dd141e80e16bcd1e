"""From the store to BentoML's, from there into a Bento, and out of it again with the checkout out of reach."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import bentoml
import pytest
import yaml  # type: ignore[import-untyped]  # huggingface_hub installs it; there are no types for it
from handful.service.bento import packed_model
from handful.service.classifier import Classifier
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

REGISTER_TWO_IN_TURN = """
import json, sys
from pathlib import Path
import bentoml
from handful.service.bento import register
one, two = map(Path, sys.argv[1:])
tags = [register(each) for each in (one, one, two, one)]
latest = bentoml.models.get("handful:latest")
print(json.dumps({"tags": tags, "latest": str(latest.tag), "info": latest.info.labels, "path": latest.path}))
"""
LOAD_THE_BENTO = """
import json, sys
from pathlib import Path
import bentoml
bentoml.load(sys.argv[1], standalone_load=True)  # as its workers do
import service.app
import handful.training
from handful import service, training
from handful.service.bento import packed_model
from handful.service.classifier import Classifier
model = packed_model()
classifier = Classifier.load(model)
prediction, = classifier.predict(classifier.read(Path(sys.argv[2]))[None])
files = [module.__file__ for module in (service, sys.modules['service.app'], training)]
print(json.dumps({"files": files, "model": str(model), "probabilities": prediction.probabilities}))
"""


def run(*command: str, bentoml_home: Path, home: Path, cwd: Path) -> str:
    """Standard output of a Python that does not see the checkout unless `cwd` is in it."""
    env = {**os.environ, "BENTOML_HOME": str(bentoml_home), "HANDFUL_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    done = subprocess.run([sys.executable, *command], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def tag(bentoml_home: Path, home: Path) -> str:
    return run("-m", "handful", "models", "bento", "colours", bentoml_home=bentoml_home, home=home, cwd=ROOT)


@pytest.fixture(scope="module")
def bento(bentoml_home: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001 - packed
    """A Bento of the checkout, built without its tests, caches and network."""
    empty = tmp_path_factory.mktemp("no-home")
    built = run("-m", "bentoml", "build", "--output", "tag", bentoml_home=bentoml_home, home=empty, cwd=ROOT)
    name, _, version = built.removeprefix("__tag__:").partition(":")
    return bentoml_home / "bentos" / name / version


def test_a_registered_version_is_the_whole_artifact_under_a_readable_tag(
    tag: str, bentoml_home: Path, artifact: Path
) -> None:
    assert re.fullmatch(r"handful:colours-1-[0-9a-f]{8}", tag)
    copied = bentoml_home / "models" / tag.replace(":", "/")
    for path in artifact.rglob("*"):
        assert not path.is_file() or (copied / path.relative_to(artifact)).read_bytes() == path.read_bytes(), path


def test_registering_again_changes_nothing_and_another_one_becomes_the_latest(artifact: Path, tmp_path: Path) -> None:
    other = tmp_path / "Sac à main"
    other.mkdir()
    for path in artifact.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    card = json.loads((artifact / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**card, "name": "Sac à main", "version": "12"}))
    out = run(
        "-c", REGISTER_TWO_IN_TURN, str(artifact), str(other), bentoml_home=tmp_path / "b", home=tmp_path, cwd=ROOT
    )
    got = json.loads(out)
    first, again, second, back = got["tags"]
    assert first == again
    assert second.startswith("handful:sac-main-12-")
    assert back not in {first, second}
    assert got["latest"] == back
    assert got["info"] == {
        "model": "colours",
        "version": "1",
        "backbone": card["backbone"]["ref"],
        "head": card["head"]["kind"],
    }


def test_outside_a_bento_nothing_is_packed() -> None:
    assert packed_model() is None


def test_a_bento_holds_the_code_and_the_builtin_backbone_and_leaves_the_rest_out(bento: Path) -> None:
    src = bento / "src"
    held = {path.relative_to(src).as_posix() for path in src.rglob("*") if path.is_file()}
    code = {
        path.relative_to(ROOT).as_posix()
        for part in ("handful", "service", "training")
        for path in ROOT.glob(f"{part}/**/*.py")
    }
    assert {name for name in code - held if not name.startswith("training/pretrain/")} == set()
    files = ("efficientnet/config.json", "resnet/config.json", "resnet/model.safetensors")
    assert {*(f"training/builtin/{each}" for each in files), "pyproject.toml"} <= held
    tops = {name.partition("/")[0] for name in held}
    assert tops <= {
        "handful",
        "service",
        "training",
        "handful.egg-info",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "bentofile.yaml",
    }
    assert not {name for name in held if "__pycache__" in name or name.endswith(".pyc") or "/pretrain/" in name}


def test_a_bento_names_one_version_and_pins_what_it_installs(bento: Path, tag: str) -> None:
    described = (bento / "bento.yaml").read_text(encoding="utf-8")
    assert f"tag: {tag}" in described
    assert "latest" not in described
    installs = (bento / "env/python/requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in installs.splitlines() if line.strip() and not line.startswith("#")]
    assert not [line for line in lines if "==" not in line]
    assert f"bentoml=={bentoml.__version__}" in lines


def test_a_bento_answers_the_same_with_its_own_code_and_model_wherever_it_is(
    bento: Path, bentoml_home: Path, tag: str, artifact: Path, photos: Path, tmp_path: Path
) -> None:
    photo = min(photos.rglob("*.jpg"))
    command = ("-c", LOAD_THE_BENTO, f"handful:{bento.name}", str(photo))
    out = json.loads(run(*command, bentoml_home=bentoml_home, home=tmp_path, cwd=tmp_path))
    assert all(Path(file).is_relative_to(bento / "src") for file in out["files"])
    assert Path(out["model"]) == bentoml_home / "models" / tag.replace(":", "/")
    classifier = Classifier.load(artifact)
    (expected,) = classifier.predict(classifier.read(photo)[None])
    assert out["probabilities"] == pytest.approx(expected.probabilities, abs=1e-3)


def requirements(kind: str = "") -> dict[str, Version]:
    text = (ROOT / f"requirements{kind}.txt").read_text(encoding="utf-8")
    return {name: Version(version) for name, version in re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE)}


def test_every_dependency_is_pinned_within_what_pyproject_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {**requirements(), **requirements("-gpu")}
    for dependency in map(Requirement, project["dependencies"]):
        name = re.sub(r"[-_.]+", "-", dependency.name).lower()
        assert pinned[name] in dependency.specifier, dependency


def test_bento_and_container_install_the_same_versions_and_the_container_checks_their_hashes() -> None:
    common, gpu, bento = requirements(), requirements("-gpu"), requirements("-bento")
    pinned = {**common, **gpu}
    assert {name: pinned[name] for name in bento} == bento
    assert set(common) == set(bento) - {"torch", "torchvision"} | {"bentoml"}
    for kind in ("", "-gpu", "-lean"):
        for pin in re.split(r"\n(?=\w)", (ROOT / f"requirements{kind}.txt").read_text(encoding="utf-8"))[1:]:
            assert re.fullmatch(r"[\w-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", pin), pin
    (install,) = (
        line for line in stages()["build"] if "requirements-gpu.txt ./" not in line and "requirements" in line
    )
    assert install.count("--require-hashes") == 2


def test_the_lean_bento_differs_only_in_what_is_installed() -> None:
    plain, lean = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("bentofile.yaml", "bentofile-lean.yaml")
    )
    assert lean.pop("python")["requirements_txt"] == "requirements-lean.txt"
    del plain["python"]
    assert lean == plain


def test_the_lean_container_installs_the_same_versions_without_torch() -> None:
    common, lean = requirements(), requirements("-lean")
    assert {name for name in lean if lean[name] != common.get(name)} == {"flatbuffers", "onnxruntime", "protobuf"}
    assert not {"torch", "timm", "scikit-learn", "scipy", "matplotlib", "pyarrow"} & set(lean)
    (install,) = (line for line in stages()["lean-build"] if "--requirement" in line)
    assert "--require-hashes" in install


def stages() -> dict[str, list[str]]:
    """Each stage's instructions, one string an instruction: those of the stage that it is built on, and its own."""
    code = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, code.splitlines())):
        if line.startswith("FROM"):
            _, base, _, name = line.split()
            found[name] = list(found.get(base, ()))
        elif found:
            found[next(reversed(found))].append(" ".join(line.split()))
    return found


def test_both_targets_of_the_dockerfile_differ_only_in_their_base_and_in_cuda() -> None:
    cpu, gpu = stages()["cpu"], stages()["gpu"]
    assert [line for line in cpu if "That is CUDA" not in line] == gpu


def test_what_the_dockerfile_copies_reaches_it() -> None:
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = [
        line.split()[1:-1] for name in ("build", "lean-build") for line in stages()[name] if line.startswith("COPY")
    ]
    assert {name for names in copied for name in names} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_container_runs_as_nobody_in_particular_and_tells_whether_it_is_ready() -> None:
    for name in ("cpu", "gpu", "lean"):
        text = "\n".join(stages()[name])
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)
        assert "/readyz" in text
        assert '\nCMD ["handful", "serve", "--host", "0.0.0.0"]' in text
        assert "HANDFUL_API_KEY" not in text
