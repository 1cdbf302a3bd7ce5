from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ranksearch.client.artifacts import ArtifactHandle, Artifacts
from ranksearch.client.events import RESTING_STATES
from ranksearch.client.finetunes import FineTunes, RecipeMembers
from ranksearch.client.latencies import Latencies
from ranksearch.client.progress import Progress
from ranksearch.client.studies import Studies
from ranksearch.client.study_bar import study_bar
from ranksearch.client.waiting import until
from ranksearch.contracts.artifacts import ArtifactFormat
from ranksearch.contracts.data_slices import DataSlice
from ranksearch.contracts.errors import ConflictError, EvaluationError, RankSearchError
from ranksearch.contracts.finetuning import FineTune
from ranksearch.contracts.latency import LatencyComparison, LatencyRuntime
from ranksearch.contracts.studies import Best, Pareto, Study

__all__ = ["StudyHandle", "study_error"]


class StudyHandle:
    """A submitted study, to wait for and to take the answer from."""

    def __init__(
        self,
        studies: Studies,
        artifacts: Artifacts,
        finetunes: FineTunes,
        latencies: Latencies,
        study: str,
        url: str,
    ) -> None:
        self._studies = studies
        self._artifacts = artifacts
        self._finetunes = finetunes
        self._latencies = latencies
        self.id = study
        self.url = url
        """Where the best ranks can be had as JSON, with the client's token."""

    def __repr__(self) -> str:
        return f"StudyHandle({self.url!r})"

    def status(self) -> Study:
        """The study as it is now."""
        return self._studies.get(self.id)

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> Study:
        """The study once it has completed or been cancelled.

        Args:
            progress: a bar on stderr, if that is a terminal.
            timeout: seconds; None: without end.

        Raises:
            RankSearchError: the study failed; this is why.
            ConflictError: ``study_paused``: it is, by whom or why, and would not end by itself.
            UnavailableError: ``wait_timeout``; ``got`` says what the study is waiting for.
        """
        with study_bar(shown=progress) as show:
            study = until(
                self.status,
                lambda latest: latest.state in RESTING_STATES,
                what=f"study {self.id}",
                why_not=lambda latest: latest.waiting_for,
                timeout=timeout,
                seen=show,
            )
        if study.state in {"failed", "paused"}:
            raise study_error(study)
        return study

    def best(self) -> Best:
        """The best trial so far.

        Raises:
            NotFoundError: ``best_not_found``: no trial is complete yet.
        """
        return self._studies.best(self.id)

    def pareto(self) -> Pareto:
        """The trials so far that no other beats in all of the study's objectives."""
        return self._studies.pareto(self.id)

    def finetune(
        self,
        *,
        trials: Sequence[int] | None = None,
        top: int | None = None,
        training: DataSlice | None = None,
        recipe: RecipeMembers | None = None,
    ) -> list[FineTune]:
        """Have trials trained for a while, the best three where nothing is said; see :meth:`FineTunes.ask`."""
        return self._finetunes.ask(self.id, trials=trials, top=top, training=training, recipe=recipe)

    def finetuned(
        self, *, timeout: float | None = None, seen: Callable[[list[FineTune]], object] | None = None
    ) -> list[FineTune]:
        """What was asked to be fine-tuned, once all of that has ended; see :meth:`FineTunes.wait`."""
        return self._finetunes.wait(self.id, timeout=timeout, seen=seen)

    def artifact(
        self,
        trial: int | None = None,
        format: ArtifactFormat = "document",  # noqa: A002 - the word of the wire
        *,
        tuned: bool | None = None,
    ) -> ArtifactHandle:
        """The network of a trial as a file; it is asked for where it was not yet.

        Args:
            trial: a complete trial's number; None: the best, of a study that still searches the best so far.
            format: a model document, ``"pt2"`` or ``"onnx"``.
            tuned: the fine-tuned network; None: of the best trial where that is better, of a named one never.

        Raises:
            NotFoundError: no such trial, or ``best_not_found``.
            ConflictError: ``trial_not_complete``, ``not_finetuned``.
        """
        found = self._artifacts.existing(self.id, trial, format, tuned=tuned)
        found = found or self._artifacts.make(self.id, trial, format, tuned=tuned)
        return ArtifactHandle(self._artifacts, self.id, found)

    def pull(
        self,
        path: str | Path,
        *,
        trial: int | None = None,
        format: ArtifactFormat = "document",  # noqa: A002 - the word of the wire
        tuned: bool | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> Path:
        """Write the network of the best trial, or of another one, to a file, once it is made.

        Args:
            path: the file to write, or a directory.
            trial: as in :meth:`artifact`.
            format: as in :meth:`artifact`.
            tuned: as in :meth:`artifact`.
            progress: True for a bar on stderr, or a callable that takes the bytes done and their total.
            timeout: seconds to wait while it is being made; None: without end.

        Raises:
            RankSearchError: making it failed; this is why.
            UnavailableError: ``wait_timeout``, or the service is away.
        """
        return self.artifact(trial, format, tuned=tuned).download(path, progress=progress, timeout=timeout)

    def latency(
        self,
        trial: int | None = None,
        *,
        batches: Sequence[int] | None = None,
        runtimes: Sequence[LatencyRuntime] | None = None,
        again: bool = False,
        timeout: float | None = None,
    ) -> LatencyComparison:
        """The network of a trial timed beside the dense one, once a worker has done so; ``verdict`` says it in words.

        Args:
            trial: as in :meth:`artifact`.
            batches: images a pass; None: 1 and 32.
            runtimes: of ``"torch"``, ``"torch_compile"`` and ``"onnxruntime"``; None: all of them.
            again: measure anew what was measured already.
            timeout: seconds to wait; None: without end.

        Raises:
            RankSearchError: it could not be measured; this is why.
            ConflictError: ``trial_not_complete``, or ``latency_in_progress`` with other settings.
            UnavailableError: ``wait_timeout``, or the service is away.
        """
        asked = self._latencies.measure(self.id, trial, batches=batches, runtimes=runtimes, again=again)
        return self._latencies.wait(self.id, asked.id, timeout=timeout)

    def pause(self, reason: str | None = None) -> Study:
        """Have no further trial started; those that run are finished."""
        return self._studies.pause(self.id, reason)

    def resume(self) -> Study:
        """Go on with the paused study."""
        return self._studies.resume(self.id)

    def retry(self) -> Study:
        """Have what failed done again; a study that had ended runs again."""
        return self._studies.retry(self.id)

    def cancel(self) -> Study:
        """Stop the study; what it found so far stays."""
        return self._studies.cancel(self.id)

    def delete(self) -> None:
        """Delete the study, which must have ended, with all that it found."""
        self._studies.delete(self.id)


def study_error(study: Study) -> RankSearchError:
    """Why a study failed or is paused."""
    if study.state == "paused":
        return _paused(study)
    if study.error is not None:
        return RankSearchError.from_problem(study.error.model_dump(exclude_none=True))
    return EvaluationError("study_failing", f"study {study.id} failed", got=study.reason)


def _paused(study: Study) -> ConflictError:
    mend = f"go on with: ranksearch resume {study.id}"
    if study.progress.failed:
        mend += f"; or do the failed trials again, too: ranksearch retry {study.id}"
    return ConflictError(
        "study_paused",
        f"study {study.id} is {study.reason or 'paused'}",
        got=f"{study.progress.finished} of {study.progress.n_trials} trials made",
        mend=mend,
        cause=None if study.error is None else study.error.model_dump(exclude_none=True),
    )
