from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docker.dockerfile import ROOT, SERVICE, WORKER, stages

FOLDER = ROOT / "docker"
TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
EXAMPLE = (FOLDER / ".env.example").read_text()
OURS = ["service", "worker-cpu", "worker-gpu"]


def test_it_conforms_to_the_compose_specification():
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [program, "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_secret_that_lacks_is_asked_for_and_none_has_a_default():
    asked_for = dict(re.findall(r"\$\{(\w*(?:PASSWORD|KEY|TOKEN))\b([^}]*)\}", TEXT))
    assert set(asked_for) == {"POSTGRES_PASSWORD", "STORE_ACCESS_KEY", "STORE_SECRET_KEY", "RANKSEARCH_ADMIN_TOKEN"}
    for name in asked_for:
        endings = set(re.findall(rf"\$\{{{name}([^}}]*)\}}", TEXT))
        assert endings == {":?set it in docker/.env, see docker/.env.example"}, name
        assert f"\n{name}=\n" in EXAMPLE


def test_the_example_names_every_variable_and_no_other():
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert set(re.findall(r"^#?(\w+)=", EXAMPLE, flags=re.MULTILINE)) == used


def test_the_examples_commented_values_are_the_defaults_where_there_are_some():
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT))
    shown = dict(re.findall(r"^#(\w+)=(.*)", EXAMPLE, flags=re.MULTILINE))
    for name in ("RANKSEARCH_TAG", "RANKSEARCH_WORKER_TOKEN_FILE"):
        assert shown[name] == defaults[name]


def test_only_the_proxy_is_published_and_on_loopback_unless_asked():
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["proxy"]
    assert all(port.startswith("${RANKSEARCH_BIND:-127.0.0.1}:") for port in SERVICES["proxy"]["ports"])


def test_workers_and_proxy_reach_neither_database_nor_store():
    assert COMPOSE["networks"]["state"] == {"internal": True}
    within = {name for name, one in SERVICES.items() if "state" in one.get("networks", [])}
    assert within == {"service", "database", "store"}


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_is_confined(name):
    one = SERVICES[name]
    assert one["read_only"]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["tmpfs"] == ["/tmp"]  # noqa: S108 - in the container


@pytest.mark.parametrize("name", OURS)
def test_what_an_image_writes_to_is_a_volume(name):
    build = SERVICES[name]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    last = stages(ROOT / build["dockerfile"])[-1]
    assert last.the("VOLUME").text in [one.rpartition(":")[2] for one in SERVICES[name]["volumes"]]


def test_what_is_waited_for_says_when_it_is_well():
    for name, one in SERVICES.items():
        for other, how in one.get("depends_on", {}).items():
            checked = "healthcheck" in SERVICES[other] or (
                other == "service" and stages(SERVICE)[-1].all("HEALTHCHECK")
            )
            assert how["condition"] == "service_completed_successfully" or checked, (name, other)


def test_volumes_and_networks_are_declared_and_used():
    named = {one.split(":")[0] for s in SERVICES.values() for one in s.get("volumes", []) if one[0] not in "./"}
    assert named == set(COMPOSE["volumes"])
    assert {one for s in SERVICES.values() for one in s.get("networks", [])} == set(COMPOSE["networks"])


def test_one_build_argument_makes_the_difference_between_the_workers():
    cpu, gpu = (SERVICES[name]["build"] for name in ("worker-cpu", "worker-gpu"))
    assert (
        set(cpu.get("args", {})) == {"TORCH_INDEX"} <= {one.text.split("=")[0] for one in stages(WORKER)[0].all("ARG")}
    )
    assert "args" not in gpu
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_the_bucket_is_there_before_the_store_and_is_the_one_that_the_service_asks_for():
    made = Path(SERVICES["bucket"]["entrypoint"][-1])
    url = SERVICES["service"]["environment"]["RANKSEARCH_SERVICE_BLOBS_URL"]
    assert url == f"s3://{made.name}"
    assert SERVICES["store"]["command"] == ["posix", str(made.parent)]
    assert SERVICES["store"]["depends_on"]["bucket"]["condition"] == "service_completed_successfully"


def test_every_image_of_others_has_a_tag():
    images = [one["image"] for name, one in SERVICES.items() if name not in OURS]
    assert all(re.search(r":[\w.-]*\d", image) for image in images)


def test_secrets_stay_out_of_git():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"docker/.env", "docker/secrets/"} <= set(ignored)
