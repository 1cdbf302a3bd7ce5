import copy

import pytest
import torch

import proxy
from tests.proxy.conftest import Small

CHOICE = {
    "conv1": {"method": "cp3", "rank": 8},
    "conv2": {"method": "tucker2", "ranks": {"out": 6, "in": 5}},
    "conv3": {"method": "spatial_svd", "rank": 9},
    "fc": {"method": "svd", "rank": 4},
}


def test_the_original_is_untouched(small):
    before = copy.deepcopy(small.state_dict())
    compressed = proxy.compress(small, CHOICE)
    with torch.no_grad():
        for parameter in compressed.parameters():
            parameter.zero_()
    assert type(small.conv1) is torch.nn.Conv2d
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


def test_the_outputs_are_those_of_the_reconstructed_weights(small, images):
    expected = copy.deepcopy(small)
    with torch.no_grad():
        for name, choice in CHOICE.items():
            weight = expected.get_submodule(name).weight
            ranks = {key: value for key, value in choice.items() if key != "method"}
            weight.copy_(proxy.decompose(weight, choice["method"], ranks).reconstruct())
        torch.testing.assert_close(proxy.compress(small, CHOICE)(images[0]), expected(images[0]), rtol=1e-4, atol=1e-4)


def test_layers_not_named_and_dense_ones_stay(small):
    compressed = proxy.compress(small, {"conv1": {"method": "dense"}})
    assert not any(isinstance(module, proxy.FactorizedLayer) for module in compressed.modules())


def test_a_full_cache_saves_all_decompositions(small, monkeypatch):
    cache = proxy.MemoryCache()
    first = proxy.compress(small, CHOICE, cache)
    monkeypatch.setattr("proxy.assembly.decompose_many", lambda problems, **_: [None for _ in problems])
    second = proxy.compress(small, CHOICE, cache, hashes=proxy.weight_hashes(small))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_cache_is_not_changed_by_calibration(small, images):
    cache = proxy.MemoryCache()
    compressed = proxy.compress(small, CHOICE, cache)
    before = {key: {n: t.clone() for n, t in f.tensors.items()} for key, f in cache.entries.items()}
    proxy.calibrate(compressed, images, reference=small)
    for key, factors in cache.entries.items():
        assert all(torch.equal(before[key][name], tensor) for name, tensor in factors.tensors.items())


def test_the_key_does_not_depend_on_how_the_weight_is_given(small):
    weight = small.conv1.weight
    assert proxy.factor_key(weight, "cp3", 4) == proxy.factor_key(
        proxy.weight_hash(weight), "cp3", {"rank": 4}, tuple(weight.shape)
    )


@pytest.mark.parametrize(
    "other",
    [
        {"ranks": 5},
        {"method": "tucker2", "ranks": (4, 3)},
        {"solver": "als"},
        {"max_error_slack": 0.02},
        {"seed": 1},
        {"max_sweeps": 3},
        {"tolerance": 1e-9},
        {"objective": "energy"},
        {"dtype": torch.float16},
        {"weight": torch.zeros(12, 3, 3, 3)},
    ],
    ids=str,
)
def test_everything_that_decides_the_factors_decides_the_key(small, other):
    same = {"weight": small.conv1.weight, "method": "cp3", "ranks": 4}
    assert proxy.factor_key(**same) != proxy.factor_key(**{**same, **other})


@pytest.mark.parametrize("layout", [proxy.Layout(2), proxy.Layout(1, transposed=True)])
def test_the_layout_decides_the_key(layout):
    weight = torch.zeros(8, 8, 3, 3)
    assert proxy.factor_key(weight, "cp3", 4) == proxy.factor_key(weight, "cp3", 4, layout=proxy.Layout())
    assert proxy.factor_key(weight, "cp3", 4) != proxy.factor_key(weight, "cp3", 4, layout=layout)


def test_the_solver_does_not_matter_to_an_exact_method(small):
    weight = small.fc.weight
    assert proxy.factor_key(weight, "svd", 4, solver="als") == proxy.factor_key(weight, "svd", 4)


def test_the_key_stays_the_same_between_releases():
    assert proxy.factor_key(torch.zeros(4, 4, 3, 3), "cp3", 4)[:12] == "c5c8e8ec8b98"


def test_an_unknown_layer_is_refused_with_names_like_it(small):
    with pytest.raises(proxy.UnknownLayer, match="conv1"):
        proxy.compress(small, {"conv9": {"method": "cp3", "rank": 2}})


def test_a_layer_of_another_kind_is_refused(small):
    with pytest.raises(proxy.UnsupportedLayer, match="BatchNorm2d"):
        proxy.compress(small, {"bn1": {"method": "cp3", "rank": 2}})


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"method": "cp3", "rank": 10**6}, proxy.RankOutOfRange),
        ({"method": "cp3"}, proxy.RankOutOfRange),
        ({"rank": 4}, proxy.RankOutOfRange),
        ("cp3", proxy.RankOutOfRange),
        ({"method": "svd", "rank": 2}, proxy.UnsupportedMethod),
        ({"method": "magic", "rank": 2}, proxy.UnsupportedMethod),
    ],
    ids=str,
)
def test_a_bad_choice_is_refused_with_the_name_of_the_layer(small, choice, error):
    with pytest.raises(error, match="conv1") as caught:
        proxy.compress(small, {"conv1": choice})
    assert caught.value.layer == "conv1"


def test_factors_of_another_layer_are_refused(small):
    factors = proxy.factorize(small, {"conv1": CHOICE["conv1"]})
    with pytest.raises(proxy.ShapeMismatch):
        proxy.assemble(small, {"conv2": factors["conv1"]})


def test_factors_of_another_layout_are_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.ConvTranspose2d(8, 8, 3))
    factors = proxy.factorize(model, {"0": {"method": "cp3", "rank": 2}})
    with pytest.raises(proxy.ShapeMismatch, match="transposed=True"):
        proxy.assemble(model, {"1": factors["0"]})


def test_factors_for_no_layer_at_all_are_refused(small):
    factors = proxy.factorize(small, {"conv1": CHOICE["conv1"]})
    with pytest.raises(proxy.ShapeMismatch, match="no weight"):
        proxy.assemble(small, {"bn1": factors["conv1"]})


def test_equal_weights_of_unlike_layers_do_not_share_factors():
    """An ordinary and a transposed layer of the same weight, through one cache."""
    model = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3), torch.nn.ConvTranspose2d(8, 8, 3))
    model[1].load_state_dict(model[0].state_dict())
    cache = proxy.MemoryCache()
    choice = {"method": "tucker2", "ranks": {"out": 8, "in": 8}}
    x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(proxy.compress(model, {"0": choice, "1": choice}, cache)(x), model(x))
    assert len(cache.entries) == 2


def test_the_global_generator_is_left_alone(small):
    before = torch.get_rng_state()
    proxy.compress(small, CHOICE)
    assert torch.equal(before, torch.get_rng_state())


def test_a_compressed_model_exports(small, images):
    compressed = proxy.compress(small, CHOICE).eval()
    exported = torch.export.export(compressed, (images[0],)).module()
    torch.testing.assert_close(exported(images[0]), compressed(images[0]))


def test_an_exported_model_has_no_layers_to_find(images):
    program = torch.export.unflatten(torch.export.export(Small().eval(), (images[0],)))
    assert proxy.find_sites(program, images[0]) == []


def test_another_type_is_not_taken_from_the_cache(small):
    cache = proxy.MemoryCache()
    ranks = {"conv2": {"method": "cp3", "rank": 4}}
    proxy.compress(small, ranks, cache, dtype=torch.float16)
    wide = proxy.factorize(small, ranks, cache)["conv2"]
    assert wide.tensors["out"].dtype == torch.float32
