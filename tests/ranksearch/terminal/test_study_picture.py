"""Pictures of real studies, at the sizes that terminals have."""

import io
import re
from contextlib import contextmanager

import pytest
from rich.console import Console

from ranksearch.client.events import RESTING_STATES
from ranksearch.terminal.study_follower import StudyFollower
from ranksearch.terminal.study_picture import Sight, StudyPicture

SIZES = [(60, 20), (80, 24), (80, 50), (120, 40), (30, 10), (200, 100)]
SMALLEST = {"objectives": ["macs"], "max_drop": 0.05, "metric": "accuracy", "constraints": {}}
FRONT = {"objectives": ["proxy", "macs"], "constraints": {}}


@contextmanager
def sight_of(workshop, study):
    """What is known of it once everything was asked for."""
    with workshop.client() as client, StudyFollower(client, client.studies.get(study)) as follower:
        for _ in range(100):
            rests, sight = follower.wait(0.1), follower.sight()
            if rests or (sight.study.state not in RESTING_STATES and _is_all_known(sight)):
                break
        else:
            pytest.fail("it never got to know all")
        yield sight


def _is_all_known(sight):
    best = sight.best is not None or sight.study.best_trial is None
    return best and sight.course is not None and len(sight.workers) == sight.study.progress.running


def drawn(sight, width=80, height=40, encoding="utf-8", *, still=False, **options):
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    made = Console(
        file=buffer,
        width=width,
        height=height,
        force_terminal=True,
        legacy_windows=False,
        **{"color_system": None, **options},
    )
    made.print(StudyPicture(sight, still=still))
    buffer.flush()
    return buffer.buffer.getvalue().decode(encoding).split("\n")[:-1]


@pytest.fixture(scope="module")
def finished(small_net):
    study = small_net.submit("finished", n_trials=14)
    small_net.agent().work()
    with sight_of(small_net, study) as sight:
        return sight


@pytest.fixture
def running(workshop):
    """Four trials have ended, one of them badly, and two run."""
    study = workshop.submit("running")
    agent = workshop.agent()
    agent.work(limit=4)
    agent.fail(agent.must_claim("trial"), code="evaluation_out_of_memory", detail="the device has no memory left")
    agent.must_claim("trial")
    workshop.agent("desk", device="cpu").must_claim("trial")
    with sight_of(workshop, study) as sight:
        yield sight


PARTS = {
    "figures": r"best (so far)? +compressed|best   \w+ [\d.]+",
    "course": r"(best|least) \w+ up to trial|\w+ of the front",
    "front": r"front: trial",
    "ranks": r"layer  ",
    "workers": r"worker  |at work: ",
    "trials": r"trial  ",
}


def parts(lines):
    """Which there are, from the top."""
    return [name for line in lines for name, beginning in PARTS.items() if re.match(beginning, line)]


def test_everything_that_is_known_is_shown(running):
    lines = drawn(running)
    assert parts(lines) == ["figures", "course", "ranks", "workers", "trials"]
    assert lines[0].endswith("running")
    assert "4/12 trials, 2 running" in lines[2]
    assert "1 failed" in lines[2]


def test_the_figures_are_what_the_service_answers(workshop, finished):
    best = workshop.http.get(f"/v1/studies/{finished.study.id}/best").json()
    text = "\n".join(drawn(finished, height=60))
    assert f"trial {best['trial']}" in text
    assert f"kl            {best['value']:.3g}" in text
    assert f"{best['result']['accuracy']:.2%}" in text
    assert f"{best['macs']['fraction']:.1%} remain, {best['macs']['compression_ratio']:.1f}×" in text
    for layer in best["layers"]:
        line = next(line for line in text.split("\n") if line.startswith(layer["name"]))
        assert str(layer["choice"].get("rank", "dense")) in line.split()
        assert f"{layer['compressed']['macs'] / layer['dense']['macs']:.0%}" in line


def test_the_course_ends_at_the_best_value_of_the_search(workshop, finished):
    told = workshop.http.get(f"/v1/studies/{finished.study.id}/history").json()
    assert f"best {min(told['values']):.3g}" in "\n".join(drawn(finished))


def test_a_failed_trial_says_why(running):
    (line,) = [line for line in drawn(running) if "FAIL" in line]
    assert line.endswith("the device has no memory left")


def test_workers_are_named_with_what_they_do(running):
    lines = drawn(running)
    at = next(at for at, line in enumerate(lines) if line.startswith("worker"))
    assert [line.split()[:3] for line in lines[at + 1 : at + 3]] == [
        ["gpu-box-1", "trial", "4"],
        ["desk", "trial", "5"],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("still", [True, False])
def test_it_fits(finished, width, height, encoding, still):
    lines = drawn(finished, width, height, encoding, still=still)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_while_it_runs(running, width, height):
    lines = drawn(running, width, height)
    assert (len(lines) <= height, max(map(len, lines)) <= width) == (True, True)


def test_on_twenty_rows_of_sixty_every_part_is_still_there(running):
    lines = drawn(running, 60, 20)
    assert parts(lines) == ["figures", "course", "ranks", "workers", "trials"]
    assert any(line.startswith("at work: gpu-box-1 trial 4") for line in lines)


def test_two_hundred_layers_are_folded(large_net):
    study = large_net.submit("large", n_trials=3, finalists=0)
    large_net.agent().work()
    with sight_of(large_net, study) as sight:
        lines = drawn(sight, 80, 40)
        assert sum(".conv" in line for line in lines) < 30
        (more,) = [line for line in lines if line.startswith("and ")]
        assert int(more.split()[1]) + sum(".conv" in line for line in lines) == 200
        assert len(drawn(sight, 80, 300)) > 200


def test_of_several_objectives_the_front_is_shown(workshop):
    study = workshop.submit("front", n_trials=12, **FRONT)
    workshop.agent().work()
    front = workshop.http.get(f"/v1/studies/{study}/pareto").json()["points"]
    with sight_of(workshop, study) as sight:
        lines = drawn(sight, 80, 60)
    assert parts(lines) == ["course", "front", "trials"]
    at = next(at for at, line in enumerate(lines) if line.startswith("front:"))
    shown = [int(line.split()[0]) for line in lines[at + 1 : at + 1 + len(front)]]
    assert shown == [point["trial"] for point in front]
    assert len(shown) > 2


def test_of_the_smallest_network_the_least_cost_is_followed(workshop):
    study = workshop.submit("smallest", n_trials=10, **SMALLEST)
    workshop.agent().work()
    best = workshop.http.get(f"/v1/studies/{study}/best").json()
    with sight_of(workshop, study) as sight:
        lines = drawn(sight)
    assert lines[1] == "least macs with at most 5 points of accuracy lost"
    assert any(line.startswith("least macs up to trial 9") for line in lines)
    assert any(line.startswith("accuracy") and line.endswith("points lost, 5 allowed") for line in lines)
    assert best["dense_value"] - best["value"] <= 0.05 + 1e-9


def test_before_anything_was_measured_it_says_why(workshop):
    study = workshop.submit("nobody fits", requirements={"labels": {"rack": "none"}})
    with sight_of(workshop, study) as sight:
        text = " ".join(drawn(sight, 200))
    assert "no worker that fits is connected" in text
    assert "each trial appears here as soon as a worker has measured it" in text


def test_a_still_picture_leaves_out_what_was_going_on(running):
    lines = drawn(running, still=True)
    assert parts(lines) == ["figures", "course", "ranks", "trials"]
    assert (
        len([line for line in lines if line.strip()[:1].isdigit() and ("COMPLETE" in line or "RUNNING" in line)]) <= 3
    )


def test_what_there_is_to_say_of_the_connection_is_said_above_everything_else(finished):
    told = Sight(study=finished.study, contact="no answer from http://there for 4.0 s; asking again")
    assert drawn(told)[4] == "no answer from http://there for 4.0 s; asking again"


def test_without_colours_there_are_none(monkeypatch, finished):
    monkeypatch.setenv("NO_COLOR", "1")
    plain = "\n".join(drawn(finished, color_system="truecolor"))
    monkeypatch.delenv("NO_COLOR")
    coloured = "\n".join(drawn(finished, color_system="truecolor"))
    assert ("[32m" in plain, "[32m" in coloured) == (False, True)


def test_in_ascii_the_same_words_are_spelled_in_ascii(finished):
    lines = drawn(finished, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert "macs <= 50%" in lines[1]
