"""A study is asked for: a model, images, what may be spent, and what that would mean."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.resources import Dataset, Model
from service.access.whoami import who_is
from service.api.access import Submitter
from service.api.dependencies import TheBackend
from service.dashboard.rendering import TheShell
from service.dashboard.submission_form import SubmissionForm
from service.scheduling import answers

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Item = TypeVar("Item", Model, Dataset)
_OFFERED = 100
_Id = Annotated[str | None, Query(max_length=100)]


@router.get("/submit")
def submit(
    backend: TheBackend,
    caller: Submitter,
    shell: TheShell,
    model: _Id = None,
    data: _Id = None,
    calibration: _Id = None,
    earlier: Annotated[str | None, Query(alias="from", max_length=100)] = None,
) -> HTMLResponse:
    """First the documents, then the form; ``from`` fills it in as an earlier study was asked for."""
    study = None if not earlier else answers.study(backend, caller, earlier)
    if study is not None:
        model, data = model or study.request.model, data or study.request.validation.dataset
        if calibration is None and study.request.calibration.dataset != data:
            calibration = study.request.calibration.dataset
    chosen = None if not model else answers.model(backend, caller, model)
    images = None if not data else answers.dataset(backend, caller, data)
    others = None if not calibration or calibration == data else answers.dataset(backend, caller, calibration)
    form, problem = None, None
    if chosen is not None and chosen.state == "ready" and images is not None:
        try:
            form = SubmissionForm(chosen, images, others, study)
        except DatasetError as refusal:
            problem = refusal.to_problem()
    project = who_is(backend.database, caller).project  # administrators see more than a study of theirs can use
    models = [
        one for one in answers.models(backend, caller, None, _OFFERED, profiles=False).items if one.project == project
    ]
    datasets = [one for one in answers.datasets(backend, caller, None, _OFFERED).items if one.project == project]
    return shell.page(
        "submit.html",
        models=_with(models, chosen),
        datasets=_with(datasets, images, others),
        model=chosen,
        data=images,
        calibration=others,
        earlier=study,
        form=form,
        problem=problem,
    )


def _with(listed: list[Item], *chosen: Item | None) -> list[Item]:
    """What is listed, and what is chosen though it is older than that."""
    found = list(listed)
    for one in chosen:
        if one is not None and all(one.id != other.id for other in found):
            found.append(one)
    return found
