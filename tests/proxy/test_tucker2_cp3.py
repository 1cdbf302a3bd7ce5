import pytest
import torch

import proxy
from proxy.kernel import Kernel
from proxy.low_rank_cp import full_ranks
from proxy.options import SolverOptions
from proxy.tucker2_cp3 import core_cps, tucker2_cp3
from tests.proxy.conftest import seeded
from tests.proxy.test_low_rank_cp import low_rank_tensor

RANKS = {"ranks": {"out": 5, "in": 4, "cp": 9}}


def parts(weight, factors):
    """(error² of the Tucker-2 part, of the core): from the bases and from the core's factors, apart."""
    tensor = weight.flatten(2) / weight.norm()
    t = factors.tensors
    core = torch.einsum("tsd,ta,sb->abd", tensor, t["out"], t["in"])
    ours = torch.einsum("ar,br,dr->abd", t["core_out"], t["core_in"], t["space"]) / weight.norm()
    projected = torch.einsum("abd,ta,sb->tsd", core, t["out"], t["in"])
    return float((tensor - projected).square().sum()), float((core - ours).square().sum())


@pytest.mark.parametrize("solver", ["epc", "als", "tensorly"])
def test_the_error_is_that_of_the_tucker_part_and_the_core(solver):
    weight = seeded(10, 8, 3, 3)
    found = proxy.decompose(weight, "tucker2_cp3", RANKS, solver=solver)
    assert found.relative_error == pytest.approx(float((found.reconstruct() - weight).norm() / weight.norm()))
    assert found.relative_error**2 == pytest.approx(sum(parts(weight, found)), rel=1e-9)


@pytest.mark.parametrize("solver", ["epc", "als"])
def test_the_bases_are_orthonormal(solver):
    found = proxy.decompose(seeded(10, 8, 3, 3), "tucker2_cp3", RANKS, solver=solver)
    for name in ("out", "in"):
        basis = found.tensors[name]
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1], dtype=basis.dtype))


def test_slack_buys_stability_for_no_more_than_itself():
    weight = seeded(10, 8, 3, 3)
    tight, loose = (
        proxy.decompose(weight, "tucker2_cp3", RANKS, solver="epc", max_error_slack=slack) for slack in (0.0, 0.05)
    )
    assert tight.relative_error < loose.relative_error <= 1.05 * tight.relative_error
    assert loose.sensitivity < tight.sensitivity


def test_the_joint_fit_beats_the_two_steps():
    weight = seeded(10, 8, 3, 3)
    two_steps = proxy.decompose(weight, "tucker2_cp3", RANKS, solver="tensorly", max_sweeps=200, tolerance=1e-9)
    joint = proxy.decompose(weight, "tucker2_cp3", RANKS, solver="als", max_sweeps=200, tolerance=1e-9)
    assert joint.relative_error < two_steps.relative_error


def test_an_exact_kernel_is_found():
    weight = low_rank_tensor((12, 10, 9), (4, 4, 4), 5).view(12, 10, 3, 3)
    found = proxy.decompose(weight, "tucker2_cp3", (4, 4, 5), solver="als", max_sweeps=500, tolerance=0.0)
    assert found.relative_error < 1e-5


def test_full_bases_are_a_plain_cp():
    """With R_out = T and R_in = S nothing is lost to the bases: as good as CP at the same rank."""
    weight = seeded(7, 6, 3, 3)
    options = {"solver": "als", "max_sweeps": 200, "tolerance": 1e-9}
    whole = proxy.decompose(weight, "tucker2_cp3", (7, 6, 9), **options)
    plain = proxy.decompose(weight, "cp3", 9, **options)
    assert whole.relative_error == pytest.approx(plain.relative_error, rel=0.03)
    assert parts(weight, whole)[0] < 1e-20


@pytest.mark.parametrize("ranks", [(6, 5, 2), (1, 1, 1), (2, 1, 1), (6, 1, 6), (7, 6, 42)])
def test_unusual_ranks_have_their_shapes(ranks):
    found = proxy.decompose(seeded(7, 6, 3, 3), "tucker2_cp3", ranks)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
    out, inn, rank = ranks
    assert shapes == {
        "out": (7, out),
        "core_out": (out, rank),
        "space": (9, rank),
        "core_in": (inn, rank),
        "in": (6, inn),
    }
    assert found.relative_error <= 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors.values())


def test_the_core_is_balanced_and_the_sensitivity_is_its_own():
    """Noise on the core's factors changes the kernel as told, by Monte Carlo."""
    weight = seeded(10, 8, 3, 3)
    weight = weight / weight.norm()
    found = proxy.decompose(weight, "tucker2_cp3", RANKS)
    generator = torch.Generator().manual_seed(1)
    t, size, changes = found.tensors, 1e-4, []
    for _ in range(400):
        noisy = {
            name: t[name] + size * torch.randn(t[name].shape, generator=generator, dtype=t[name].dtype)
            for name in ("core_out", "core_in", "space")
        }
        kernel = torch.einsum(
            "ta,ar,br,dr,sb->tsd", t["out"], noisy["core_out"], noisy["core_in"], noisy["space"], t["in"]
        )
        changes.append(float((kernel.view(10, 8, 3, 3) - found.reconstruct()).square().sum()))
    assert sum(changes) / len(changes) / size**2 == pytest.approx(found.sensitivity, rel=0.05)


def test_float32_kernels():
    weight = seeded(130, 128, 3, 3, dtype=torch.float32)
    found = proxy.decompose(weight, "tucker2_cp3", (12, 10, 20), max_sweeps=4)
    assert found.relative_error == pytest.approx(float((found.reconstruct() - weight).norm() / weight.norm()), rel=1e-4)


def test_the_core_solver_gets_the_core():
    kernel = Kernel(seeded(6, 5, 4))
    assert core_cps([(kernel, 7)], SolverOptions())[0].out.shape == (6, 7)
    assert full_ranks(kernel.size, 7) == (6, 5, 4)
    assert tucker2_cp3([(kernel, (3, 3, 4))], SolverOptions())[0].method == "tucker2_cp3"


@pytest.mark.shared
def test_a_core_is_more_stable_than_a_plain_cp_of_the_same_size(real_kernel):
    whole = proxy.decompose(real_kernel, "tucker2_cp3", (38, 38, 85))
    plain = proxy.decompose(real_kernel, "cp3", 89)
    assert whole.params == pytest.approx(plain.params, rel=0.01)
    assert whole.relative_error < 0.605  # 0.5934 was seen
    assert whole.sensitivity < 0.8 * plain.sensitivity  # 475 and 701 were seen


def test_what_a_layer_gets_does_not_depend_on_its_company():
    problems = [
        (seeded(8, 7, 3, 3, seed=seed), "tucker2_cp3", ranks) for seed, ranks in enumerate([(3, 3, 6), (4, 4, 7)])
    ]
    for (weight, method, ranks), found in zip(problems, proxy.decompose_many(problems), strict=True):
        alone = proxy.decompose(weight, method, ranks)
        assert found.sweeps == alone.sweeps
        assert found.relative_error == pytest.approx(alone.relative_error, rel=1e-9)
