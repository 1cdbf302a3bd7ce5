"""A compressed copy of a model: every chosen layer replaced by its factorised chain."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from proxy.cache import FactorCache, factor_key, weight_hash
from proxy.decompose import Problem, decompose_many
from proxy.errors import ProxyError, RankOutOfRange, ShapeMismatch, UnknownLayer, UnsupportedLayer, UnsupportedMethod
from proxy.factors import Factors
from proxy.layers import DenseLayer, factorized_layer
from proxy.layout import Layout
from proxy.ranks import Ranks, parse_ranks
from proxy.sites import layer_kind, static_reasons
from proxy.solvers import refuse_shape

__all__ = ["assemble", "compress", "factorize"]


def compress(
    model: nn.Module,
    ranks: Mapping[str, Mapping[str, Any]],
    cache: FactorCache | None = None,
    *,
    hashes: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401 - solver options, as decompose
) -> nn.Module:
    """A copy of the model with factorised layers; the original is untouched and shares no tensor with it.

    Args:
        model: any module.
        ranks: layer name → ``{"method": "cp3", "rank": 48}``, ``{"method": "tucker2", "ranks": {"out": …,
            "in": …}}`` or ``{"method": "dense"}``; layers not named stay dense.
        cache: where factors are looked up and kept; with all of them there, nothing is decomposed.
        hashes: layer name → :func:`proxy.weight_hash`, so that a search does not hash the same weights again.
        **options: solver options of :func:`proxy.decompose`.

    Raises:
        NotFinite: NaN or infinity in a weight.
        RankOutOfRange: ranks malformed or out of range.
        UnknownLayer: no module of that name.
        UnsupportedLayer: a layer that cannot be factorised, with the reason.
        UnsupportedMethod: no such method, or not for this layer.
    """
    return assemble(model, factorize(model, ranks, cache, hashes=hashes, **options))


def assemble(model: nn.Module, factors: Mapping[str, Factors]) -> nn.Module:
    """A copy of the model with these layers factorised; see :func:`compress`.

    Args:
        model: any module.
        factors: layer name → factors of its weight, from :func:`factorize`.

    Raises:
        ShapeMismatch: factors of another weight.
        UnknownLayer: no module of that name.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for name in factors:
        if name not in modules:
            raise _unknown(name, list(modules))
        _check_fit(name, modules[name], factors[name])
    # A memo that maps each replaced module to its chain makes deepcopy put the chain wherever the module was,
    # under all its names, and never copy the dense weight.
    memo: dict[int, Any] = {
        id(modules[name]): factorized_layer(modules[name], found) for name, found in factors.items()
    }
    copied: nn.Module = copy.deepcopy(model, memo)
    return copied


def _check_fit(name: str, module: nn.Module, factors: Factors) -> None:
    weight = module._parameters.get("weight")  # noqa: SLF001 - None for modules without one
    if not layer_kind(module) or weight is None:
        raise ShapeMismatch("there is no weight to take the place of", layer=name, got=type(module).__name__)
    layout = Layout.of(module)
    if tuple(weight.shape) != factors.weight_shape or layout != factors.layout:
        raise ShapeMismatch(
            "these are factors of another weight",
            layer=name,
            got=f"factors of a weight of shape {factors.weight_shape}, {factors.layout}",
            expected=f"shape {tuple(weight.shape)}, {layout}",
        )


def factorize(
    model: nn.Module,
    ranks: Mapping[str, Mapping[str, Any]],
    cache: FactorCache | None = None,
    *,
    hashes: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401 - solver options, as decompose
) -> dict[str, Factors]:
    """Layer name → factors for a rank vector: the part of :func:`compress` that may take long.

    Layers that the rank vector leaves dense are left out. Arguments and errors are those of :func:`compress`.
    """
    return _factors(_chosen(model, ranks), cache, hashes or {}, options)


def _chosen(model: nn.Module, ranks: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[DenseLayer, str, Ranks]]:
    """Layer name → (module, method, ranks) of the layers to factorise, checked."""
    reasons = static_reasons(model, ranks)
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen = {}
    for name, choice in ranks.items():
        try:
            parsed = _parsed(name, choice, modules, reasons)
        except ProxyError as error:
            raise error.at(name) from None
        if parsed is not None:
            chosen[name] = parsed
    return chosen


def _parsed(
    name: str, choice: object, modules: Mapping[str, nn.Module], reasons: Mapping[str, str | None]
) -> tuple[DenseLayer, str, Ranks] | None:
    module = modules.get(name)
    if module is None:
        raise _unknown(name, list(modules), [name for name, module in modules.items() if layer_kind(module)])
    if not isinstance(choice, Mapping) or "method" not in choice:
        raise RankOutOfRange(
            "a layer's choice names its method",
            got=repr(choice),
            expected='such as {"method": "cp3", "rank": 48}',
        )
    if choice["method"] == "dense":
        return None
    if not layer_kind(module):
        raise UnsupportedLayer(f"{type(module).__name__} is neither a convolution nor a linear layer")
    reason = reasons.get(name)  # an alias of a layer has no entry of its own
    if reason is not None:
        raise UnsupportedLayer(reason, got=repr(choice), mend="leave it out, or choose the method 'dense'")
    shape = Layout.of(module).kernel_shape(module.weight.shape)  # type: ignore[arg-type]  # convolutions and linear layers have one
    misfit = refuse_shape(choice["method"], shape)
    if misfit is not None:
        raise UnsupportedMethod(misfit, got=f"a kernel of shape {shape}", mend="choose a method of its rank grids")
    rest = {key: value for key, value in choice.items() if key != "method"}
    return module, choice["method"], parse_ranks(choice["method"], rest, shape)  # type: ignore[return-value]  # static_reasons admits DenseLayer only


def _unknown(name: str, modules: list[str], layers: list[str] | None = None) -> UnknownLayer:
    near = get_close_matches(name, modules, n=3) or sorted(layers or modules)[:5]
    return UnknownLayer("the model has no such module", got=repr(name), expected=f"a name such as {near}")


def _factors(
    chosen: Mapping[str, tuple[DenseLayer, str, Ranks]],
    cache: FactorCache | None,
    hashes: Mapping[str, str],
    options: dict[str, Any],
) -> dict[str, Factors]:
    """Layer name → factors, from the cache or decomposed and put there."""
    found: dict[str, Factors] = {}
    keys: dict[str, str] = {}
    key_options = {name: value for name, value in options.items() if name != "device"}
    for name, (module, method, ranks) in chosen.items() if cache is not None else ():
        hashed = hashes.get(name) or weight_hash(module.weight)
        shape, layout = tuple(module.weight.shape), Layout.of(module)
        keys[name] = factor_key(hashed, method, ranks, shape, layout=layout, **key_options)
        kept = cache.get(keys[name]) if cache is not None else None
        if kept is not None:
            found[name] = kept
    missing = [name for name in chosen if name not in found]
    problems = [
        Problem(module.weight, method, ranks, Layout.of(module))
        for module, method, ranks in (chosen[name] for name in missing)
    ]
    for name, factors in zip(missing, decompose_many(problems, **options), strict=True):
        found[name] = factors
        if cache is not None:
            cache.put(keys[name], factors)
    return found
