from datetime import UTC, datetime, timedelta

import pytest

from ranksearch.contracts.studies import LayerChoice
from ranksearch.terminal.tables import ago, count, ranks_text
from tests.ranksearch import wire


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (5024, "5.02 k"),
        (123_456, "123 k"),
        (999_999, "1 M"),
        (1_814_073_344, "1.81 G"),
        (4e15, "4000 T"),
    ],
)
def test_large_numbers(number, text):
    assert count(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s ago"), (90, "1 min ago"), (7200, "2 h ago"), (2e5, "2 d ago")])
def test_how_long_ago(seconds, text):
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"method": "cp3", "rank": 48}, "cp3 48"),
        ({"method": "tucker2", "ranks": {"out": 32, "in": 24}}, "tucker2 out 32, in 24"),
        (
            {"method": "tucker2_cp3", "rank": None, "ranks": {"out": 8, "in": 4, "cp": 6}},
            "tucker2_cp3 out 8, in 4, cp 6",
        ),
        ({"method": "dense"}, "dense"),
    ],
)
def test_ranks(choice, text):
    layer = {"name": "x", "kind": "conv2d", "choice": choice, "dense": wire.COST, "compressed": wire.COST}
    assert ranks_text(LayerChoice.model_validate(layer)) == text
