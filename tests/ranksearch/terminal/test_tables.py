from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from ranksearch.contracts.studies import Best, LayerChoice
from ranksearch.terminal.tables import ago, count, layers_table, ranks_text
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


def lines(table, width):
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_layer_takes_one_line_of_eighty_columns():
    dense, compressed = {"macs": 147_456_000, "params": 147_456}, {"macs": 48_600_000, "params": 48_611}
    made = [
        ({"method": "dense"}, "as requested", dense),
        ({"method": "dense"}, "the search's choice", dense),
        ({"method": "tucker2", "ranks": {"out": 132, "in": 124}}, None, compressed),
        ({"method": "dense"}, "the search's choice", dense),
    ]
    layers = [
        {
            "name": f"layer{i}.0.conv1",
            "kind": "conv2d",
            "choice": choice,
            "reason_dense": reason,
            "dense": dense,
            "compressed": cost,
            "relative_error": 0.31,
        }
        for i, (choice, reason, cost) in enumerate(made)
    ]
    shown = lines(layers_table(Best.model_validate({**wire.best(), "layers": layers})), 80)
    assert [line.split("  ")[0] for line in shown[1:5]] == [layer["name"] for layer in layers]
    assert [line.split("  ")[1].strip() for line in shown[1:5]] == [
        "dense (1)",
        "dense (2)",
        "tucker2 out 132, in 124",
        "dense (2)",
    ]
    assert shown[-2:] == ["(1) as requested", "(2) the search's choice"]
    assert len(shown) == 1 + 4 + 1 + 3
