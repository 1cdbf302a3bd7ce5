from __future__ import annotations

from ranksearch.contracts.jobs import ClaimRequest
from service.scheduling.sightings import Sightings

CLAIM = ClaimRequest(worker="w", name="box", device="cpu", version="1")


def test_the_first_claim_is_news_and_the_same_again_is_not():
    sightings = Sightings(60)
    assert [sightings.is_news(CLAIM) for _ in range(3)] == [True, False, False]


def test_how_long_a_claim_waits_is_no_news():
    sightings = Sightings(60)
    sightings.is_news(CLAIM)
    assert not sightings.is_news(CLAIM.model_copy(update={"wait_seconds": 20}))


def test_whatever_else_changes_is_news():
    sightings = Sightings(60)
    sightings.is_news(CLAIM)
    assert sightings.is_news(CLAIM.model_copy(update={"labels": {"site": "berlin"}}))


def test_the_same_is_news_again_after_a_while():
    sightings = Sightings(0)
    assert [sightings.is_news(CLAIM) for _ in range(2)] == [True, True]


def test_what_could_not_be_written_stays_news():
    sightings = Sightings(60)
    sightings.is_news(CLAIM)
    sightings.forget("w")
    assert sightings.is_news(CLAIM)
