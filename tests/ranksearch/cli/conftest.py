import json

import httpx
import pytest
from typer.testing import CliRunner

from ranksearch.cli import app, options
from ranksearch.client import Client
from tests.ranksearch import wire

PROBLEM = {"content-type": "application/problem+json"}


class Service:
    """Answers by method and path; a problem is given as its code and status."""

    def __init__(self):
        self.requests = []
        self.answers = {
            ("GET", "/v1/studies"): wire.page(wire.study()),
            ("GET", f"/v1/studies/{wire.STUDY}"): wire.study(),
            ("GET", f"/v1/studies/{wire.STUDY}/best"): wire.best(),
            ("GET", f"/v1/studies/{wire.STUDY}/pareto"): wire.pareto(),
            ("GET", f"/v1/studies/{wire.STUDY}/artifacts"): wire.page(wire.artifact(b"compressed")),
            ("GET", f"/v1/studies/{wire.STUDY}/artifacts/job_art"): wire.artifact(b"compressed"),
            ("GET", f"/v1/studies/{wire.STUDY}/artifacts/job_art/content"): b"compressed",
            ("POST", f"/v1/studies/{wire.STUDY}/cancel"): wire.study("cancelled"),
            ("POST", "/v1/studies"): wire.study(),
            ("GET", "/v1/models"): wire.page(wire.model()),
            ("POST", "/v1/models"): wire.model(),
            ("GET", f"/v1/models/{wire.MODEL}"): wire.model(),
            ("GET", "/v1/datasets"): wire.page(wire.dataset()),
            ("POST", "/v1/datasets"): wire.dataset(),
            ("GET", f"/v1/datasets/{wire.DATASET}"): wire.dataset(),
            ("GET", "/v1/workers"): wire.page(wire.worker()),
        }

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        answer = self.answers.get((request.method, request.url.path), ("not_found", 404, {}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, tuple):
            code, status, members = answer
            return httpx.Response(status, json=wire.problem(code, status, **members), headers=PROBLEM)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, content=answer if isinstance(answer, bytes) else json.dumps(answer))

    @property
    def asked(self):
        return json.loads(self.requests[-1].content)


@pytest.fixture
def service(monkeypatch, pauses):
    """The service that commands talk to."""
    made = Service()
    transport = httpx.MockTransport(made)
    monkeypatch.setattr(
        options, "Client", lambda url, token: Client(url or "http://service.test", token, transport=transport)
    )
    return made


@pytest.fixture
def ranksearch(service):
    """Run a command."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])
