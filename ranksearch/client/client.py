from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx

from ranksearch.client.address import resolve
from ranksearch.client.blobs import Blobs
from ranksearch.client.documents import Datasets, Models
from ranksearch.client.handle import StudyHandle
from ranksearch.client.jobs import Jobs
from ranksearch.client.progress import Progress
from ranksearch.client.studies import Studies
from ranksearch.client.study_bar import inspection_spinner
from ranksearch.client.submission import (
    Budget,
    DataReference,
    ModelReference,
    Submission,
    constraints,
    study_request,
)
from ranksearch.client.transport import Transport
from ranksearch.client.workers import Workers
from ranksearch.contracts.goals import Metric
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.resources import Model
from ranksearch.contracts.study_requests import DataSlice

__all__ = ["Client"]


class Client:
    """Talks to one service. May be used from several threads, and as a context manager.

    Calls that may be repeated are, while the service is away or busy; every error is a
    :class:`~ranksearch.contracts.errors.RankSearchError`.

    Args:
        url: of the service; without one ``RANKSEARCH_URL``, else the local service of ``ranksearch up``.
        token: for it; without one ``RANKSEARCH_TOKEN``, else the local service's.
        transport: another httpx transport, for tests.
        timeout: seconds for connecting, and between two pieces of an answer.
        patience: seconds a repeatable call keeps trying while a service that answered before is away or busy.

    Raises:
        UnavailableError: nothing says where a service is.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
    ) -> None:
        self._transport = Transport(resolve(url, token), transport=transport, timeout=timeout, patience=patience)
        self.models = Models(self._transport)
        self.datasets = Datasets(self._transport)
        self.studies = Studies(self._transport)
        self.workers = Workers(self._transport)
        self.blobs = Blobs(self._transport)
        self.jobs = Jobs(self._transport)

    @property
    def url(self) -> str:
        """Of the service, without a trailing slash."""
        return self._transport.address.url

    def submit(
        self,
        model: ModelReference,
        data: DataReference | None = None,
        *,
        calibration: DataReference | DataSlice | None = None,
        validation: DataReference | DataSlice | None = None,
        budget: Budget = "40%",
        n_trials: int | None = None,
        n_startup_trials: int | None = None,
        seed: int | None = None,
        methods: Sequence[Method] | None = None,
        keep_dense: Sequence[str] | None = None,
        metric: Metric | None = None,
        batch_size: int | None = None,
        name: str | None = None,
        progress: Progress = False,
        timeout: float | None = None,
        seen: Callable[[Model], object] | None = None,
    ) -> StudyHandle:
        """Upload what is not there yet, wait until the model has been inspected, and submit a study.

        Args:
            model: the path of a model document, or a model's id.
            data: the path of a data set document, or a data set's id. The first images, at most 512 and at most
                half of them, calibrate; the rest validate.
            calibration: instead of ``data``, the images that calibrate: a path or id, ``"path_or_id[0:512]"``, or
                a slice.
            validation: and those that validate.
            budget: upper bounds: ``"40%"`` (of the macs), ``{"macs": "33%", "params": "50%"}``, or in numbers.
            n_trials: how many rank vectors to try.
            n_startup_trials: of these, how many before the sampler is asked.
            seed: of the search.
            methods: among which the search chooses each layer's, in order of preference.
            keep_dense: qualified names of layers that are not to be factorised.
            metric: by default accuracy where the validation images have labels, else kl.
            batch_size: of the evaluations.
            name: by which people know the study.
            progress: of the uploads and the inspection: True for bars on stderr, or a callable for the uploads.
            timeout: seconds to wait for the inspection; None: without end.
            seen: is shown the model as often as it is looked at during the inspection.

        Raises:
            BudgetInfeasible: no ranks meet the budget; ``extra["nearest_feasible"]`` is the nearest one.
            InputError: something cannot be used.
            RankSearchError: the model's inspection failed; this is why.
        """
        submission = Submission(self.models, self.datasets, progress=progress)
        bounds = constraints(budget)
        uploaded = submission.model(model)
        calibrating, validating = submission.data_slices(data, calibration, validation)
        with inspection_spinner(shown=progress is True and seen is None) as show:
            inspected = self.models.wait(uploaded.id, timeout=timeout, seen=seen or show)
        request = study_request(
            model=inspected.id,
            calibration=calibrating,
            validation=validating,
            constraints=bounds,
            n_trials=n_trials,
            n_startup_trials=n_startup_trials,
            seed=seed,
            methods=None if methods is None else list(methods),
            keep_dense=None if keep_dense is None else list(keep_dense),
            metric=metric,
            batch_size=batch_size,
            name=name,
        )
        return self.study(self.studies.create(request).id)

    def study(self, study: str) -> StudyHandle:
        """A handle on a study submitted before."""
        return StudyHandle(self.studies, study, f"{self.url}/v1/studies/{study}/best")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
