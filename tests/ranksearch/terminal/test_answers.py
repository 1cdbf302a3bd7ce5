import pytest
from rich.console import Console

from ranksearch.contracts.studies import Best, LayerChoice, Pareto
from ranksearch.terminal.answers import best_summary, layers_table, pareto_table, ranks_text
from tests.ranksearch import wire


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


def summary(**members):
    made = best_summary(Best.model_validate(wire.best(**members)))
    return {line.split()[0]: line.partition(" ")[2].strip() for line in made}


def test_the_best_says_in_words_where_it_came_from():
    assert summary()["trial"].startswith("3 (same error) of study")


def test_accuracy_is_told_in_per_cent_with_the_points_lost():
    assert summary()["accuracy"] == "95.00% dense → 90.00% compressed: 5.00 points lost"


def test_a_compressed_network_may_gain():
    gained = wire.best(dense_result={**wire.result(0.88), "cost": wire.COST})
    assert summary(**gained)["accuracy"] == "88.00% dense → 90.00% compressed: 2.00 points gained"


def test_without_a_baseline_nothing_is_compared():
    assert summary(dense_result=None)["accuracy"] == "90.00% compressed; dense not measured"


def test_accuracy_stands_next_to_the_divergence_by_which_it_was_judged():
    told = summary(metric="kl", value=0.01)
    assert (told["kl"], told["accuracy"][:6]) == ("0.01 nats an image away from the dense network", "95.00%")


def test_without_labels_there_is_no_accuracy():
    assert "accuracy" not in summary(metric="kl", value=0.01, result=wire.result(accuracy=None))


def test_a_loss_is_compared_with_the_dense_networks():
    told = summary(metric="loss", value=0.25, dense_value=0.2)
    assert told["loss"] == "0.2 dense → 0.25 compressed, nats an image"


def test_features_are_a_distance():
    assert summary(metric="features", value=0.125)["features"] == "0.125 away from the dense network's"


def test_latency_is_told_with_its_conditions():
    told = summary(result=wire.result(latency=wire.latency()))
    assert told["latency"] == "5 ms dense → 2 ms compressed: speedup 2.5×; batch 1, float32, torch, cpu"


def test_there_is_no_speedup_without_the_dense_networks_latency():
    told = summary(result=wire.result(latency=wire.latency(dense_latency_ms=None)))
    assert told["latency"] == "2 ms; batch 1, float32, torch, cpu"


def test_a_latency_that_nobody_measured_is_said_to_be_none():
    assert summary()["latency"] == "no latency measured"


def front(**members):
    return [line.split() for line in lines(pareto_table(Pareto.model_validate(wire.pareto(**members))), 100)]


def test_a_front_has_a_column_for_each_objective():
    assert front() == [
        ["trial", "origin", "kl", "macs", "accuracy"],
        ["4", "search", "0.01", "400", "k", "90.00%"],
        ["7", "search", "0.04", "200", "k", "90.00%"],
    ]


def test_a_front_of_accuracies_tells_them_once():
    assert front(metric="accuracy")[0] == ["trial", "origin", "accuracy", "macs"]


def test_a_front_tells_the_conditions_of_its_latencies():
    point = {
        **wire.pareto()["points"][0],
        "values": {"proxy": 0.01, "latency_ms": 2.0},
        "result": wire.result(latency=wire.latency()),
    }
    shown = front(objectives=["proxy", "latency_ms"], points=[point])
    assert (shown[1][:4], " ".join(shown[-1])) == (
        ["4", "search", "0.01", "2"],
        "latency: batch 1, float32, torch, cpu",
    )
