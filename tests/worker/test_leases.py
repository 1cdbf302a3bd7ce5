import time

from ranksearch.contracts.errors import UnavailableError
from tests.worker.stand_ins import Service, job
from worker.leases import LeaseKeeper


def until(condition, timeout=60.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_renews_three_times_a_lease():
    service = Service()
    with LeaseKeeper(service, job(seconds=0.3)):
        until(lambda: len(service.named("renew")) >= 2)


def test_stops_renewing_at_its_end():
    service = Service()
    with LeaseKeeper(service, job(seconds=0.1)):
        until(lambda: service.named("renew"))
    seen = len(service.named("renew"))
    time.sleep(0.2)
    assert len(service.named("renew")) == seen


def test_the_services_word_ends_it():
    service = Service()
    service.lost.set()
    with LeaseKeeper(service, job(seconds=0.1)) as keeper:
        until(lambda: keeper.lost)


def test_a_service_that_is_away_does_not():
    service = Service(errors={"renew": [UnavailableError("service_unreachable", "away")] * 2})
    with LeaseKeeper(service, job(seconds=0.1)) as keeper:
        until(lambda: len(service.named("renew")) >= 4)
        assert not keeper.lost
