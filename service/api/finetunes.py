"""Trials that are fine-tuned."""

from __future__ import annotations

from fastapi import APIRouter, Response

from ranksearch.contracts.base import Page
from ranksearch.contracts.finetuning import FineTune, FineTuneRequest
from service.api.access import Reader, Submitter
from service.api.dependencies import TheBackend
from service.api.problems import PROBLEMS
from service.scheduling import finetunes

__all__ = ["router"]

router = APIRouter(prefix="/v1/studies/{study}/finetunes", tags=["fine-tuning"], responses=PROBLEMS)


@router.post("", status_code=202)
def create_finetunes(
    backend: TheBackend, caller: Submitter, response: Response, study: str, wanted: FineTuneRequest
) -> Page[FineTune]:
    """Have complete trials fine-tuned: 202 and ``Location``. Asked for again as before, they are the same.

    A fine-tuning that failed or was cancelled goes on from its last checkpoint; by another recipe, or on other images,
    it begins anew. 409 ``trial_not_complete``, ``finetune_in_progress``; 422 ``finetune_unsupported``.
    """
    made = finetunes.ask_for_finetunes(backend, caller, study, wanted)
    response.headers["location"] = f"/v1/studies/{study}/finetunes"
    return made


@router.get("")
def list_finetunes(backend: TheBackend, caller: Reader, study: str) -> Page[FineTune]:
    """Those that were asked for, by trial, with their loss curves so far."""
    return finetunes.finetunes(backend, caller, study)


@router.get("/{finetune}")
def get_finetune(backend: TheBackend, caller: Reader, study: str, finetune: str) -> FineTune:
    """One of them, by its id."""
    return finetunes.finetune(backend, caller, study, finetune)


@router.post("/{finetune}/cancel")
def cancel_finetune(backend: TheBackend, caller: Submitter, study: str, finetune: str) -> FineTune:
    """Stop one. Repeated, it does nothing. 409 ``finetune_ended``."""
    return finetunes.cancel_finetune(backend, caller, study, finetune)
