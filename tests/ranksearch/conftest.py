import time

import httpx
import pytest

from ranksearch.client import Client
from ranksearch.local import LocalDeployment
from tests.ranksearch.workshop import OPTIONS, Workshop

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


@pytest.fixture(scope="session")
def local_service(tmp_path_factory):
    """A service with nobody but the tests' own workers."""
    with LocalDeployment(tmp_path_factory.mktemp("workshop") / "data", workers=0, service_options=OPTIONS) as local:
        yield local


@pytest.fixture(scope="session")
def small_net(local_service):
    return Workshop(local_service, layers=12)


@pytest.fixture(scope="session")
def large_net(local_service):
    return Workshop(local_service, layers=200)


@pytest.fixture
def workshop(small_net):
    """Studies of a network of twelve layers at a real service."""
    yield small_net
    small_net.clear()
