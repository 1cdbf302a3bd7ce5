from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ranksearch.client.retries import Attempts, retry_after
from ranksearch.contracts.errors import UnavailableError

FAILURE = UnavailableError("service_unreachable", "away")


def test_no_patience_means_one_attempt(pauses):
    with pytest.raises(UnavailableError):
        Attempts(0).pause(FAILURE)
    assert pauses == []


def test_patience_is_never_exceeded(pauses):
    attempts = Attempts(5)

    def on_and_on():
        while True:
            attempts.pause(FAILURE)

    with pytest.raises(UnavailableError):
        on_and_on()
    assert sum(pauses) <= 5


def test_progress_restores_patience(pauses):
    attempts = Attempts(1)
    for _ in range(50):
        attempts.pause(FAILURE)
        attempts.restart()
    assert len(pauses) == 50


def test_two_clients_do_not_pause_alike(pauses):
    for _ in range(2):
        Attempts(10).pause(FAILURE)
    assert pauses[0] != pauses[1]


@pytest.mark.parametrize(("header", "seconds"), [(None, 0), ("", 0), ("7", 7), ("soon", 0), ("-3", 0)])
def test_retry_after_in_seconds(header, seconds):
    assert retry_after(header) == seconds


def test_retry_after_as_a_date():
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after(moment) <= 30
