from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from ranksearch.client.downloads import download
from ranksearch.client.progress import Progress, metered
from ranksearch.client.transport import Transport, segment
from ranksearch.client.waiting import until
from ranksearch.contracts.artifacts import SUFFIXES, Artifact, ArtifactFormat, ArtifactRequest
from ranksearch.contracts.errors import NotFoundError, RankSearchError
from ranksearch.contracts.studies import Study

__all__ = ["ArtifactHandle", "Artifacts"]


class Artifacts:
    """The files that studies hand out: ``client.artifacts``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, study: str) -> Iterator[Artifact]:
        """Those of a study, and those being made."""
        return self._transport.pages(Artifact, _path(study))

    def get(self, study: str, artifact: str) -> Artifact:
        """By its id.

        Raises:
            NotFoundError: the study has none of this id.
        """
        return self._transport.fetch(Artifact, f"{_path(study)}/{segment(artifact)}")

    def make(
        self,
        study: str,
        trial: int | None = None,
        format: ArtifactFormat = "document",  # noqa: A002 - the word of the wire and of the command line
        *,
        tuned: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Artifact:
        """Have a file made of a complete trial. Asked for again it is the same one; what failed is made once more.

        Args:
            study: its id.
            trial: None: the best one so far.
            format: a model document, ``"pt2"`` for ``torch.export.load``, or ``"onnx"``.
            tuned: its fine-tuned network; None: of the best trial where that is better, of a named one never.
            idempotency_key: the same key gives the same artifact, even where another trial is the best by now.

        Raises:
            NotFoundError: no such study or trial, or ``best_not_found``.
            ConflictError: ``trial_not_complete``, ``not_finetuned``.
        """
        wanted = ArtifactRequest(trial=trial, format=format, tuned=tuned)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self._transport.request("POST", _path(study), repeatable=True, json=wanted, headers=headers)
        return self._transport.parsed(Artifact, answer)

    def existing(
        self,
        study: str,
        trial: int | None = None,
        format: ArtifactFormat = "document",  # noqa: A002 - as above
        *,
        tuned: bool | None = None,
    ) -> Artifact | None:
        """The file where it was asked for before; of the best trial, where the study is completed."""
        if trial is None and tuned is not None:
            return None  # of which trial, the service knows
        name = f"compressed{SUFFIXES[format]}"
        for artifact in self.list(study):
            is_it = artifact.name == name if trial is None else (artifact.trial, artifact.tuned) == (trial, bool(tuned))
            if artifact.format == format and is_it:
                return artifact
        return None

    def wait(
        self,
        study: str,
        artifact: str,
        *,
        timeout: float | None = None,
        seen: Callable[[Artifact], object] | None = None,
    ) -> Artifact:
        """The file once it is made.

        Args:
            study: its id.
            artifact: its id.
            timeout: seconds; None: without end.
            seen: is shown the artifact as often as it is looked at.

        Raises:
            RankSearchError: making it failed; this is why.
            UnavailableError: ``wait_timeout``; ``got`` says what it is waiting for.
        """
        made = until(
            lambda: self.get(study, artifact),
            lambda latest: latest.state != "pending",
            what=f"making {artifact}",
            why_not=lambda latest: self._transport.fetch(Study, _study(study)).waiting_for or latest.state,
            timeout=timeout,
            seen=seen,
        )
        if made.blob is None:
            raise _error(made)
        return made

    def download(self, study: str, artifact: Artifact, path: str | Path, *, progress: Progress = False) -> Path:
        """Write a file that is ready: verified against its sha256, in place when it is whole, resumed after a cut.

        Args:
            study: its id.
            artifact: as :meth:`wait` gives it.
            path: the file to write, or a directory to write it into under its name.
            progress: True for a bar on stderr, or a callable that takes the bytes done and their total.

        Raises:
            RankSearchError: it is not ready; why, where making it failed.
            UnavailableError: the service is away.
        """
        if artifact.blob is None:
            raise _error(artifact)
        target = Path(path) / artifact.name if Path(path).is_dir() else Path(path)
        with metered(progress, target.name) as meter:
            source, blob = f"{_path(study)}/{segment(artifact.id)}/content", artifact.blob
            download(self._transport, source, target, blob.sha256, size=blob.size, meter=meter)
        return target


class ArtifactHandle:
    """A file of a study that was asked for: to wait for, and to download.

    Args:
        artifacts: where it is.
        study: its id.
        artifact: as it was when it was asked for.
    """

    def __init__(self, artifacts: Artifacts, study: str, artifact: Artifact) -> None:
        self._artifacts = artifacts
        self._study = study
        self.id = artifact.id
        self.trial = artifact.trial
        self.format: ArtifactFormat = artifact.format

    def __repr__(self) -> str:
        return f"ArtifactHandle({self.id!r}, trial={self.trial}, format={self.format!r})"

    def status(self) -> Artifact:
        """The artifact as it is now."""
        return self._artifacts.get(self._study, self.id)

    def wait(self, *, timeout: float | None = None, seen: Callable[[Artifact], object] | None = None) -> Artifact:
        """The artifact once it is made, with its parity report; see :meth:`Artifacts.wait`."""
        return self._artifacts.wait(self._study, self.id, timeout=timeout, seen=seen)

    def download(self, path: str | Path, *, progress: Progress = False, timeout: float | None = None) -> Path:
        """Wait until it is made, and write it to a file, or into a directory; see :meth:`Artifacts.download`."""
        return self._artifacts.download(self._study, self.wait(timeout=timeout), path, progress=progress)


def _study(study: str) -> str:
    return f"/v1/studies/{segment(study)}"


def _path(study: str) -> str:
    return f"{_study(study)}/artifacts"


def _error(artifact: Artifact) -> RankSearchError:
    if artifact.error is not None:
        problem = artifact.error.model_dump(exclude_none=True)
        return RankSearchError.from_problem({"mend": "have it made again: ranksearch retry", **problem})
    return NotFoundError("artifact_not_found", f"{artifact.name} is not there", got=artifact.state)
