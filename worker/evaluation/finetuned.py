"""A trial's network, fine-tuned: trained, measured before and after, written as a model document."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import proxy
from ranksearch.contracts.errors import EvaluationError
from ranksearch.contracts.finetuning import CURVE_POINTS, TuningPoint, TuningScore
from ranksearch.contracts.jobs import FineTuneOutcome, FineTuneTask
from ranksearch.documents import load
from worker.evaluation.checkpoints import read_checkpoint, write_checkpoint
from worker.evaluation.document import write_document
from worker.evaluation.faults import ran_out_of_memory
from worker.evaluation.images import Images
from worker.evaluation.measured import first_image
from worker.evaluation.pieces import in_pieces
from worker.evaluation.session import Session
from worker.evaluation.training_images import TrainingImages
from worker.protocol import Advance

__all__ = ["fine_tune"]

log = logging.getLogger(__name__)

_TELL_SECONDS = 1.0
_CHECKPOINT_SHARE = 20
"""Checkpoints take at most a twentieth of the time."""
_PARITY_IMAGES = 256

Tell = Callable[[Advance], None]


def fine_tune(
    session: Session, task: FineTuneTask, files: Mapping[str, Path], output: Path, tell: Tell
) -> FineTuneOutcome:
    """Train the calibrated network of a trial, from a checkpoint where there is one.

    Args:
        session: with the dense network and its answers.
        task: what to do.
        files: sha256 → local file, for every blob the task names.
        output: for checkpoints and the document, named by its sha256.
        tell: is told how far it is.

    Raises:
        DatasetError: the network does not take the images.
        DocumentError: the document is not usable.
        EvaluationError: ``evaluation_out_of_memory``, ``evaluation_not_finite``.
        ProxyError: the loss is no number any more, or the network gives no class scores.
    """
    dense = session.network(task.model, files[task.model.sha256])
    validation = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, dense)
    scored = _Scored(session, task, dense, validation)
    network = load(files[task.document.sha256]).to(session.device)
    before = scored.score(network)
    tell(Advance(before=before, dense=scored.dense))
    training = _training(session, task, files, dense, network)
    try:
        _run(training, task, files, output, tell)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        raise _too_large(task, error) from None
    tuned = training.result()
    after = _score_of_tuned(scored, tuned)
    pieces = _first(validation, _PARITY_IMAGES)
    sha256, parity = write_document(session, tuned, first_image(validation), pieces, output)
    return FineTuneOutcome(sha256=sha256, parity=parity, before=before, after=after, dense=scored.dense)


class _Scored:
    """Networks on the validation images: accuracy where there are labels, and the divergence from the dense one."""

    def __init__(self, session: Session, task: FineTuneTask, dense: nn.Module, images: Images) -> None:
        self._images = images
        self._reference = session.reference(task.model, dense, task.validation, images)
        self._metric = "kl" if next(iter(images))[1] is None else "accuracy"
        self.dense = self.score(dense)

    def score(self, network: nn.Module) -> TuningScore:
        with in_pieces(network, self._images.at_once):
            found = proxy.score(network, self._images, reference=self._reference, metric=self._metric)
        return TuningScore(value=found.value, accuracy=found.accuracy, kl=found.kl, images=found.count)


def _score_of_tuned(scored: _Scored, tuned: nn.Module) -> TuningScore:
    try:
        return scored.score(tuned)
    except proxy.ProxyError as error:
        if error.code != "not_finite":
            raise
        raise EvaluationError(
            "evaluation_not_finite",
            "the fine-tuned network's outputs are no numbers",
            got=error.got,
            mend="a smaller learning_rate, or gradient_norm=1",
        ) from error


def _training(
    session: Session, task: FineTuneTask, files: Mapping[str, Path], dense: nn.Module, network: nn.Module
) -> proxy.FineTuning:
    specs: Any = dense.input_specs  # load() sets them
    wanted: torch.dtype = getattr(torch, specs[0].dtype)
    images = TrainingImages(files[task.training.blob.sha256], task.training, session.device, wanted)
    return proxy.FineTuning(
        network,
        images.stored,
        images.labels,
        reference=dense,
        recipe=proxy.Recipe(**task.recipe.model_dump()),
        prepare=images.prepare,
    )


def _run(training: proxy.FineTuning, task: FineTuneTask, files: Mapping[str, Path], output: Path, tell: Tell) -> None:
    """To the end, with reports and checkpoints now and then."""
    if task.checkpoint is not None and _resume(training, files[task.checkpoint.sha256]):
        tell(Advance(resumed_at=training.done))
    reporting = _Reporting(training, task.checkpoint_seconds, output, tell)
    for progress in training.run(every=max(1, training.total // CURVE_POINTS)):
        reporting.note(progress)


def _resume(training: proxy.FineTuning, path: Path) -> bool:
    """Whether the training goes on from there. A checkpoint that cannot be used costs time, and nothing else."""
    try:
        training.restore(read_checkpoint(path))
    except (ValueError, proxy.ProxyError) as error:
        log.warning("the training begins anew: %s", error)
        return False
    return True


class _Reporting:
    """Collects points of the curve, and says when it is time to tell them and to keep a checkpoint.

    Args:
        training: that runs.
        seconds: between two checkpoints, at least.
        output: where checkpoints are written.
        tell: is told.
    """

    def __init__(self, training: proxy.FineTuning, seconds: float, output: Path, tell: Tell) -> None:
        self._training, self._output, self._tell = training, output, tell
        self._least_seconds = self._between = seconds
        self._points: list[TuningPoint] = []
        self._told = self._kept = time.monotonic()

    def note(self, progress: proxy.Progress) -> None:
        """One more point."""
        point = TuningPoint(step=progress.steps, loss=progress.loss, learning_rate=progress.learning_rate)
        self._points.append(point)
        now = time.monotonic()
        is_last = progress.steps == self._training.total
        if now - self._kept >= self._between and not is_last:
            self._say(self._checkpoint(), progress.steps)
        elif is_last or now - self._told >= _TELL_SECONDS:
            self._say(None, None)

    def _say(self, checkpoint: str | None, step: int | None) -> None:
        self._tell(Advance(points=self._points, checkpoint=checkpoint, checkpoint_step=step))
        self._points, self._told = [], time.monotonic()

    def _checkpoint(self) -> str:
        """Its name in ``output``; the next one waits long enough that they do not slow the training down."""
        began = time.monotonic()
        name = f"checkpoint-{self._training.done}"
        write_checkpoint(self._training.state(), self._output / name)
        self._kept = time.monotonic()
        self._between = max(self._least_seconds, _CHECKPOINT_SHARE * (self._kept - began))
        return name


def _first(images: Images, count: int) -> Iterator[proxy.Inputs]:
    """About so many of the validation images, in the pieces that fit at once."""
    for piece in images.pieces():
        if count <= 0:
            return
        yield piece[:count]
        count -= len(piece)


def _too_large(task: FineTuneTask, error: RuntimeError) -> EvaluationError:
    return EvaluationError(
        "evaluation_out_of_memory",
        "the device has not enough memory for a step of this training",
        got=" ".join(str(error).split())[:300],
        expected=f"memory for {task.recipe.batch_size} images with their gradients",
        mend="ask for a smaller batch_size in the recipe, or start a worker on a larger device",
    )
