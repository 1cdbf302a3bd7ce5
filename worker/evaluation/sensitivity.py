"""The independent table: how far each layer alone, at each of its choices, moves the network's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

import proxy
from ranksearch.contracts.jobs import SensitivityOutcome, SensitivityTask
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.profile import SOLVER
from worker.evaluation.session import Session
from worker.evaluation.shared_factors import fetch_shared

__all__ = ["estimate_sensitivity"]

Cell = tuple[str, int]
"""A layer, and the number of the choice tried there."""


def estimate_sensitivity(session: Session, task: SensitivityTask, files: Mapping[str, Path]) -> SensitivityOutcome:
    """The change of the dense network's outputs by every choice of every layer, alone.

    Raises:
        DatasetError: the network does not take these images.
        ProxyError: a choice does not fit its layer, or something is not finite.
    """
    network = session.network(task.model, files[task.model.sha256])
    images = session.images(task.calibration, files[task.calibration.blob.sha256], task.batch_size, network)
    dense = session.reference(task.model, network, task.calibration, images)
    variances = dense.variances if task.measure == "outputs" else None
    cells = _factors(session, task, network)
    changes = dict(proxy.output_changes(network, cells, images.pieces(), variances=variances, seed=task.seed))
    return SensitivityOutcome(
        change={
            name: [changes.get((name, number), 0.0) for number in range(len(tried))]
            for name, tried in task.choices.items()
        }
    )


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
