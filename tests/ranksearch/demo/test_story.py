import httpx
import pytest
from rich.console import Console

from ranksearch.contracts.studies import Best
from ranksearch.demo.story import _follow, summary_table
from tests.ranksearch import wire


def lines(console, told):
    with console.capture() as captured:
        told(console)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


@pytest.fixture
def followed(serve):
    """What is told of these trials."""

    def follow(*trials, metric="kl"):
        events = [wire.event(number, "trial", **trial) for number, trial in enumerate(trials, 1)]
        ended = wire.event(len(trials) + 1, "study", state="completed")

        def handler(request):
            if request.url.path.endswith("/events"):
                return wire.stream(*events, ended)
            return httpx.Response(200, json=wire.study("completed", len(trials), metric=metric))

        client = serve(handler)
        console = Console(width=200, color_system=None)
        return lines(console, lambda console: _follow(console, client, client.study(wire.STUDY)))

    return follow


def trial(number, kl, accuracy, **members):
    return wire.trial(number, value=kl, result=wire.result(value=kl, accuracy=accuracy), **members)


def test_the_best_is_the_one_of_least_divergence_and_its_accuracy_is_told(followed):
    told = followed(trial(0, 0.2, 0.9), trial(1, 0.1, 0.95), trial(2, 0.3, 0.96))
    assert told == [
        "trial 0 same error 90.00%, kl 0.2; the best so far",
        "trial 1 same error 95.00%, kl 0.1; the best so far",
        "trial 2 same error 96.00%, kl 0.3",
    ]


def test_of_accuracy_more_is_better(followed):
    told = followed(trial(0, 0.9, 0.9), trial(1, 0.8, 0.8), metric="accuracy")
    assert told[-1] == "trial 1 same error 80.00%"


def test_trials_that_stopped_early_or_failed_are_never_the_best(followed):
    pruned = trial(1, 0.01, 0.99, state="PRUNED")
    failed = wire.trial(2, "FAIL", value=None, result=None)
    assert followed(trial(0, 0.2, 0.9), pruned, failed)[1:] == [
        "trial 1 same error stopped early",
        "trial 2 same error failed",
    ]


def test_a_finalist_is_told_as_measured_on_all_images(followed):
    final = wire.result(value=0.25, accuracy=0.89)
    assert followed(trial(0, 0.2, 0.9), trial(0, 0.2, 0.9, final=final))[1] == "trial 0 on all images 89.00%, kl 0.25"


def test_the_summary_is_told_in_accuracy_whatever_the_metric():
    best = Best.model_validate(wire.best(metric="kl", value=0.01, dense_value=0.0))
    told = lines(Console(width=100, color_system=None), lambda console: console.print(summary_table(best, 0.96, 0.94)))
    assert told[1:3] == ["accuracy, validation 95.0% 90.0%", "accuracy, held out 96.0% 94.0%"]
