from datetime import UTC, datetime, timedelta

from ranksearch.contracts.resources import Worker
from ranksearch.terminal.at_work import at_work
from tests.ranksearch import wire


def worker(name, seconds, **members):
    since = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    told = {"name": name, "id": name, "study": wire.STUDY, "task": "trial", "trial": 3, "since": since, **members}
    return Worker.model_validate(wire.worker(**told))


def drawn(rows, *workers, width=60):
    section = at_work(workers, width)
    assert section.least <= rows <= section.most
    return [line.plain for line in section.draw(rows)]


def test_a_worker_is_a_line_the_longest_at_work_first():
    assert drawn(3, worker("box-b", 5), worker("box-a", 75, trial=1, device="NVIDIA H100")) == [
        "worker  on       began      device",
        "box-a   trial 1  1 min ago  NVIDIA H100",
        "box-b   trial 3  5 s ago    cpu",
    ]


def test_other_tasks_have_names():
    tasks = [worker(task, at, task=task, trial=None) for at, task in enumerate(["compress", "baseline"])]
    assert [line[10:34].strip() for line in drawn(3, *tasks)[1:]] == ["the dense network", "the compressed network"]


def test_in_one_line_they_are_named():
    assert drawn(1, worker("a", 9), worker("b", 5, trial=4)) == ["at work: a trial 3, b trial 4"]


def test_those_beyond_the_last_line_are_counted():
    shown = drawn(4, *(worker(f"box-{at}", at) for at in range(9)))
    assert (len(shown), shown[-1]) == (4, "at work: 7 more")
