"""docs/kubernetes.yaml is what Kubernetes' schemas allow, and names what the service really has."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # huggingface_hub installs it; there are no types for it
from handful.service.serving.supervisor import END_SECONDS
from handful.service.settings import Settings, variable

from docs.blocks import ROOT
from docs.tables import api

kubernetes_validate = pytest.importorskip("kubernetes_validate")
OLDEST = "1.30"  # that the file is for
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "docs/kubernetes.yaml").read_text(encoding="utf-8")))
BY_KIND = {document["kind"]: document for document in DOCUMENTS}
POD = BY_KIND["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_the_schemas_allow_it_and_nothing_unknown_is_in_it(version: str) -> None:
    assert {*BY_KIND} == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    for document in DOCUMENTS:
        kubernetes_validate.validate(document, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**DOCUMENTS[0], "spek": {}}, version, strict=True)


def test_it_sets_what_the_service_reads_and_asks_calls_that_exist() -> None:
    values = {each["name"]: each.get("value", "from-a-secret-with-letters") for each in CONTAINER["env"]}
    assert {*values} <= {variable(field) for field in Settings.model_fields}
    fields = {field: values[variable(field)] for field in Settings.model_fields if variable(field) in values}
    assert Settings(**{**fields, "predict_key": "another-key-with-letters"}).default_name == "bags"
    paths = {each.path for each in api().endpoints if each.method == "GET"}
    probes = [CONTAINER[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["httpGet"]["path"] for probe in probes} <= paths


def test_requests_in_flight_have_their_time_and_the_home_can_be_written() -> None:
    before = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > before + Settings().drain_seconds + END_SECONDS
    mounts = {mount["mountPath"]: mount for mount in CONTAINER["volumeMounts"]}
    assert {*mounts} == {"/srv/handful", "/tmp"}  # noqa: S108 - in a container
    assert not any(mount.get("readOnly") for mount in mounts.values())
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in POD["volumes"]}
    assert "HANDFUL_HOME=/srv/handful" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_all_of_it_is_about_the_same_pods() -> None:
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
    budget, scaler = BY_KIND["PodDisruptionBudget"]["spec"], BY_KIND["HorizontalPodAutoscaler"]["spec"]
    assert budget["selector"]["matchLabels"] == labels == BY_KIND["Service"]["spec"]["selector"]
    assert scaler["scaleTargetRef"]["name"] == BY_KIND["Deployment"]["metadata"]["name"]
    metric = next(each["pods"]["metric"]["name"] for each in scaler["metrics"] if each["type"] == "Pods")
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    adapter = yaml.safe_load(page[page.index("apiVersion: v1\nkind: ConfigMap") :].partition("```")[0])
    kubernetes_validate.validate(adapter, OLDEST, strict=True)
    rule = yaml.safe_load(adapter["data"]["config.yaml"])["rules"][0]
    assert rule["name"]["as"] == metric
    assert rule["seriesQuery"].removesuffix("_sum") in {family.name for family in api().metrics.registry.collect()}
