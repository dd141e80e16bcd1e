"""The rules and the dashboard in docs/monitoring/ ask for series, labels and values that the service gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # huggingface_hub installs it; there are no types for it
from handful.service.drift.psi import LEVELS
from handful.service.http.metrics import ServiceMetrics

from docs.blocks import ROOT
from docs.tables import api

FOLDER = ROOT / "docs/monitoring"
ALERTS, DASHBOARD = FOLDER / "prometheus-alerts.yml", FOLDER / "grafana-dashboard.json"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
OF_PROMETHEUS = {"instance", "le"}


def alerts() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions(file: Path) -> list[str]:
    if file == ALERTS:
        return [str(rule["expr"]) for rule in alerts()]
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def panels() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return shown


def series() -> dict[str, set[str]]:
    """Name -> labels of everything that `/metrics` shows."""
    metrics = ServiceMetrics()
    labels = {each._name: set(each._labelnames) for each in vars(metrics).values() if hasattr(each, "_labelnames")}
    return {
        f"{family.name}{suffix}": labels.get(family.name, {"model", "score"})
        for family in metrics.families()
        for suffix in SUFFIXES[family.type]
    }


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each series with the labels that it is filtered by."""
    for name, _, matchers in re.findall(r"\b(handful_\w+)(\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*=~?\s*\"", matchers))


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=lambda file: file.name)
def test_every_series_and_label_is_one_that_the_service_gives(file: Path) -> None:
    given = series()
    assert len(given) > 20
    assert len(expressions(file)) > 5
    for expression in expressions(file):
        names = list(used(expression))
        assert names, expression
        for name, labels in names:
            assert name in given, expression
            assert labels <= given[name] | OF_PROMETHEUS, expression
        grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
        assert grouped <= OF_PROMETHEUS.union(*(given[name] for name, _ in names)), expression
        assert expression.count("(") == expression.count(")")


def test_paths_and_levels_are_those_of_the_service() -> None:
    paths = {each.path for each in api().endpoints}
    text = ALERTS.read_text() + DASHBOARD.read_text().replace('\\"', '"')
    assert set(re.findall(r'path="([^"]*)"', text)) <= paths
    by_alert = {rule["alert"]: str(rule["expr"]) for rule in alerts()}
    assert by_alert["HandfulPhotosFar"].endswith(f"== {LEVELS.index('far')}")
    assert by_alert["HandfulPhotosMoved"].endswith(f"== {LEVELS.index('moved')}")
    (verdict,) = (panel for panel in panels() if panel["title"] == "Verdict")
    mappings = json.dumps(verdict)
    for number, level in enumerate(LEVELS):
        assert re.search(rf'"{number}": {{"text": "{level.split("_")[0]}', mappings), level


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
