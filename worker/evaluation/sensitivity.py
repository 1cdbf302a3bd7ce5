"""The independent table: the network with one layer factorised at a time, every other layer dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import proxy
from proxy.tally import Tally
from ranksearch.contracts.jobs import SensitivityOutcome, SensitivityTask
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.calibration import calibrate
from worker.evaluation.pieces import in_pieces
from worker.evaluation.profile import SOLVER
from worker.evaluation.replay import DensePass, recorded_bytes
from worker.evaluation.session import Images, Session
from worker.evaluation.shared_factors import fetch_shared

__all__ = ["measure_sensitivity"]

_BYTES_AT_ONCE = 1 << 29

Cell = tuple[str, int]
"""A layer, and the number of the choice tried there."""


def measure_sensitivity(session: Session, task: SensitivityTask, files: Mapping[str, Path]) -> SensitivityOutcome:
    """The distance from the dense network of every choice of every layer, alone.

    Raises:
        DatasetError: the network does not take these images.
        ProxyError: a choice does not fit its layer, or something is not finite.
    """
    torch.manual_seed(task.seed)
    network = session.network(task.model, files[task.model.sha256])
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, network)
    session.reference(task.model, network, task.validation, images)  # refuses images that the network does not take
    measure = _by_reconstruction if task.level == "reconstruction" else _by_statistics
    moved = dict(measure(session, task, files))
    return SensitivityOutcome(
        kl={
            name: [moved.get((name, number), 0.0) for number in range(len(tried))]
            for name, tried in task.choices.items()
        }
    )


def _by_statistics(session: Session, task: SensitivityTask, files: Mapping[str, Path]) -> Iterator[tuple[Cell, float]]:
    """As trials go: every BatchNorm of the network is re-estimated, hence nothing of the dense pass can be used."""
    network = session.network(task.model, files[task.model.sha256])
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, network)
    calibration = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, network)
    moments = session.moments(task.model, network, task.calibration, calibration)
    reference = session.reference(task.model, network, task.validation, images)
    for cell, factors in _factors(session, task, network):
        small = proxy.assemble(network, {cell[0]: factors})
        calibrate(small, calibration, moments, "statistics", session.device)
        with in_pieces(small, images.at_once), in_pieces(network, images.at_once):
            value = proxy.score(small, images.only(), reference=reference, metric=task.measure).value
        yield cell, value


def _by_reconstruction(
    session: Session, task: SensitivityTask, files: Mapping[str, Path]
) -> Iterator[tuple[Cell, float]]:
    """With all other layers dense, what a trial does comes to less.

    The layer is refitted alone, on what enters it in the dense network; what precedes it is replayed.
    """
    network = session.network(task.model, files[task.model.sha256])
    images = session.images(task.validation, files[task.validation.blob.sha256], task.batch_size, network)
    calibration = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, network)
    variances = session.reference(task.model, network, task.validation, images).variances
    tally = partial(Tally, task.measure, None, variances)
    portion: dict[Cell, nn.Module] = {}
    held = 0
    for cell, chain in _refitted(session, task, network, calibration):
        portion[cell] = chain
        held += sum(parameter.nbytes for parameter in chain.parameters())
        if held >= _BYTES_AT_ONCE:
            yield from _measured(network, portion, images, tally)
            portion, held = {}, 0
    yield from _measured(network, portion, images, tally)


def _refitted(
    session: Session, task: SensitivityTask, network: nn.Module, calibration: Images
) -> Iterator[tuple[Cell, nn.Module]]:
    entering: dict[str, proxy.DenseFeatures] = {}  # of the layer at work only
    for cell, factors in _factors(session, task, network):
        alone = nn.Sequential(network.get_submodule(cell[0]))
        if cell[0] not in entering:
            entering = {cell[0]: proxy.record_dense(alone, _entering(network, alone[0], calibration), ["0"])}
        small = proxy.assemble(alone, {"0": factors})
        proxy.calibrate(small, [], reference=entering[cell[0]], level="reconstruction")
        yield cell, small


def _factors(session: Session, task: SensitivityTask, network: nn.Module) -> Iterator[tuple[Cell, proxy.Factors]]:
    hashes = session.hashes(task.model, network)
    every = [(name, _as_proxy_takes_it(choice)) for name, tried in task.choices.items() for choice in tried]
    fetch_shared(session, network, every, hashes)
    for name, tried in task.choices.items():
        for number, choice in enumerate(tried):
            ranks = {name: _as_proxy_takes_it(choice)}
            found = proxy.factorize(network, ranks, session.factors, hashes=hashes, solver=SOLVER)
            if name in found:  # a choice to stay dense has no factors, and does not diverge
                yield (name, number), found[name]


def _as_proxy_takes_it(choice: LayerRanks) -> dict[str, Any]:
    return choice.model_dump(by_alias=True, exclude_none=True)


class _ReachedError(Exception):
    """The layer's input is there: the rest of the pass is not needed."""


@torch.no_grad()
def _entering(network: nn.Module, layer: nn.Module, images: Images) -> list[Tensor]:
    """What a layer is given in the dense network, batch by batch; of its first call in each."""
    found: list[Tensor] = []

    def reach(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(args[0])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(reach)
    try:
        for batch in images.pieces():
            with suppress(_ReachedError):
                batch.into(network)
    finally:
        handle.remove()
    return found


def _measured(
    network: nn.Module, chains: Mapping[Cell, nn.Module], images: Images, tally: Callable[[], Tally]
) -> Iterator[tuple[Cell, float]]:
    tallies = {cell: tally() for cell in chains}
    for batch in images.only():
        at_once = max(1, _BYTES_AT_ONCE // max(recorded_bytes(network, batch[:1]), 1))
        for part in batch.pieces(min(at_once, images.at_once)):
            dense = DensePass(network, part)
            for cell, chain in chains.items():
                answer = dense.exchanged(network.get_submodule(cell[0]), chain)
                tallies[cell].add(answer, None, dense.outputs, images=len(part))
    for cell, counted in tallies.items():
        yield cell, counted.means()[counted.metric]
