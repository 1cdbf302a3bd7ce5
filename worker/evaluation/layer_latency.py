"""Each factorised layer against the dense one that it replaces, at the input that it has in its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

import proxy
from ranksearch.contracts.latency import LayerLatency, LayerTime, Measured
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.layer_inputs import inputs_of, like
from worker.evaluation.timing import in_turns

__all__ = ["layer_latencies"]

_SECONDS = 0.4
"""That a layer may take at one batch size, about."""
_ROUNDS = 24
_FEWEST = 12
"""With which the interval of the speedup leaves two rounds on either side out;"""
_LONGEST = 20.0
"""seconds after which there are no more all the same."""
_BLOCK = 0.003


def layer_latencies(
    dense: nn.Module,
    compressed: nn.Module,
    choices: Mapping[str, LayerRanks],
    inputs: Mapping[int, Sequence[Tensor]],
) -> list[LayerLatency]:
    """The layers that are factorised, in the order in which the network calls them.

    Args:
        dense: the network, in eval mode; run once for each batch size.
        compressed: the same with chains of layers in the places of some.
        choices: layer → what became of it.
        inputs: batch size → arguments of the forward pass, on the networks' device, in the memory format wanted.
    """
    factorised = [name for name, choice in choices.items() if choice.method != "dense"]
    entering = {batch: inputs_of(dense, factorised, given) for batch, given in inputs.items()}
    first, *_ = entering.values()
    found = []
    for name, seen in first.items():
        layer, chain = dense.get_submodule(name), compressed.get_submodule(name)
        device = next(iter(inputs.values()))[0].device
        image = like(seen.first, device)
        macs, chain_macs = proxy.cost(layer, image).macs, proxy.cost(chain, image).macs
        found.append(
            LayerLatency(
                name=name,
                choice=choices[name],
                calls=seen.calls,
                dense_macs=seen.calls * macs,
                macs_fraction=chain_macs / macs if macs else 1.0,
                times=[
                    LayerTime(batch=batch, measured=_measured(layer, chain, like(given[name].first, device)))
                    for batch, given in entering.items()
                ],
            )
        )
    return found


def _measured(layer: nn.Module, chain: nn.Module, entering: Tensor) -> Measured:
    calls = [partial(layer, entering), partial(chain, entering)]
    turns = in_turns(
        calls, entering.device, seconds=_SECONDS, most=_ROUNDS, least=_FEWEST, longest=_LONGEST, block=_BLOCK
    )
    return turns.compared()
