"""The profile of a model: sites, rank grids and the relative error at every rank."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

import proxy
from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.jobs import InspectOutcome, InspectTask
from ranksearch.contracts.profiles import Cost, GridPoint, ModelProfile, SiteProfile
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.session import Session

__all__ = ["SOLVER", "inspect"]

SOLVER = "epc"


def inspect(session: Session, task: InspectTask, files: Mapping[str, Path]) -> InspectOutcome:
    """Compute a model's profile; the factors behind it land in the factor cache.

    Raises:
        DocumentError: the model document is not usable.
        ProxyError: the network cannot be run or a weight is not finite.
    """
    start = time.perf_counter()
    network = session.network(task.model, files[task.model.sha256])
    inputs = session.example_inputs(network)
    dense = proxy.cost(network, inputs)
    sites = [_site_profile(session, network, site) for site in proxy.find_sites(network, inputs)]
    profile = ModelProfile(
        dense=Cost(macs=dense.macs, params=dense.params),
        sites=sites,
        input_shapes=[list(tensor.shape[1:]) for tensor in inputs],
        output_shapes=[list(tensor.shape[1:]) for tensor in _outputs(network, inputs)],
        solver=SOLVER,
        seconds=time.perf_counter() - start,
    )
    return InspectOutcome(profile=profile)


def _site_profile(session: Session, network: nn.Module, site: proxy.Site) -> SiteProfile:
    weight = network.get_submodule(site.name).weight
    assert isinstance(weight, Tensor)  # noqa: S101 - sites are convolutions and linear layers
    grids = {
        method: [
            GridPoint(
                ranks=LayerRanks.model_validate({"method": method, **point.ranks}),
                macs=point.macs,
                params=point.params,
                relative_error=error,
            )
            for point, error in zip(points, _errors(session, weight, site, method), strict=True)
        ]
        for method, points in site.grids.items()
    }
    return SiteProfile(
        name=site.name,
        kind=site.kind,
        weight_shape=list(site.weight_shape),
        macs=site.macs,
        params=site.params,
        reason_dense=site.reason_dense,
        grids=grids,
    )


def _errors(session: Session, weight: Tensor, site: proxy.Site, method: str) -> list[float]:
    """Relative error at every point of a grid, with the factors kept for the trials."""
    ranks = [point.ranks for point in site.grids[method]]
    keys = [
        proxy.factor_key(site.weight_hash, method, rank, site.weight_shape, layout=site.layout, solver=SOLVER)
        for rank in ranks
    ]
    found = {key: session.factors.get(key) for key in keys}
    missing = [(key, rank) for key, rank in zip(keys, ranks, strict=True) if found[key] is None]
    problems = [proxy.Problem(weight, method, rank, site.layout) for _, rank in missing]
    made = proxy.decompose_many(problems, solver=SOLVER)
    for (key, _), factors in zip(missing, made, strict=True):
        session.factors.put(key, factors)
        found[key] = factors
    return [factors.relative_error for factors in found.values() if factors is not None]


@torch.no_grad()
def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Every tensor that the network answers, in order."""
    pending = [network(*inputs)]
    while pending:
        answer = pending.pop(0)
        if isinstance(answer, Tensor):
            yield answer
        elif isinstance(answer, Mapping):
            pending[:0] = answer.values()
        elif isinstance(answer, list | tuple):
            pending[:0] = answer
        else:
            raise DocumentError(
                "document_graph_invalid",
                "the network answers something that is no tensor",
                got=type(answer).__name__,
            )
