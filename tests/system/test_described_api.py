"""Whatever its description allows or forbids is sent to the real service: each answer is one that the description
names, and none of them says that the service met what it did not expect.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from ranksearch.local import LocalDeployment
from service.app import create_app
from service.settings import Settings
from tests.service import synthetic
from tests.service.agent import Agent

pytestmark = pytest.mark.slow

_EXAMPLES = 15
_CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def described() -> schemathesis.BaseSchema:
    app = create_app(Settings(data_dir=Path(tempfile.gettempdir()) / "never-made", token="of-nobody-at-all"))  # noqa: S106 - it never runs
    return schemathesis.openapi.from_dict(app.openapi())


OPERATIONS = [found.ok() for found in described().get_all_operations()]


@dataclass
class Target:
    """A service with a study in it, whose ids take the place of some of those that are made up."""

    url: str
    headers: dict[str, str]
    ids: dict[str, str]

    def aimed(self, case: schemathesis.Case) -> schemathesis.Case:
        """Half the ids are real, and no claim waits."""
        for name, real in self.ids.items():
            if name in (case.path_parameters or {}) and len(str(case.path_parameters[name])) % 2:
                case.path_parameters[name] = real
        if isinstance(case.body, dict) and "wait_seconds" in case.body:
            case.body["wait_seconds"] = 0
        return case


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("described") / "data", workers=0) as local:
        headers = {"authorization": f"Bearer {local.token}"}
        with httpx.Client(base_url=local.url, headers=headers, timeout=20) as http:
            yield Target(local.url, headers, prepared(http))


def prepared(http: httpx.Client) -> dict[str, str]:
    """An inspected model, a data set, and a study that has ended; their ids."""
    model = http.post("/v1/models?name=m", content=synthetic.model_document()).json()["id"]
    agent = Agent(http)
    agent.complete(agent.must_claim("inspect"))
    dataset = http.post("/v1/datasets?name=d", content=synthetic.dataset_document()).json()["id"]
    asked = {
        "model": model,
        "calibration": {"dataset": dataset, "start": 0, "stop": 20},
        "validation": {"dataset": dataset, "start": 20, "stop": 40},
        "constraints": {"macs": "50%"},
        "n_trials": 3,
    }
    study = http.post("/v1/studies", json=asked).json()["id"]
    agent.work(20)
    assert http.get(f"/v1/studies/{study}").json()["state"] == "completed"
    return {"model": model, "dataset": dataset, "study": study, "number": "0"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_one_that_the_description_names(target, operation, mode):
    answered = 0

    @seed(20)
    @settings(
        max_examples=_EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case):
        nonlocal answered
        case = target.aimed(case)
        response = case.call(base_url=target.url, headers=target.headers, timeout=20)
        case.validate_response(response, checks=_CHECKS)
        answered += 1

    try:
        sent()
    except Unsatisfiable:
        pytest.skip("it takes nothing that could be wrong")
    assert answered
