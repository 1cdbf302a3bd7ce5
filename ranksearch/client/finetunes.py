from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ranksearch.client.checks import checked
from ranksearch.client.transport import Transport, segment
from ranksearch.client.waiting import until
from ranksearch.contracts.base import Page
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.finetuning import FineTune, FineTuneRequest, RecipeRequest
from ranksearch.contracts.studies import Study

__all__ = ["ENDED", "FineTunes", "RecipeMembers"]

ENDED: Final = frozenset({"ready", "failed", "cancelled"})
"""States of a fine-tuning that moves no more."""
RecipeMembers = RecipeRequest | Mapping[str, Any]
"""What of a recipe is chosen: ``{"epochs": 4, "learning_rate": 0.01}``."""


Several = list[FineTune]


class FineTunes:
    """Trials that are fine-tuned: ``client.finetunes``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(
        self,
        study: str,
        *,
        trials: Sequence[int] | None = None,
        top: int | None = None,
        training: DataSlice | None = None,
        recipe: RecipeMembers | None = None,
    ) -> Several:
        """Have trials fine-tuned; asked for again as before, they are the same.

        Args:
            study: its id.
            trials: their numbers.
            top: or so many of the best. With neither: three.
            training: the images; None: those of the calibration's data set that do not validate.
            recipe: what of it is chosen; the rest follows from the images.

        Raises:
            NotFoundError: no such study, trial or data set, or no trial is complete yet.
            ConflictError: ``trial_not_complete``, or ``finetune_in_progress`` by another recipe.
            InputError: the recipe cannot be used, or ``finetune_unsupported``: the network is no classifier.
        """
        members = {"trials": trials, "top": top, "training": training, "recipe": recipe or {}}
        wanted = checked(lambda: FineTuneRequest.model_validate(members))
        answer = self._transport.request("POST", _path(study), repeatable=True, json=wanted)
        return self._transport.parsed(Page[FineTune], answer).items

    def list(self, study: str) -> Iterator[FineTune]:
        """Those of a study, by trial."""
        return self._transport.pages(FineTune, _path(study))

    def get(self, study: str, finetune: str) -> FineTune:
        """By its id.

        Raises:
            NotFoundError: the study has none of this id.
        """
        return self._transport.fetch(FineTune, f"{_path(study)}/{segment(finetune)}")

    def cancel(self, study: str, finetune: str) -> FineTune:
        """Stop one. Asked for again by the same recipe, it goes on from its last checkpoint.

        Raises:
            ConflictError: ``finetune_ended``.
        """
        answer = self._transport.request("POST", f"{_path(study)}/{segment(finetune)}/cancel", repeatable=True)
        return self._transport.parsed(FineTune, answer)

    def wait(
        self, study: str, *, timeout: float | None = None, seen: Callable[[Several], object] | None = None
    ) -> Several:
        """Those of a study once all of them have ended; how, their states say.

        Args:
            study: its id.
            timeout: seconds; None: without end.
            seen: is shown them as often as they are looked at.

        Raises:
            UnavailableError: ``wait_timeout``; ``got`` says what the study is waiting for.
        """
        return until(
            lambda: [*self.list(study)],
            lambda latest: all(one.state in ENDED for one in latest),
            what=f"the fine-tuning of {study}",
            why_not=lambda _: self._transport.fetch(Study, f"/v1/studies/{segment(study)}").waiting_for,
            timeout=timeout,
            seen=seen,
        )


def _path(study: str) -> str:
    return f"/v1/studies/{segment(study)}/finetunes"
