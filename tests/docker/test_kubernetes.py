from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.docker.dockerfile import ROOT, SERVICE, WORKER, stages

FOLDER = ROOT / "docker" / "kubernetes"
CUSTOM = {"ScaledObject", "ServiceMonitor", "Kustomization"}


def documents(*patterns: str) -> list[tuple[str, dict]]:
    files = sorted(path for pattern in patterns for path in FOLDER.rglob(pattern))
    return [(path.name, one) for path in files for one in yaml.safe_load_all(path.read_text())]


ALL = documents("*.yaml")
BUILT_IN = [(name, one) for name, one in ALL if one["kind"] not in CUSTOM]


def of(kind: str, name: str) -> dict:
    (found,) = [one for _, one in ALL if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pod(name: str) -> dict:
    return of("Deployment", name)["spec"]["template"]["spec"]


DEPLOYMENTS = {"ranksearch-service": SERVICE, "ranksearch-worker": WORKER}
each = pytest.mark.parametrize("name", DEPLOYMENTS)


@pytest.mark.parametrize(
    "document", [one for _, one in BUILT_IN], ids=[f"{one['kind']}-{one['metadata']['name']}" for _, one in BUILT_IN]
)
def test_a_built_in_kind_conforms_to_its_schema(document):
    kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("folder", ["base", "autoscaled"])
def test_a_kustomization_names_every_file_of_its_folder(folder):
    told = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    files = {path.name for path in (FOLDER / folder).iterdir()} - {"kustomization.yaml"}
    assert files == {one for one in told["resources"] if one != "../base"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["base", "autoscaled"])
def test_kustomize_builds_what_the_schema_takes(folder):
    done = subprocess.run(["kubectl", "kustomize", FOLDER / folder], capture_output=True, text=True, check=True)  # noqa: S607 - wherever it is
    made = list(yaml.safe_load_all(done.stdout))
    assert {one["kind"] for one in made} >= {"Namespace", "Deployment", "Service", "NetworkPolicy"}
    for one in made:
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "ranksearch"
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, "1.37", strict=True)
        if one["kind"] == "Deployment" and folder == "autoscaled" and one["metadata"]["name"] == "ranksearch-worker":
            assert "replicas" not in one["spec"]


@each
def test_a_pod_is_confined(name):
    spec = pod(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]


@each
def test_a_pod_runs_as_its_image_does_and_writes_where_its_image_writes(name):
    last = stages(DEPLOYMENTS[name])[-1]
    security = pod(name)["securityContext"]
    assert last.the("USER").text == f"{security['runAsUser']}:{security['runAsGroup']}"
    (container,) = pod(name)["containers"]
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert writable == {last.the("VOLUME").text, "/tmp"}  # noqa: S108 - in the container
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod(name)["volumes"]}


@each
def test_selectors_find_the_pods(name):
    spec = of("Deployment", name)["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_service_budget_and_monitor_select_the_services_pods():
    labels = of("Deployment", "ranksearch-service")["spec"]["template"]["metadata"]["labels"]
    assert of("Service", "ranksearch")["spec"]["selector"] == labels
    assert of("PodDisruptionBudget", "ranksearch-service")["spec"]["selector"]["matchLabels"] == labels
    monitor = of("ServiceMonitor", "ranksearch")["spec"]
    assert monitor["selector"]["matchLabels"] == of("Service", "ranksearch")["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] in {one["name"] for one in of("Service", "ranksearch")["spec"]["ports"]}


def test_one_replica_may_go_at_a_time():
    assert of("Deployment", "ranksearch-service")["spec"]["replicas"] >= 2
    assert of("PodDisruptionBudget", "ranksearch-service")["spec"]["minAvailable"] == 1


def test_probes_ask_the_addresses_that_exist():
    (container,) = pod("ranksearch-service")["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    (port,) = container["ports"]
    assert str(port["containerPort"]) == stages(SERVICE)[-1].the("EXPOSE").text


def test_every_secret_that_is_used_stands_in_the_example_and_no_other():
    known = {one["metadata"]["name"]: set(one["stringData"]) for _, one in documents("secret.example.yaml")}
    used: dict[str, set[str]] = {}
    for name in DEPLOYMENTS:
        for variable in pod(name)["containers"][0].get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                used.setdefault(reference["name"], set()).add(reference["key"])
        for volume in pod(name)["volumes"]:
            if "secret" in volume:
                (container,) = pod(name)["containers"]
                (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
                file = container["args"][container["args"].index("--token-file") + 1]
                used[volume["secret"]["secretName"]] = {str(Path(file).relative_to(mount["mountPath"]))}
    credentials = of("ServiceMonitor", "ranksearch")["spec"]["endpoints"][0]["authorization"]["credentials"]
    used[credentials["name"]] = {credentials["key"]}
    assert used == known


def test_a_worker_has_one_gpu_and_time_to_hand_back_what_it_does():
    (container,) = pod("ranksearch-worker")["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod("ranksearch-worker")["terminationGracePeriodSeconds"] >= 60


def test_a_worker_talks_to_the_service_and_a_name_server_only():
    policy = of("NetworkPolicy", "ranksearch-worker")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policy
    to_service, to_names = policy["egress"]
    labels = of("Deployment", "ranksearch-service")["spec"]["template"]["metadata"]["labels"]
    assert to_service["to"] == [{"podSelector": {"matchLabels": labels}}]
    assert {one["port"] for one in to_names["ports"]} == {53}


def test_the_worker_asks_the_service_by_its_name():
    (container,) = pod("ranksearch-worker")["containers"]
    (url,) = [one["value"] for one in container["env"] if one["name"] == "RANKSEARCH_URL"]
    namespace = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["namespace"]
    assert url == f"http://{of('Service', 'ranksearch')['metadata']['name']}.{namespace}.svc"


def test_workers_are_scaled_by_the_work_that_there_is():
    scaled = of("ScaledObject", "ranksearch-worker")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"name": "ranksearch-worker"}
    assert spec["minReplicaCount"] == 0 < spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold", "activationThreshold"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert re.findall(r"ranksearch_\w+", trigger["metadata"]["query"]) == [
        "ranksearch_jobs_waiting",
        "ranksearch_jobs_leased",
    ]


def test_the_ingress_limits_no_upload():
    ingress = of("Ingress", "ranksearch")
    sizes = [value for name, value in ingress["metadata"]["annotations"].items() if name.endswith("body-size")]
    assert sizes == ["0", "0"]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == of("Service", "ranksearch")["metadata"]["name"]
