"""The profile of a model, and inspecting a model again.

Studies keep positions on their model's rank grids, so a model that has studies keeps its grids: a later profile with
other ones is not taken.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from ranksearch.contracts.errors import ConflictError
from ranksearch.contracts.profiles import ModelProfile
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.contracts.resources import Model
from service.access.audit import record
from service.access.principal import Principal
from service.access.visibility import existing_model
from service.scheduling.backend import JOBS, Backend, now
from service.scheduling.fairness import welcome_back
from service.scheduling.views import model_view
from service.scheduling.waiting import why_model_waits
from service.storage.identifiers import new_id
from service.storage.races import again_when_raced
from service.storage.tables import JobRow, ModelRow, StudyRow

__all__ = ["give_up_inspection", "inspect_again", "queue_inspection", "take_profile"]


def queue_inspection(session: Session, model: ModelRow) -> None:
    """Have it inspected by the next worker. The model's row must be in the session."""
    model.state, model.problem = "inspecting", None
    session.flush()
    welcome_back(session, model.user_id)
    session.add(
        JobRow(
            id=new_id("job"),
            kind="inspect",
            state="waiting",
            priority=0,
            queued_at=now(session),
            ordinal=0,
            model_id=model.id,
            told=True,
        )
    )
    session.flush()
    Backend.ring_after(session, JOBS)


@again_when_raced
def inspect_again(backend: Backend, caller: Principal, model_id: str) -> Model:
    """Have a model inspected once more, such as for latencies that an older worker did not measure.

    Studies that run go on meanwhile; new ones wait for the profile. Asked again meanwhile, it does nothing.

    Raises:
        NotFoundError: no such model.
    """
    with backend.writing() as session:
        model = existing_model(session, caller, model_id, lock=True)
        if model.state != "inspecting":
            queue_inspection(session, model)
            record(session, caller, "model.inspect", model.id)
        return model_view(session, model, why_model_waits(session, backend, model))


def take_profile(session: Session, model: ModelRow, profile: ModelProfile) -> None:
    """An inspection is done. The old profile stays where the model's studies need its grids; the model says so."""
    model.state, model.problem = "ready", None
    if model.profile is not None and _has_studies(session, model):
        before = ModelProfile.model_validate(model.profile)
        if _grids(before) != _grids(profile):
            model.problem = ConflictError(
                "in_use",
                "inspected again, the model has other rank grids than those that its studies refer to; the former"
                " profile is kept",
                mend="inspect it with the worker's version and solver that made the former profile",
            ).to_problem()
            return
    model.profile = profile.model_dump(mode="json", by_alias=True)


def give_up_inspection(model: ModelRow, problem: dict[str, object] | None) -> None:
    """An inspection gave no profile; a model that has one from before stays usable by that."""
    model.state = "failed" if model.profile is None else "ready"
    model.problem = problem


def _has_studies(session: Session, model: ModelRow) -> bool:
    return session.scalars(select(StudyRow.id).where(StudyRow.model_id == model.id).limit(1)).first() is not None


def _grids(profile: ModelProfile) -> dict[str, dict[str, list[tuple[LayerRanks, int, int]]]]:
    """By site and method, what a position means: its ranks and their cost."""
    return {
        site.name: {method: [(p.ranks, p.macs, p.params) for p in grid] for method, grid in site.grids.items()}
        for site in profile.sites
    }
