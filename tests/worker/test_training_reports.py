"""What a training tells is handed on, and kept until it can be."""

import contextlib

import pytest

from ranksearch.contracts.errors import UnavailableError
from ranksearch.contracts.finetuning import CURVE_POINTS, TuningPoint, TuningScore
from tests.worker.stand_ins import job
from worker.protocol import Advance
from worker.training_reports import TrainingReports

AWAY = UnavailableError("service_unreachable", "the service is away")


class Jobs:
    def __init__(self):
        self.told, self.errors = [], []

    def progress(self, name, told, *, patience=None):
        assert patience == 0
        if self.errors:
            raise self.errors.pop(0)
        self.told.append(told)


class Blobs:
    def __init__(self):
        self.uploaded = []

    def upload(self, path):
        self.uploaded.append(path)
        return "e" * 64


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture
def reports(jobs, blobs, tmp_path):
    return TrainingReports(jobs, blobs, contextlib.nullcontext, job(), tmp_path)


def points(*steps):
    return [TuningPoint(step=step, loss=1.0, learning_rate=0.1) for step in steps]


def test_each_is_told_once_under_the_lease(reports, jobs):
    score = TuningScore(value=0.5, accuracy=0.5, images=10)
    reports.tell(Advance(before=score))
    reports.tell(Advance(points=points(1, 2)))
    first, second = jobs.told
    assert (first.lease_token, first.before, first.points) == ("t1", score, [])
    assert (second.before, [point.step for point in second.points]) == (None, [1, 2])


def test_what_could_not_be_told_comes_with_the_next(reports, jobs):
    jobs.errors = [AWAY, AWAY]
    reports.tell(Advance(before=TuningScore(value=0.5, accuracy=0.5, images=10), resumed_at=3))
    reports.tell(Advance(points=points(4)))
    reports.tell(Advance(points=points(5)))
    (told,) = jobs.told
    assert [point.step for point in told.points] == [4, 5]
    assert (told.before.accuracy, told.resumed_at) == (0.5, 3)


def test_of_an_outage_that_lasts_the_latest_points_are_kept(reports, jobs):
    jobs.errors = [AWAY] * 5
    for at in range(5):
        reports.tell(Advance(points=points(*range(100 * at + 1, 100 * at + 101))))
    reports.tell(Advance(points=points(501)))
    (told,) = jobs.told
    assert len(told.points) == CURVE_POINTS
    assert told.points[-1].step == 501


def test_a_checkpoint_is_uploaded_and_named(reports, jobs, blobs, tmp_path):
    reports.tell(Advance(checkpoint="checkpoint-7", checkpoint_step=7))
    assert blobs.uploaded == [tmp_path / "checkpoint-7"]
    assert (jobs.told[0].checkpoint, jobs.told[0].checkpoint_step) == ("e" * 64, 7)


def test_the_child_names_files_in_its_folder_and_no_others(reports, blobs, tmp_path):
    reports.tell(Advance(checkpoint="../../etc/passwd", checkpoint_step=7))
    assert blobs.uploaded == [tmp_path / "passwd"]


def test_a_checkpoint_that_is_not_there_ends_no_training(jobs, blobs, tmp_path):
    @contextlib.contextmanager
    def missing(_path):
        raise FileNotFoundError("gone")
        yield

    reports = TrainingReports(jobs, blobs, missing, job(), tmp_path)
    reports.tell(Advance(points=points(1), checkpoint="checkpoint-1", checkpoint_step=1))
    assert jobs.told == []
    reports.tell(Advance(points=points(2)))
    assert [point.step for point in jobs.told[0].points] == [1, 2]
