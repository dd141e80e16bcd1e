"""The rules of the layout, read from the code's own imports and definitions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {  # import name -> file; a package's name stands for its __init__.py
    ".".join(("handful", *path.relative_to(ROOT).with_suffix("").parts)).replace("handful.handful", "handful", 1)
    .removesuffix(".__init__"): path
    for top in ("handful", "service", "training")
    for path in sorted((ROOT / top).glob("**/*.py"))
}  # fmt: skip
SERVICE = [name for name in SOURCES if name.startswith("handful.service")]
TRAINING = [name for name in SOURCES if name.startswith("handful.training")]

OF_SERVICE_FOR_TRAINING = {
    *("artifact", "compute", "terminal", "classifier"),
    *("export", "lean"),  # `evaluate --onnx` measures a file and compares it with its model
}
BENTOML = {"handful.service.app", "handful.service.bento"}
DECODER = "handful.service.artifact.images"
PREPROCESSING = "handful.service.artifact.preprocessing"
MOST_FLAT_MODULES = {"service": 10, "training": 14}
# of service: library/ took 8, export/ and lean/ 11, and 3 more as app, serving/, models/ and explain/ ask lean/ which
# engine answers; models/ and explain/ answer over HTTP, too; jobs/ asks export/ whether a file can be written here
# labelling/ took 8: it reads photos, asks the model, and puts them into the library and a folder; label_studio/ took 7:
# it asks the model, keeps annotations in the library, and starts jobs that learn them
# drift/ took 5: cli asks it, and http/ and serving/ for /metrics; it asks artifact/ and terminal/
# import_root took 3, as settings.py, which held it, is slow to import; both classifiers decode in processes: 2
# of training: suggest/ took 8; it looks at photos as train does, and at a champion as retrain does; train has the
# report's libraries imported while photos are embedded: 1
MOST_ROOM_PAIRS = {"service": 122, "training": 95}
MOST_LINES = 300
CALLERS = ("handful.service.cli", "handful.training.cli")
INTERFACE = [name for name in SOURCES if name not in {*SERVICE, *TRAINING, "handful", "handful.__main__"}]
PUBLIC_TWINS = {  # what a person imports has the name that a person expects
    *(("handful.prediction", "Prediction"), ("handful.model", "train"), ("handful.model", "load"))
}
PROTOCOL_NAMES = {"main", "run", "commands"}  # names that a caller looks up in several modules


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """Every module that a file imports anywhere, under TYPE_CHECKING too; of ours the module, not what is in it."""
    named: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            named |= {_submodule(node.module, alias.name) for alias in node.names}
    return frozenset(named)


def _submodule(module: str, name: str) -> str:
    return f"{module}.{name}" if f"{module}.{name}" in SOURCES else module


def room(name: str) -> str:
    """The direct child of service or training: `handful.service.http.body` is in `http`."""
    return (*name.split("."), "", "")[2]


def definitions(kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> dict[str, list[str]]:
    """Public names at the top level of modules -> the modules that define them."""
    defined: dict[str, list[str]] = defaultdict(list)
    for module in [*SERVICE, *TRAINING, *INTERFACE]:
        for node in tree(module).body:
            if not isinstance(node, kind) or node.name.startswith("_"):
                continue
            if (module, node.name) not in PUBLIC_TWINS:
                defined[node.name].append(module)
    return defined


def test_nothing_under_service_imports_training() -> None:
    wrong = {(name, module) for name in SERVICE for module in imports(name) if module.startswith("handful.training")}
    assert not wrong


def test_training_imports_of_service_only_what_the_contract_allows() -> None:
    wrong = {
        (name, module)
        for name in TRAINING
        for module in imports(name)
        if module.startswith("handful.service") and room(module) not in OF_SERVICE_FOR_TRAINING
    }
    assert not wrong


def test_nothing_below_imports_the_python_interface() -> None:
    """`handful/` stands above both: what a person imports, and the command line."""
    assert INTERFACE
    assert not {(name, module) for name in [*SERVICE, *TRAINING] for module in imports(name) if module in INTERFACE}


def test_there_are_no_import_circles() -> None:
    graph = {name: sorted(imports(name) & SOURCES.keys() - {name}) for name in SOURCES}
    circle = first_circle(graph)
    assert circle is None, " -> ".join(circle)


def first_circle(graph: Mapping[str, list[str]]) -> list[str] | None:
    """A path that ends where it begins, by depth-first search."""
    finished: set[str] = set()
    for start in graph:
        path: list[str] = []
        pending: list[Iterator[str]] = [iter([start])]
        while pending:
            module = next(pending[-1], None)
            if module is None:
                pending.pop()
                finished |= set(path[-1:])
                path = path[:-1]
            elif module in path:
                return [*path[path.index(module) :], module]
            elif module not in finished:
                path.append(module)
                pending.append(iter(graph[module]))
    return None


def test_the_search_names_a_circle_and_nothing_else() -> None:
    circle = first_circle({"a": ["b", "d"], "b": ["c"], "c": [], "d": ["e"], "e": ["c", "d"]})
    assert circle == ["d", "e", "d"]
    assert first_circle({"a": ["b", "c"], "b": ["c"], "c": []}) is None


@pytest.mark.parametrize("top", MOST_FLAT_MODULES)
def test_few_modules_lie_flat(top: str) -> None:
    flat = [path.name for path in (ROOT / top).glob("*.py") if path.name != "__init__.py"]
    assert len(flat) <= MOST_FLAT_MODULES[top], flat


@pytest.mark.parametrize("top", MOST_ROOM_PAIRS)
def test_few_pairs_of_rooms_import_each_other(top: str) -> None:
    """One pair per direction, within service and within training."""
    prefix = f"handful.{top}."
    pairs = {
        (room(name), room(module))
        for name in SOURCES
        for module in imports(name)
        if name.startswith(prefix) and module.startswith(prefix) and room(name) != room(module)
    }
    assert len(pairs) <= MOST_ROOM_PAIRS[top], sorted(pairs)


def test_a_class_name_means_one_thing() -> None:
    assert not {name: modules for name, modules in definitions(ast.ClassDef).items() if len(modules) > 1}


def test_a_public_functions_name_means_one_thing() -> None:
    twice = {name: modules for name, modules in definitions(ast.FunctionDef).items() if len(modules) > 1}
    assert not {name: modules for name, modules in twice.items() if name not in PROTOCOL_NAMES}


def test_a_module_stays_under_three_hundred_lines() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()}
    assert not {name: count for name, count in lines.items() if count >= MOST_LINES}


def test_only_the_service_and_its_bento_know_bentoml() -> None:
    knowing = {name for name in SOURCES if any(module.partition(".")[0] == "bentoml" for module in imports(name))}
    assert knowing <= BENTOML


def test_only_the_command_line_and_the_python_interface_import_command_modules() -> None:
    """What a command shares with other code lies in another module."""
    commands = {name for name in SOURCES if name.rpartition(".")[2] in {"command", "commands"}}
    importing = {(name, module) for name in SOURCES for module in imports(name) if module in commands}
    assert {name for name, _ in importing} <= {*CALLERS, "handful.model"}, importing
    assert {module for _, module in importing} == commands


def test_what_an_extra_installs_is_imported_where_it_is_used() -> None:
    """An installation without extras must import every module but those that only `export` loads."""
    extras = {"adlfs", "gcsfs", "onnx", "onnxruntime", "onnxscript", "openvino", "opentelemetry", "ray", "s3fs"}
    at_once = {
        name: {
            each for node in tree(name).body if isinstance(node, ast.Import | ast.ImportFrom) for each in named(node)
        }
        for name in SOURCES
    }
    needing: set[str] = set()
    while more := {
        name
        for name, modules in at_once.items()
        if name not in needing and (needing & modules or any(each.partition(".")[0] in extras for each in modules))
    }:
        needing |= more
    assert needing == {f"handful.service.export.{name}" for name in ("operators", "precision", "resizing")}


def named(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that the statement loads."""
    if isinstance(node, ast.Import):
        return {each.name for each in node.names}
    return {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}


def test_every_image_passes_one_decoder_and_one_preprocessing() -> None:
    """Pillow's `Image.open` elsewhere would be a second reader of images, timm's transform a second preprocessing."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()}
    assert {name for name, source in sources.items() if "Image.open(" in source} == {DECODER}
    assert {name for name in SOURCES if DECODER in imports(name)} >= {PREPROCESSING}
    assert not {name for name, source in sources.items() if "create_transform(" in source}


@pytest.mark.parametrize("module", CALLERS)
def test_the_command_line_loads_nothing_heavy(module: str) -> None:
    heavy = {"torch", "timm", "numpy", "PIL", "bentoml", "sklearn", "pyarrow", "huggingface_hub", "rich"}
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


def test_the_map_names_every_room() -> None:
    """A line in docs/ per module or sub-package directly below service and training."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    rooms = {(name.split(".")[1], room(name)) for name in [*SERVICE, *TRAINING]}
    rooms = {(top, each) for top, each in rooms if each and not each.startswith("__")}
    packages = {(top, each) for top, each in rooms if (ROOT / top / each).is_dir()}
    wanted = {f"{each}/" if (top, each) in packages else f"{each}.py" for top, each in rooms}
    assert not {each for each in wanted if each not in text}
