import pytest

from ranksearch.contracts.studies import Best, Pareto, Progress, Seconds, Study, Trial, TrialResult
from tests.ranksearch import wire


def test_finished_trials_are_those_that_will_not_change():
    counts = {"complete": 3, "failed": 2, "running": 1, "waiting": 3, "pruned": 4, "dropped": 5}
    assert Progress(n_trials=18, **counts).finished == 14


def test_an_older_services_progress_has_nothing_pruned_or_dropped():
    assert Progress(n_trials=9, complete=3, failed=2, running=1, waiting=3).finished == 5


def test_seconds_are_written_under_the_names_of_their_phases():
    written = Seconds().model_dump(mode="json")
    assert all(not name.endswith("_") for name in written)


@pytest.mark.parametrize(
    ("kind", "wire_shape"),
    [
        (Study, wire.study(stopped_by="plateau", best_accuracy=0.9, best_cost=wire.COST)),
        (Trial, wire.trial(final=wire.result(0.8), feasible=False)),
        (Best, wire.best()),
        (Pareto, wire.pareto()),
        (TrialResult, wire.result(latency=wire.latency(), batch_values=[0.1, 0.2])),
    ],
)
def test_an_answer_comes_back_from_json_as_it_went(kind, wire_shape):
    made = kind.model_validate(wire_shape)
    assert kind.model_validate_json(made.model_dump_json(by_alias=True)) == made


def test_the_values_of_a_front_keep_the_order_of_the_objectives():
    points = Pareto.model_validate(wire.pareto()).points
    assert [list(point.values) for point in points] == [["proxy", "macs"], ["proxy", "macs"]]
