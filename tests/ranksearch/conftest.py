import time

import httpx
import pytest

from ranksearch.client import Client

URL = "http://service.test"


@pytest.fixture(autouse=True)
def nobodys_service(monkeypatch, tmp_path):
    """No test talks to a service that happens to be configured on this machine."""
    for variable in ("RANKSEARCH_URL", "RANKSEARCH_TOKEN", "RANKSEARCH_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made; time passes by itself, and by them."""
    made = []
    began = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: began() + sum(made))
    monkeypatch.setattr(time, "sleep", made.append)
    return made


@pytest.fixture
def serve(pauses):
    """A client of the service that ``handler`` is."""
    clients = []

    def make(handler, **options):
        client = Client(URL, "secret", transport=httpx.MockTransport(handler), **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def answers(serve):
    """A client to which these answers are given in turn, and the requests it made."""

    def make(*replies, **options):
        waiting, requests = list(replies), []

        def handler(request):
            request.read()
            requests.append(request)
            reply = waiting.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply

        return serve(handler, **options), requests

    return make
