import json
from dataclasses import replace

import pytest
import tensorly as tl
import torch

import proxy
from proxy.errors import NotFinite, RankOutOfRange, ShapeMismatch, UnsupportedMethod
from tests.proxy.conftest import cp_tensor, seeded

METHODS = [("cp3", (5,)), ("tucker2", (4, 3)), ("spatial_svd", (5,)), ("tucker2_cp3", (4, 3, 6))]


def same(one, other):
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_the_same_seed_gives_the_same_factors(method, ranks):
    weight = seeded(8, 7, 3, 3)
    torch.manual_seed(1)
    one = proxy.decompose(weight, method, ranks)
    torch.manual_seed(2)
    assert same(one, proxy.decompose(weight, method, ranks))


@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_many_at_once_are_the_same_as_one_by_one(method, ranks):
    weight, other = seeded(8, 7, 3, 3), seeded(8, 7, 3, 3, seed=1)
    many = proxy.decompose_many([(other, "cp3", 9), (weight, "cp3", 2), (weight, method, ranks)])
    assert same(many[2], proxy.decompose(weight, method, ranks))


def test_the_thread_count_does_not_matter_to_small_kernels():
    weight = seeded(8, 7, 3, 3)
    one = proxy.decompose(weight, "cp3", 9)
    torch.set_num_threads(2)
    assert same(one, proxy.decompose(weight, "cp3", 9))
    assert torch.get_num_threads() == 2


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    proxy.decompose(seeded(8, 7, 3, 3), "cp3", 9)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_an_all_zero_kernel_is_exact(method, ranks):
    found = proxy.decompose(torch.zeros(8, 7, 3, 3), method, ranks)
    assert found.relative_error == 0
    assert torch.equal(found.reconstruct(), torch.zeros(8, 7, 3, 3))


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_the_scale_of_a_kernel_does_not_matter(method, ranks, scale):
    weight = seeded(8, 7, 3, 3, dtype=torch.float32)
    found = proxy.decompose(weight * scale, method, ranks)
    assert found.relative_error == pytest.approx(proxy.decompose(weight, method, ranks).relative_error, rel=1e-3)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_a_kernel_with_no_numbers_is_refused(method, ranks, bad):
    weight = seeded(8, 7, 3, 3)
    weight[1, 2, 0, 1] = bad
    with pytest.raises(NotFinite, match="1 of 504 entries"):
        proxy.decompose(weight, method, ranks)


@pytest.mark.parametrize("weight", [torch.zeros(3), torch.zeros(3, 0), torch.zeros(3, 3, dtype=torch.int64)])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(ShapeMismatch):
        proxy.decompose(weight, "svd", 1)


def test_one_dead_input_channel_and_one_dead_output_channel():
    weight = seeded(8, 7, 3, 3)
    weight[:, 2] = 0
    weight[3] = 0
    found = proxy.decompose(weight, "cp3", 20)
    assert float(found.reconstruct()[3].abs().max()) < 0.05
    assert found.relative_error < 0.6


def test_rank_one_of_a_kernel_of_one_channel():
    assert proxy.decompose(seeded(1, 1, 3, 3), "cp3", 1).relative_error < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_factors_have_the_weights_type(dtype):
    found = proxy.decompose(seeded(8, 7, 3, 3).to(dtype), "cp3", 5)
    assert {tensor.dtype for tensor in found.tensors.values()} == {dtype}


def test_another_type_can_be_asked_for():
    assert proxy.decompose(seeded(8, 7), "svd", 3, dtype=torch.float32).tensors["in"].dtype == torch.float32


def test_an_unknown_solver_is_refused():
    with pytest.raises(UnsupportedMethod, match="no such solver"):
        proxy.decompose(seeded(8, 7, 3, 3), "cp3", 5, solver="magic")


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        ("svd", (8, 7, 3, 3)),
        ("cp3", (8, 7, 1, 1)),
        ("cp3", (8, 7)),
        ("tucker2_cp3", (8, 7, 1, 1)),
        ("spatial_svd", (8, 7, 1, 3)),
    ],
)
def test_a_method_that_does_not_fit_the_shape_is_refused(method, shape):
    with pytest.raises(UnsupportedMethod):
        proxy.decompose(seeded(*shape), method, 1)


def test_a_rank_above_the_maximum_is_refused():
    with pytest.raises(RankOutOfRange, match="1 to 7"):
        proxy.decompose(seeded(8, 7), "svd", 8)


def test_the_weight_is_left_alone():
    weight = seeded(8, 7, 3, 3)
    proxy.decompose(weight, "cp3", 5)
    assert torch.equal(weight, seeded(8, 7, 3, 3))


@pytest.mark.parametrize("method", ["cp3", "tucker2"])
def test_tensorly_is_a_solver(method):
    weight = cp_tensor(8, 7, 9, 3)
    ranks = 3 if method == "cp3" else (3, 3)
    assert (
        proxy.decompose(weight, method, ranks, solver="tensorly", max_sweeps=500, tolerance=1e-10).relative_error < 1e-2
    )


def test_tensorlys_backend_stays_the_callers():
    tl.set_backend("pytorch")
    try:
        proxy.decompose(cp_tensor(8, 7, 9, 3), "cp3", 3, solver="tensorly")
        assert tl.get_backend() == "pytorch"
    finally:
        tl.set_backend("numpy")


@pytest.mark.parametrize(("method", "ranks"), METHODS)
def test_factors_survive_their_record(method, ranks):
    found = proxy.decompose(seeded(8, 7, 3, 3), method, ranks)
    record = json.loads(json.dumps(found.record(), sort_keys=True))
    assert proxy.Factors.restore(found.tensors, record).record() == found.record()


def test_tensors_of_another_record_are_refused():
    found = proxy.decompose(seeded(8, 7, 3, 3), "tucker2", (4, 3))
    other = proxy.decompose(seeded(8, 7, 3, 3), "tucker2", (3, 3))
    with pytest.raises(ShapeMismatch):
        proxy.Factors.restore(other.tensors, found.record())


METHODS_OF_GROUPS = [*METHODS, ("svd", (2,))]


def grouped(method, transposed):
    """A weight of three groups of (6, 4) channels, with the groups' kernels."""
    size = (1, 1) if method == "svd" else (3, 3)
    layout = proxy.Layout(3, transposed)
    stack = torch.stack([seeded(6, 4, *size, seed=seed) * 4**seed for seed in range(3)])
    return layout.weight(stack).contiguous(), list(stack), layout


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("method", "ranks"), METHODS_OF_GROUPS)
def test_groups_are_decomposed_each_on_its_own(method, ranks, transposed):
    weight, kernels, layout = grouped(method, transposed)
    found = proxy.decompose(weight, method, ranks, groups=3, transposed=transposed)
    parts = [proxy.decompose(kernel, method, ranks) for kernel in kernels]
    for name, tensor in found.by_group().items():
        for mine, part in zip(tensor, parts, strict=True):
            torch.testing.assert_close(mine, part.tensors[name], rtol=1e-6, atol=1e-9)
    assert found.sweeps == max(part.sweeps for part in parts)
    expected = torch.stack([part.reconstruct() for part in parts])
    torch.testing.assert_close(layout.stack(found.reconstruct()), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("method", "ranks"), METHODS_OF_GROUPS)
def test_many_problems_of_any_layout_are_the_same_as_one_by_one(method, ranks, transposed):
    weight, _, layout = grouped(method, transposed)
    plain = seeded(8, 7)
    many = proxy.decompose_many([(plain, "svd", 2), proxy.Problem(weight, method, ranks, layout), (plain, "svd", 3)])
    assert same(many[1], proxy.decompose(weight, method, ranks, groups=3, transposed=transposed))
    assert [factors.ranks for factors in many[::2]] == [(2,), (3,)]


def test_sensitivity_of_a_grouped_layer_is_that_of_noise_on_all_its_factors():
    """Monte Carlo on the layer's factors, the layer scaled to unit norm."""
    weight, _, _ = grouped("cp3", transposed=True)
    weight = weight / weight.norm()
    found = proxy.decompose(weight, "cp3", 5, groups=3, transposed=True)
    generator = torch.Generator().manual_seed(0)
    origin, changes = found.reconstruct(), []
    for _ in range(2000):
        noisy = {
            n: t + 1e-5 * torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in found.tensors.items()
        }
        changes.append(float((replace(found, tensors=noisy).reconstruct() - origin).square().sum()) / 1e-10)
    assert found.sensitivity == pytest.approx(sum(changes) / len(changes), rel=0.05)


def test_rank_one_energy_of_a_grouped_layer_is_over_the_whole_energy():
    weight, _, _ = grouped("cp3", transposed=False)
    found = proxy.decompose(weight, "cp3", 5, groups=3)
    energies = [tensor.square().sum(1) for tensor in found.by_group().values()]
    expected = float((energies[0] * energies[1] * energies[2]).sum() / weight.square().sum())
    assert found.rank_one_energy == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("method", "ranks"), METHODS_OF_GROUPS)
def test_a_group_of_zeros_is_exact(method, ranks):
    weight, _, layout = grouped(method, transposed=True)
    layout.stack(weight)[1] = 0
    found = proxy.decompose(weight, method, ranks, groups=3, transposed=True)
    assert float(layout.stack(found.reconstruct())[1].abs().max()) == 0
    assert 0 < found.relative_error < 1
    assert found.solver == proxy.decompose(seeded(8, 7, *weight.shape[2:]), method, ranks).solver


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("method", "ranks"), METHODS_OF_GROUPS)
def test_grouped_factors_survive_their_record(method, ranks, transposed):
    weight, _, _ = grouped(method, transposed)
    found = proxy.decompose(weight, method, ranks, groups=3, transposed=transposed)
    again = proxy.Factors.restore(found.tensors, json.loads(json.dumps(found.record())))
    assert again.layout == found.layout
    assert torch.equal(again.reconstruct(), found.reconstruct())


def test_records_from_before_layouts_are_ordinary():
    found = proxy.decompose(seeded(8, 7, 3, 3), "tucker2", (4, 3))
    record = {name: value for name, value in found.record().items() if name not in ("groups", "transposed")}
    assert proxy.Factors.restore(found.tensors, record).layout == proxy.Layout()
