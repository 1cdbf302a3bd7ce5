from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Literal

from ranksearch.client.events import RESTING_STATES, follow
from ranksearch.client.transport import Transport, segment
from ranksearch.client.waiting import until
from ranksearch.contracts.feasibility import Feasibility
from ranksearch.contracts.insights import History, Importance, RankMap, Sensitivity, TrialSort
from ranksearch.contracts.studies import Best, Event, Pareto, PauseRequest, Study, Trial, TrialOrigin, TrialState
from ranksearch.contracts.study_requests import StudyRequest

__all__ = ["Studies"]


class Studies:
    """Rank searches: ``client.studies``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, request: StudyRequest, *, idempotency_key: str | None = None) -> Study:
        """Submit a study.

        Args:
            request: what to search for.
            idempotency_key: the same key with the same request gives the same study; without one, a fresh one.

        Raises:
            BudgetInfeasible: no ranks meet the budget; ``extra["nearest_feasible"]`` is the nearest one.
            InputError: something else in the request cannot be used.
            ConflictError: the model has not been inspected yet.
        """
        response = self._transport.request(
            "POST",
            "/v1/studies",
            repeatable=True,
            json=request,
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        )
        return self._transport.parsed(Study, response)

    def feasibility(self, request: StudyRequest) -> Feasibility:
        """What :meth:`create` would say to the same request, and what its bounds would mean; nothing is submitted.

        Raises:
            NotFoundError: a model, a data set or a study that it names is not there.
            ConflictError: the model has not been inspected yet.
        """
        answer = self._transport.request("POST", "/v1/studies/feasibility", repeatable=True, json=request)
        return self._transport.parsed(Feasibility, answer)

    def get(self, study: str) -> Study:
        """By its id.

        Raises:
            NotFoundError: there is none.
        """
        return self._transport.fetch(Study, _path(study))

    def list(self, *, model: str | None = None, dataset: str | None = None) -> Iterator[Study]:
        """All of them, page by page as they are asked for; of one model, with images of one data set."""
        return self._transport.pages(Study, "/v1/studies", model=model, dataset=dataset)

    def cancel(self, study: str) -> Study:
        """Stop a study; what it found so far stays.

        Raises:
            ConflictError: ``study_finished``.
        """
        return self._transport.parsed(Study, self._transport.request("POST", f"{_path(study)}/cancel", repeatable=True))

    def pause(self, study: str, reason: str | None = None) -> Study:
        """Have no further trial of a study started; those that run are finished. Paused again, it stays paused.

        Raises:
            ConflictError: ``study_not_running``: it has ended.
        """
        body = PauseRequest(reason=reason)
        answer = self._transport.request("POST", f"{_path(study)}/pause", repeatable=True, json=body)
        return self._transport.parsed(Study, answer)

    def resume(self, study: str) -> Study:
        """Go on with a paused study.

        Raises:
            ConflictError: ``study_not_paused``.
        """
        return self._transport.parsed(
            Study, self._transport.request("POST", f"{_path(study)}/resume", repeatable=False)
        )

    def retry(self, study: str) -> Study:
        """Have everything that failed done again: trials, finalists, the artifact. A study that had ended runs again.

        Raises:
            ConflictError: ``nothing_to_retry``, or ``study_finished``: it was cancelled.
        """
        return self._transport.parsed(Study, self._transport.request("POST", f"{_path(study)}/retry", repeatable=False))

    def delete(self, study: str) -> None:
        """Delete a study that has ended, with its trials, events and artifacts.

        Raises:
            NotFoundError: there is none.
            ConflictError: ``in_use``: it has not ended, or a study that runs learns from it.
        """
        self._transport.request("DELETE", _path(study), repeatable=True)

    def trials(
        self,
        study: str,
        *,
        state: TrialState | None = None,
        origin: TrialOrigin | None = None,
        sort: TrialSort = "number",
        order: Literal["asc", "desc"] = "asc",
        page_size: int | None = None,
    ) -> Iterator[Trial]:
        """Its trials, page by page as they are asked for.

        Args:
            study: its id.
            state: only those in it.
            origin: only those whose ranks came from there.
            sort: by what; those of which it is not known come last.
            order: the smallest or the largest first.
            page_size: trials that are fetched at once, for whoever wants a few; None: as the service likes.
        """
        asked = {"state": state, "origin": origin, "sort": sort, "order": order, "limit": page_size}
        return self._transport.pages(Trial, f"{_path(study)}/trials", **asked)

    def history(self, study: str, *, points: int = 100_000) -> History:
        """What its trials gave, in columns; of more than ``points`` those are left out that a chart would not show.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._transport.fetch(History, f"{_path(study)}/history", points=points)

    def best(self, study: str) -> Best:
        """The best trial so far.

        Raises:
            NotFoundError: ``best_not_found``: no trial is complete yet.
        """
        return self._transport.fetch(Best, f"{_path(study)}/best")

    def pareto(self, study: str) -> Pareto:
        """The trials so far that no other beats in all of the study's objectives.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._transport.fetch(Pareto, f"{_path(study)}/pareto")

    def rank_map(self, study: str, *, periods: int = 3) -> RankMap:
        """Where the ranks were that the search tried, layer by layer, in so many stretches of its trials.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._transport.fetch(RankMap, f"{_path(study)}/rank-map", periods=periods)

    def importance(self, study: str) -> Importance:
        """How much each layer's error matters, as far as the trials tell.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._transport.fetch(Importance, f"{_path(study)}/importance")

    def sensitivity(self, study: str) -> Sensitivity:
        """How far each layer alone moves the network, where that was measured.

        Raises:
            NotFoundError: there is no such study.
        """
        return self._transport.fetch(Sensitivity, f"{_path(study)}/sensitivity")

    def events(self, study: str, *, after: int | None = None) -> Iterator[Event]:
        """What happens in a study, as it happens, until it has ended; across drops and restarts.

        Args:
            study: its id.
            after: the id of the last event seen; None: from the beginning.
        """
        return follow(self._transport, study, after=after)

    def wait(self, study: str, *, timeout: float | None = None) -> Study:
        """The study once it has ended, however it ended, or is paused: it would not end by itself.

        Raises:
            UnavailableError: ``wait_timeout``; ``got`` says what the study is waiting for.
        """
        return until(
            lambda: self.get(study),
            lambda latest: latest.state in RESTING_STATES,
            what=f"study {study}",
            why_not=lambda latest: latest.waiting_for,
            timeout=timeout,
        )


def _path(study: str) -> str:
    return f"/v1/studies/{segment(study)}"
