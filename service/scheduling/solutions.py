"""What a study has found: its best trial, and the front."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import NotFoundError
from ranksearch.contracts.profiles import Cost, ModelProfile
from ranksearch.contracts.ranks import LayerRanks, RankVector
from ranksearch.contracts.studies import Best, LayerChoice, Pareto, ParetoPoint, TrialResult
from ranksearch.contracts.study_requests import StudyRequest
from service.access.principal import Principal
from service.access.visibility import existing_study
from service.scheduling.backend import Backend, profile_of
from service.scheduling.finals import feasible_trials
from service.scheduling.finetune_views import chosen_finetune
from service.scheduling.fronts import front
from service.scheduling.verdicts import Goal, goal_of, result_of
from service.scheduling.views import TERMINAL, share_view
from service.storage.tables import JobRow, StudyRow

__all__ = ["best", "best_if_any", "layers", "no_best", "pareto"]


def best(backend: Backend, caller: Principal, study_id: str) -> Best:
    """The best trial so far, by its measurement on all images where there is one.

    Raises:
        NotFoundError: no such study, or it has no best trial yet.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        if row.best_job is None:
            raise no_best(session, row)
        job = session.get_one(JobRow, row.best_job)
        result = result_of(job)
        dense_result = None if row.dense_result is None else TrialResult.model_validate(row.dense_result)
        dense = Cost.model_validate(row.dense)
        ranks = _ranks(job)
        return Best(
            study=row.id,
            state=row.state,
            trial=job.trial_number or 0,
            origin=job.origin,
            metric=row.metric,
            value=result.value,
            dense_value=_dense_value(result, dense_result),
            result=result,
            dense_result=dense_result,
            macs=share_view(dense.macs, result.cost.macs),
            params=share_view(dense.params, result.cost.params),
            ranks=ranks,
            layers=_layers(profile_of(session, row.model_id), ranks, StudyRequest.model_validate(row.request)),
            finetune=chosen_finetune(session, row),
        )


def best_if_any(backend: Backend, caller: Principal, study_id: str) -> Best | None:
    """The same; None while there is no best trial.

    Raises:
        NotFoundError: no such study.
    """
    try:
        return best(backend, caller, study_id)
    except NotFoundError as problem:
        if problem.code != "best_not_found":
            raise
        return None


def pareto(backend: Backend, caller: Principal, study_id: str) -> Pareto:
    """The front among the feasible trials so far, by the first objective, best first.

    Where a finalist was measured on all images, that counts. With one objective the front is the best trial.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        goal = goal_of(row)
        jobs = _candidates(session, row, goal)
        results = [result_of(job) for job in jobs]
        members = front([goal.losses(result) for result in results])
        return Pareto(
            study=row.id,
            state=row.state,
            objectives=goal.request.objectives,
            metric=goal.metric,
            points=[_point(goal, jobs[member], results[member]) for member in members],
        )


def layers(backend: Backend, caller: Principal, study_id: str, ranks: RankVector) -> list[LayerChoice]:
    """What every layer of a study's network becomes at some of its ranks, in forward order.

    Raises:
        NotFoundError: no such study.
    """
    with backend.reading() as session:
        row = existing_study(session, caller, study_id)
        return _layers(profile_of(session, row.model_id), ranks, StudyRequest.model_validate(row.request))


def _candidates(session: Session, study: StudyRow, goal: Goal) -> list[JobRow]:
    """The jobs that measured the feasible trials last: their finals, where those did not fail."""
    if len(goal.request.objectives) == 1:
        return [] if study.best_job is None else [session.get_one(JobRow, study.best_job)]
    done = select(JobRow).where(JobRow.study_id == study.id, JobRow.kind == "final", JobRow.state == "done")
    finals = {final.trial_number: final for final in session.scalars(done)}
    last = [finals.get(trial.trial_number, trial) for trial in feasible_trials(session, study)]
    return [job for job in last if job.feasible is not False]


def _point(goal: Goal, job: JobRow, result: TrialResult) -> ParetoPoint:
    return ParetoPoint(
        trial=job.trial_number or 0,
        origin=job.origin,
        values=goal.values(result),
        result=result,
        ranks=_ranks(job),
    )


def _ranks(job: JobRow) -> dict[str, LayerRanks]:
    return {name: LayerRanks.model_validate(chosen) for name, chosen in (job.ranks or {}).items()}


def _dense_value(result: TrialResult, dense: TrialResult | None) -> float | None:
    """The dense network's metric on the images of ``result``; else, on all images, the baseline's."""
    if result.dense_value is not None or dense is None:
        return result.dense_value
    return dense.value


def no_best(session: Session, study: StudyRow) -> NotFoundError:
    """Why a study has no best trial, and what to do about it."""
    complete = (JobRow.study_id == study.id, JobRow.kind == "trial", JobRow.state == "done")
    if session.scalars(select(JobRow.id).where(*complete).limit(1)).first() is None:
        detail, mend = "no trial of this study has completed", "wait for the first trial to complete"
    else:
        detail, mend = "no trial of this study keeps the bounds that are measured", "wait for more trials"
    if study.state in TERMINAL:
        mend = study.reason or "submit another study"
    return NotFoundError("best_not_found", detail, got=f"state {study.state}", mend=mend)


def _layers(profile: ModelProfile, ranks: dict[str, LayerRanks], request: StudyRequest) -> list[LayerChoice]:
    found = []
    for site in profile.sites:
        dense = Cost(macs=site.macs, params=site.params)
        chosen, reason, compressed, error = ranks.get(site.name), site.reason_dense, dense, 0.0
        if chosen is not None:
            point = next(p for p in site.grids[chosen.method] if p.ranks == chosen)
            compressed, error = Cost(macs=point.macs, params=point.params), point.relative_error
        elif site.name in request.keep_dense:
            reason = "as requested"
        elif reason is None:
            offered = any(site.grids.get(method) for method in request.methods)
            reason = "the search's choice" if offered else "it has no rank grid for the methods asked for"
        choice = chosen or LayerRanks(method="dense")
        found.append(
            LayerChoice(
                name=site.name,
                kind=site.kind,
                choice=choice.model_dump(mode="json", by_alias=True),
                reason_dense=reason,
                dense=dense,
                compressed=compressed,
                relative_error=error,
            )
        )
    return found
