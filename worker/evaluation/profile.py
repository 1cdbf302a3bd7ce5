"""The profile of a model: sites, rank grids, the relative error and the time at every rank, what rules would choose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import proxy
from ranksearch.contracts.errors import DocumentError
from ranksearch.contracts.jobs import InspectOutcome, InspectTask
from ranksearch.contracts.model_summaries import TensorSpec
from ranksearch.contracts.profiles import Cost, GridPoint, ModelProfile, Rule, SiteProfile
from ranksearch.contracts.ranks import LayerRanks
from ranksearch.documents.tensor_names import output_names
from worker.evaluation.latency import measure_latency, one_image
from worker.evaluation.latency_table import LayerTimes, layer_times
from worker.evaluation.rules import macs_by_rule
from worker.evaluation.session import Session

__all__ = ["SOLVER", "inspect"]

SOLVER = "epc"
_LATENCY_SECONDS = 0.5


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
    found = proxy.find_sites(network, inputs)
    errors = _errors(session, network, found)
    rules = macs_by_rule(network, found)
    image = [one_image(tensor) for tensor in inputs]
    times = layer_times(network, found, image)
    sites = [_site_profile(site, errors, rules.get(site.name, {}), times.get(site.name)) for site in found]
    outputs = _outputs(network, inputs)
    profile = ModelProfile(
        dense=Cost(macs=dense.macs, params=dense.params),
        sites=sites,
        input_shapes=[list(tensor.shape[1:]) for tensor in inputs],
        output_shapes=[list(spec.shape) for spec in outputs],
        inputs=list(network.input_specs),  # type: ignore[arg-type]  # load() sets them
        outputs=outputs,
        latency=measure_latency(network, image, device_name=session.device_name, seconds=_LATENCY_SECONDS),
        solver=SOLVER,
        seconds=time.perf_counter() - start,
    )
    return InspectOutcome(profile=profile)


def _site_profile(
    site: proxy.Site,
    errors: Mapping[tuple[str, str], list[float]],
    rules: dict[Rule, list[int]],
    times: LayerTimes | None,
) -> SiteProfile:
    grids = {
        method: [
            GridPoint(
                ranks=LayerRanks.model_validate({"method": method, **point.ranks}),
                macs=point.macs,
                params=point.params,
                relative_error=error,
                latency_ms=None if times is None else times.grids[method][number],
            )
            for number, (point, error) in enumerate(zip(points, errors[site.name, method], strict=True))
        ]
        for method, points in site.grids.items()
    }
    return SiteProfile(
        name=site.name,
        kind=site.kind,
        weight_shape=list(site.weight_shape),
        macs=site.macs,
        params=site.params,
        latency_ms=None if times is None else times.dense,
        reason_dense=site.reason_dense,
        rules=rules,
        grids=grids,
    )


def _errors(session: Session, network: nn.Module, sites: Sequence[proxy.Site]) -> dict[tuple[str, str], list[float]]:
    """(Site, method) → relative error at every point of its grid, with the factors kept for the trials.

    Sites of one shape are decomposed in one batch, which is many times faster than one by one; not all sites at
    once, so that the factors of a large network need not be in memory together.
    """
    alike: dict[object, list[proxy.Site]] = {}
    for site in sites:
        alike.setdefault((site.weight_shape, site.layout), []).append(site)
    errors: dict[tuple[str, str], list[float]] = {}
    for group in alike.values():
        errors |= _errors_of(session, network, group)
    return errors


def _errors_of(session: Session, network: nn.Module, sites: Sequence[proxy.Site]) -> dict[tuple[str, str], list[float]]:
    keys = {
        (site.name, method): [
            proxy.factor_key(
                site.weight_hash, method, point.ranks, site.weight_shape, layout=site.layout, solver=SOLVER
            )
            for point in points
        ]
        for site in sites
        for method, points in site.grids.items()
    }
    errors: dict[str, float] = {}
    problems: dict[str, proxy.Problem] = {}  # by key: layers with the same weight are decomposed once
    for site in sites:
        for method, points in site.grids.items():
            for key, point in zip(keys[site.name, method], points, strict=True):
                kept = session.factors.get(key)
                if kept is not None:
                    errors[key] = kept.relative_error
                else:
                    problems[key] = proxy.Problem(_weight(network, site), method, point.ranks, site.layout)
    for part in _bounded(problems):
        made = proxy.decompose_many([problems[key] for key in part], solver=SOLVER)
        for key, factors in zip(part, made, strict=True):
            session.factors.put(key, factors)
            errors[key] = factors.relative_error
    return {where: [errors[key] for key in own] for where, own in keys.items()}


_BYTES_AT_ONCE = 1 << 28


def _bounded(problems: Mapping[str, proxy.Problem]) -> Iterator[list[str]]:
    """Keys of problems whose factors may be in memory together; a factorised layer is smaller than the dense one."""
    part: list[str] = []
    held = 0
    for key, problem in problems.items():
        part.append(key)
        held += problem.weight.nbytes
        if held >= _BYTES_AT_ONCE:
            yield part
            part, held = [], 0
    if part:
        yield part


def _weight(network: nn.Module, site: proxy.Site) -> Tensor:
    weight = network.get_submodule(site.name).weight
    assert isinstance(weight, Tensor)  # noqa: S101 - sites are convolutions and linear layers
    return weight


@torch.no_grad()
def _outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[TensorSpec]:
    """Every tensor that the network answers, in order."""
    answer = network(*inputs)
    leaves = [leaf for leaf in pytree.tree_leaves(answer) if leaf is not None]
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or not leaf.ndim:
            raise DocumentError(
                "document_graph_invalid",
                "the network answers something that is no tensor with a batch",
                got="a single number" if isinstance(leaf, Tensor) else type(leaf).__name__,
            )
    return [
        TensorSpec(name=name, shape=tuple(leaf.shape[1:]), dtype=str(leaf.dtype).removeprefix("torch."))
        for name, leaf in zip(output_names(answer), leaves, strict=True)
    ]
