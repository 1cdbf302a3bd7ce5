"""What no method can work on is refused by everything that takes it, and the error says how to mend it."""

import pytest
import torch

import proxy
from proxy.errors import NotFinite, ProxyError, RankOutOfRange, ShapeMismatch, UnsupportedMethod
from proxy.ranks import METHODS, maximum_ranks
from tests.proxy.conftest import WAYS, seeded

OUT, INN = 5, 4
PLAIN = (OUT, INN, 3, 3)

CALLS = {
    "decompose": proxy.decompose,
    "decompose_many": lambda weight, method, ranks: proxy.decompose_many([(weight, method, ranks)]),
    "rank_ladder": lambda weight, method, ranks: proxy.rank_ladder(weight, method, [ranks]),
    "ranks_for_error": lambda weight, method, _: proxy.ranks_for_error(weight, method, 0.5),
    "vbmf_ranks": lambda weight, method, _: proxy.vbmf_ranks(weight, method),
    "energy_ranks": lambda weight, method, _: proxy.energy_ranks(weight, method),
}


def ways_in():
    return [
        pytest.param(call, method, id=f"{name}-{method}")
        for name, call in CALLS.items()
        for method in METHODS
        if "cp3" not in method or name not in ("vbmf_ranks", "energy_ranks")
    ]


def plain(method):
    return seeded(OUT, INN) if method == "svd" else seeded(*PLAIN)


def ones(method):
    return tuple(1 for _ in maximum_ranks(method, PLAIN))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("call", "method"), ways_in())
def test_no_numbers_are_refused_by_everything(call, method, bad):
    weight = plain(method)
    weight[1, 2] = bad
    with pytest.raises(NotFinite, match="mend"):
        call(weight, method, ones(method))


@pytest.mark.parametrize(("call", "method"), ways_in())
def test_empty_weights_are_refused_by_everything(call, method):
    with pytest.raises(ShapeMismatch, match="expected"):
        call(plain(method)[:0], method, ones(method))


@pytest.mark.parametrize("name", ["decompose", "decompose_many", "rank_ladder"])
@pytest.mark.parametrize("method", METHODS)
def test_ranks_below_one_and_above_the_maximum_are_refused(method, name):
    weight = plain(method)
    top = maximum_ranks(method, weight.shape)
    for at in range(len(top)):
        for bad in (0, -1, top[at] + 1):
            ranks = [bad if at == other else limit for other, limit in enumerate(top)]
            with pytest.raises(RankOutOfRange, match="expected"):
                CALLS[name](weight, method, ranks)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_not_for_the_shape_says_which_is(method):
    weight = seeded(*PLAIN) if method == "svd" else seeded(OUT, INN)
    for call in CALLS.values():
        with pytest.raises(UnsupportedMethod, match="mend"):
            call(weight, method, ones(method))


@pytest.mark.parametrize(("method", "solver"), WAYS)
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_factors_that_do_not_fit_their_type_are_refused(method, solver, scale):
    """In single precision they fit; half precision would make them infinite or zero."""
    weight, ranks = plain(method) * scale, ones(method)
    fits = proxy.decompose(weight, method, ranks, solver=solver, dtype=torch.float32)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in fits.tensors.values())
    with pytest.raises(NotFinite, match=r"does not fit torch.float16[\s\S]*dtype=torch.float32"):
        proxy.decompose(weight, method, ranks, solver=solver, dtype=torch.float16)


def test_a_core_that_outgrows_half_precision_is_refused_until_a_wider_type_is_asked_for():
    weight = torch.full(PLAIN, 65000.0).half()
    with pytest.raises(NotFinite, match="does not fit"):
        proxy.decompose(weight, "tucker2", (1, 1))
    wide = proxy.decompose(weight, "tucker2", (1, 1), dtype=torch.float32)
    torch.testing.assert_close(wide.reconstruct(), weight.float())


def test_wide_factors_that_do_not_fit_the_layer_are_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(INN, OUT, 3)).half()
    torch.nn.init.constant_(model[0].weight, 65000.0)
    factors = proxy.factorize(model, {"0": {"method": "tucker2", "ranks": [1, 1]}}, dtype=torch.float32)
    with pytest.raises(NotFinite, match="does not fit"):
        proxy.assemble(model, factors)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["decompose", "decompose_many", "rank_ladder", "ranks_for_error"])
def test_a_type_that_holds_no_factors_is_refused(name, dtype):
    calls = {
        "decompose": lambda: proxy.decompose(plain("cp3"), "cp3", 2, dtype=dtype),
        "decompose_many": lambda: proxy.decompose_many([(plain("cp3"), "cp3", 2)], dtype=dtype),
        "rank_ladder": lambda: proxy.rank_ladder(plain("cp3"), "cp3", [2], dtype=dtype),
        "ranks_for_error": lambda: proxy.ranks_for_error(plain("cp3"), "cp3", 0.5, dtype=dtype),
    }
    with pytest.raises(UnsupportedMethod, match=r"torch\.float16"):
        calls[name]()


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": float("nan")},
        {"tolerance": -1e-3},
        {"max_error_slack": float("nan")},
        {"max_error_slack": 1.0},
        {"max_sweeps": 0},
        {"objective": "beauty"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(UnsupportedMethod, match="expected"):
        proxy.decompose(plain("cp3"), "cp3", 2, **options)


@pytest.mark.parametrize("bound", [float("nan"), -0.1, 1.1, float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_a_bound_that_is_none_is_refused(method, bound):
    with pytest.raises(UnsupportedMethod, match="from 0 to 1"):
        proxy.ranks_for_error(plain(method), method, bound)


def test_nothing_to_do_is_done():
    assert proxy.decompose_many([]) == []
    assert proxy.rank_ladders([]) == []
    assert proxy.rank_ladder(plain("cp3"), "cp3", []) == []


def test_every_refusal_is_the_packages_own():
    for bad in ({"rank": 2.5}, {"rank": "2"}, {}, None, {"rank": float("nan")}, {"ranks": {"out": 1}}, 10**30):
        for method in METHODS:
            with pytest.raises(ProxyError):
                proxy.decompose(plain(method), method, bad)
