from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from ranksearch.client.address import resolve
from ranksearch.client.artifacts import Artifacts
from ranksearch.client.blobs import Blobs
from ranksearch.client.documents import Datasets, Models
from ranksearch.client.examination import examine
from ranksearch.client.factors import Factors
from ranksearch.client.finetunes import FineTunes
from ranksearch.client.goals import Budget, Images, StudyReference, draft
from ranksearch.client.handle import StudyHandle
from ranksearch.client.jobs import Jobs
from ranksearch.client.latencies import Latencies
from ranksearch.client.people import Audit, Projects, Tokens, Users
from ranksearch.client.progress import Progress
from ranksearch.client.studies import Studies
from ranksearch.client.study_bar import inspection_spinner
from ranksearch.client.submission import DataReference, ModelReference, Submission
from ranksearch.client.transport import Transport
from ranksearch.client.workers import Workers
from ranksearch.contracts.access import WhoAmI
from ranksearch.contracts.checkups import Checkup
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.finetuning import FineTuneOption
from ranksearch.contracts.goals import Level, Metric, Objective, Pruner, Sampler, WarmStart
from ranksearch.contracts.ranks import Method
from ranksearch.contracts.resources import Model
from ranksearch.contracts.study_requests import Requirements

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
        self.artifacts = Artifacts(self._transport)
        self.finetunes = FineTunes(self._transport)
        self.latencies = Latencies(self._transport)
        self.workers = Workers(self._transport)
        self.blobs = Blobs(self._transport)
        self.jobs = Jobs(self._transport)
        self.tokens = Tokens(self._transport)
        self.users = Users(self._transport)
        self.projects = Projects(self._transport)
        self.audit = Audit(self._transport)
        self.factors = Factors(self._transport)

    @property
    def url(self) -> str:
        """Of the service, without a trailing slash."""
        return self._transport.address.url

    def whoami(self) -> WhoAmI:
        """Whose token this client has, and what it allows."""
        return self._transport.fetch(WhoAmI, "/v1/whoami")

    def submit(
        self,
        model: ModelReference,
        data: DataReference | None = None,
        *,
        calibration: DataReference | DataSlice | None = None,
        validation: DataReference | DataSlice | None = None,
        budget: Budget | None = None,
        objectives: Objective | Sequence[Objective] | None = None,
        max_drop: float | None = None,
        metric: Metric | None = None,
        methods: Method | Sequence[Method] | None = None,
        keep_dense: str | Sequence[str] | None = None,
        n_trials: int | None = None,
        n_startup_trials: int | None = None,
        level: Level | None = None,
        sampler: Sampler | None = None,
        pruner: Pruner | None = None,
        warm_starts: WarmStart | Sequence[WarmStart] | None = None,
        from_studies: Sequence[StudyReference] | None = None,
        search_images: Images | None = None,
        finalists: int | None = None,
        finetune: int | FineTuneOption | Mapping[str, Any] | None = None,
        study_timeout: float | None = None,
        plateau: int | None = None,
        target: float | None = None,
        priority: int | None = None,
        max_parallel: int | None = None,
        requirements: Requirements | Mapping[str, Any] | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        name: str | None = None,
        progress: Progress = False,
        timeout: float | None = None,
        seen: Callable[[Model], object] | None = None,
    ) -> StudyHandle:
        """Upload what is not there yet, wait until the model has been inspected, and submit a study.

        Three kinds of study: the best network within a ``budget``; the smallest that loses at most ``max_drop``;
        with several ``objectives``, a front (:meth:`StudyHandle.pareto`). What is None is left to the service's
        defaults; ``docs/searching.md`` says when to choose otherwise.

        Args:
            model: the path of a model document or of an ONNX file, or a model's id.
            data: the path of a data set document, or a data set's id. The first images, at most 1,024 and at most
                a third of them, calibrate; the rest validate.
            calibration: instead of ``data``, the images that calibrate: a path or id, ``"path_or_id[0:1024]"``, or
                a slice.
            validation: and those that validate.
            budget: upper bounds: ``"40%"`` (of the macs), ``{"macs": "33%", "params": "50%", "latency_ms": 4.0}``,
                or in numbers. None: 40% of the macs for the best proxy, no bound for other objectives.
            objectives: ``"proxy"`` is the metric; ``"macs"``, ``"params"`` and ``"latency_ms"`` are costs. One cost
                goes with ``max_drop``; several objectives give a front.
            max_drop: how much the smallest network may lose against the dense one: 0.01 is one point of accuracy;
                nats for kl and loss, a share of the variance for outputs. Without ``objectives``: of the macs, as few
                as possible.
            metric: by default kl, which needs no labels; with ``max_drop`` accuracy where there are labels. For a
                network that is no classifier of one output: outputs, the share of its outputs' variance that is lost.
            methods: among which the search chooses each layer's, in order of preference.
            keep_dense: qualified names of layers that are not to be factorised.
            n_trials: how many rank vectors to try.
            n_startup_trials: of these, how many before the sampler is asked.
            level: how networks are calibrated: their statistics alone, or every layer fitted to its output.
            sampler: which chooses the trials.
            pruner: whether a trial that is significantly worse than the best stops early.
            warm_starts: allocations that are tried before the sampler's; an empty list: none.
            from_studies: earlier studies of the same model that the search learns from.
            search_images: how many images a trial uses, ``{"calibration": 256, "validation": 1000}``; None as a
                number: all.
            finalists: best trials that are measured again, on all images, before one is chosen.
            finetune: so many of the best trials are fine-tuned once the search is complete, and the best one is
                chosen anew; or ``{"top": 3, "recipe": {"epochs": 4}}``.
            study_timeout: seconds from the first trial's claim to the last new trial.
            plateau: end after so many trials without a better one.
            target: end once a trial's metric is at least as good as this.
            priority: among your own studies, from -100 to 100; larger goes first.
            max_parallel: trials that run at once, at most.
            requirements: what a worker must have: ``{"device": "cuda", "memory_bytes": 16 * 2**30,
                "labels": {"site": "berlin"}}``.
            seed: of the search.
            batch_size: of the evaluations.
            name: by which people know the study.
            progress: of the uploads and the inspection: True for bars on stderr, or a callable for the uploads.
            timeout: seconds to wait for the inspection, not for the study; None: without end.
            seen: is shown the model as often as it is looked at during the inspection.

        Raises:
            BudgetInfeasible: no ranks meet the budget; ``extra["nearest_feasible"]`` is the nearest one.
            InputError: something cannot be used.
            RankSearchError: the model's inspection failed; this is why.
        """
        asked = draft(
            budget=budget,
            objectives=objectives,
            max_drop=max_drop,
            metric=metric,
            methods=methods,
            keep_dense=keep_dense,
            n_trials=n_trials,
            n_startup_trials=n_startup_trials,
            level=level,
            sampler=sampler,
            pruner=pruner,
            warm_starts=warm_starts,
            from_studies=from_studies,
            search_images=search_images,
            finalists=finalists,
            finetune={"top": finetune} if isinstance(finetune, int) else finetune,
            timeout=study_timeout,
            plateau=plateau,
            target=target,
            priority=priority,
            max_parallel=max_parallel,
            requirements=requirements,
            seed=seed,
            batch_size=batch_size,
            name=name,
        )
        submission = Submission(self.models, self.datasets, progress=progress)
        uploaded = submission.model(model)
        calibrating, validating = submission.data_slices(data, calibration, validation)
        with inspection_spinner(shown=progress is True and seen is None) as show:
            inspected = self.models.wait(uploaded.id, timeout=timeout, seen=seen or show)
        where = {"model": inspected.id, "calibration": calibrating, "validation": validating}
        return self.study(self.studies.create(asked.model_copy(update=where)).id)

    def study(self, study: str) -> StudyHandle:
        """A handle on a study submitted before."""
        url = f"{self.url}/v1/studies/{study}/best"
        return StudyHandle(self.studies, self.artifacts, self.finetunes, self.latencies, study, url)

    def examine(self) -> Checkup:
        """Check address, token, service and workers: what ``ranksearch doctor`` shows. Problems are findings."""
        return examine(self._transport)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
