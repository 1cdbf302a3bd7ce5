import pytest

from ranksearch.contracts.studies import Trial
from ranksearch.terminal.recent_trials import recent_trials
from tests.ranksearch import wire


def drawn(*told, metric="kl", width=80):
    made = [Trial.model_validate(wire.trial(**members)) for members in told]
    section = recent_trials(made, metric, width)
    return [line.plain for line in section.draw(section.most)]


def test_a_trial_judged_by_divergence_shows_its_accuracy():
    assert drawn({"value": 0.01}) == [
        "trial  state       kl  accuracy   macs  origin      seconds",
        "    0  COMPLETE  0.01    90.00%  333 k  same error      1.5",
    ]


def test_a_trial_judged_by_accuracy_shows_it_once():
    head, line = drawn({}, metric="accuracy")
    assert (head.count("accuracy"), line.count("90.00%")) == (1, 1)


def test_a_finalist_is_shown_as_it_was_measured_on_all_images():
    _, line = drawn({"final": wire.result(0.875)}, metric="accuracy")
    assert ("on all images" in line, "87.50%" in line, "90.00%" in line) == (True, True, False)


def test_a_trial_above_its_bounds_is_said_to_be():
    assert drawn({"feasible": False})[1].endswith("above its bounds")


def test_a_pruned_trial_was_stopped_early():
    assert drawn({"state": "PRUNED"})[1].endswith("stopped early")


@pytest.mark.parametrize("state", ["FAIL", "WAITING"])
@pytest.mark.parametrize("width", [40, 60, 120])
def test_a_failed_trial_says_why_in_the_place_of_its_figures(state, width):
    error = wire.problem("evaluation_out_of_memory", 500, detail="out of memory:\n\x1b[31mthe device has 80 GiB")
    failed = {"number": 7, "state": state, "value": None, "result": None, "error": error}
    shown = drawn(failed, {}, width=width)
    assert shown[1].startswith(f"    7  {state}")
    assert "out of memory: �[31m" in shown[1]
    assert max(map(len, shown)) <= width


def test_one_that_failed_first_and_then_completed_shows_what_it_gave():
    error = wire.problem("evaluation_crashed", 500, detail="boom")
    assert "boom" not in drawn({"error": error})[1]


def test_one_that_runs_has_no_figures_yet():
    assert drawn({"state": "RUNNING", "value": None, "result": None})[1].split() == [
        "0",
        "RUNNING",
        "333",
        "k",
        "same",
        "error",
    ]
