"""What the child does with an assignment: one module a kind of task, all on one session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ranksearch.contracts.jobs import (
    BaselineTask,
    CompressTask,
    ExportTask,
    FineTuneTask,
    InspectTask,
    LatencyTask,
    Outcome,
    SensitivityTask,
    TrialTask,
)
from ranksearch.contracts.resources import Problem
from worker.evaluation.baseline import measure_dense
from worker.evaluation.compressed import write_compressed
from worker.evaluation.exported import write_exported
from worker.evaluation.faults import as_problem
from worker.evaluation.finetuned import fine_tune
from worker.evaluation.latency_report import measure_latencies
from worker.evaluation.memory import with_fewer_at_once
from worker.evaluation.profile import inspect
from worker.evaluation.sensitivity import estimate_sensitivity
from worker.evaluation.session import Session
from worker.evaluation.translated import inspect_onnx
from worker.evaluation.trial import measure_trial
from worker.protocol import MOST_FACTORS, Advance, Assignment, Report

__all__ = ["Session", "evaluate"]

log = logging.getLogger(__name__)


def evaluate(session: Session, assignment: Assignment, tell: Callable[[Advance], None] = lambda _: None) -> Report:
    """Do the task; whatever goes wrong is reported, not raised. ``tell`` is told how far a training is."""
    session.used.clear()
    try:
        outcome = with_fewer_at_once(session, assignment.task, partial(_outcome, session, assignment, tell))
    except Exception as error:
        problem, retry = as_problem(error)
        log.warning("%s failed: %s", assignment.task.kind, problem, exc_info=error)
        session.forget()  # after running out of memory, nothing large must stay
        told = Problem.model_validate(problem.to_problem())
        return Report(number=assignment.number, problem=told, retry=retry)
    used = session.used[:MOST_FACTORS]
    return Report(number=assignment.number, outcome=outcome, holds=session.holds, factors=used)


def _outcome(session: Session, assignment: Assignment, tell: Callable[[Advance], None]) -> Outcome:
    task, files, output = assignment.task, assignment.files, assignment.output
    match task:
        case InspectTask(format="onnx"):
            made: Outcome = inspect_onnx(session, task, files, output)
        case InspectTask():
            made = inspect(session, task, files)
        case BaselineTask():
            made = measure_dense(session, task, files)
        case SensitivityTask():
            made = estimate_sensitivity(session, task, files)
        case TrialTask():
            made = measure_trial(session, task, files)
        case CompressTask():
            made = write_compressed(session, task, files, output)
        case ExportTask():
            made = write_exported(session, task, files, output)
        case FineTuneTask():
            made = fine_tune(session, task, files, output, tell)
        case LatencyTask():
            made = measure_latencies(session, task, files, output)
    return made
