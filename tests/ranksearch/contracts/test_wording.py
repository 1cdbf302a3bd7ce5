import pytest

from ranksearch.client.study_bar import headline
from ranksearch.contracts.studies import Study
from ranksearch.contracts.study_requests import StudyRequest
from ranksearch.contracts.wording import better, cost, count, goal, metric_value, origin, stopped
from tests.ranksearch import wire


def study(**members):
    return Study.model_validate(wire.study(**members))


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


@pytest.mark.parametrize(("word", "amount", "text"), [("macs", 4e5, "400 k macs"), ("latency_ms", 2.345, "2.35 ms")])
def test_costs(word, amount, text):
    assert cost(word, amount) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("accuracy", 0.91853, "91.85%"), ("kl", 0.000412, "0.000412"), ("loss", 1.5, "1.5"), ("kl", None, "")],
)
def test_values_of_a_metric(metric, value, text):
    assert metric_value(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "more"), [("accuracy", True), ("kl", False), ("loss", False), ("features", False), ("outputs", False)]
)
def test_more_is_better_of_accuracy_alone(metric, more):
    assert (better(metric, 0.2, 0.1), better(metric, 0.1, 0.2)) == (more, not more)


def test_nothing_is_better_than_itself():
    assert not better("accuracy", 0.5, 0.5)


def test_origins_are_words():
    assert (origin("equal_error"), origin("sampler"), origin(None)) == ("same error", "search", "")


@pytest.mark.parametrize(
    ("members", "metric", "text"),
    [
        ({}, "kl", "best kl"),
        ({"objectives": ["proxy", "macs"]}, "kl", "a front: kl, macs"),
        ({"objectives": ["macs"], "max_drop": 0.01}, "accuracy", "least macs with at most 1 point of accuracy lost"),
        ({"objectives": ["params"], "max_drop": 0.005}, "accuracy", "least params with at most 0.5 points of accuracy"),
        ({"objectives": ["macs"], "max_drop": 0.1}, "kl", "least macs with at most 0.1 nats of kl lost"),
        ({"objectives": ["macs"], "max_drop": 0.1}, "features", "least macs with at most 0.1 of features lost"),
        ({"objectives": ["macs"], "max_drop": 0.1}, "outputs", "least macs with at most 0.1 of outputs lost"),
    ],
)
def test_goals(members, metric, text):
    assert goal(StudyRequest.model_validate(wire.request(**members)), metric).startswith(text)


@pytest.mark.parametrize(
    ("reason", "members", "text"),
    [
        ("timeout", {"timeout": 90}, "its 90 s are up"),
        ("plateau", {"plateau": 20}, "20 trials without a better one"),
        ("target", {"target": 0.9}, "its target is reached"),
    ],
)
def test_why_a_study_ended_early(reason, members, text):
    assert stopped(study(stopped_by=reason, request=wire.request(**members))) == text


def test_a_study_that_made_all_its_trials_was_not_stopped():
    assert stopped(study(state="completed", complete=10)) is None


def test_a_headline_tells_divergence_with_accuracy():
    told = study(metric="kl", best_value=0.0123, best_trial=1, best_accuracy=0.9, dense_accuracy=0.95)
    assert headline(told) == "running, best kl 0.0123, accuracy 90.00%, dense accuracy 95.00%"


def test_a_headline_of_a_smallest_study_tells_its_cost():
    request = wire.request(objectives=["macs"], max_drop=0.01, constraints={})
    told = study(request=request, best_value=0.9, best_trial=1, best_cost={"macs": 333_000, "params": 9})
    assert headline(told) == "running, best accuracy 90.00%, 333 k macs"


def test_a_front_has_no_best():
    request = wire.request(objectives=["proxy", "macs"])
    assert headline(study(request=request, best_value=0.9, best_trial=1)) == "running"


def test_a_headline_without_labels_tells_divergence_alone():
    assert headline(study(metric="kl", best_value=0.5, best_trial=1, dense_value=0)) == "running, best kl 0.5"


def test_a_headline_counts_what_was_pruned_failed_and_not_needed():
    progress = {**wire.study()["progress"], "pruned": 3, "failed": 1, "dropped": 2}
    assert headline(study(progress=progress)) == "running, 3 pruned, 1 failed, 2 not needed"


def test_a_headline_says_that_the_finalists_are_measured():
    progress = {**wire.study()["progress"], "complete": 6, "pruned": 4}
    assert headline(study(progress=progress)).endswith("measuring the finalists on all images")


def test_without_finalists_none_are_measured():
    progress = {**wire.study()["progress"], "complete": 10}
    assert "finalists" not in headline(study(progress=progress, request=wire.request(finalists=0)))
