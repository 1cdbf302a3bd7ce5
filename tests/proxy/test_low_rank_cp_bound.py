import pytest
import torch

from proxy.kernel import Kernel
from proxy.low_rank_cp import LowRankCP, fit
from proxy.low_rank_cp_bound import least_ranks
from tests.proxy.conftest import seeded
from tests.proxy.test_low_rank_cp import error, low_rank_tensor, plain


def started(tensor, rank):
    kernel = Kernel(tensor)
    return kernel, plain(kernel, rank, 100)


@pytest.mark.parametrize("bound", [0.4, 0.6, 0.8])
def test_the_bound_is_kept(bound):
    kernel, start = started(seeded(9, 8, 7), 20)
    found = least_ranks(kernel, start, bound)
    assert error(kernel, found) <= bound
    assert found.error == pytest.approx(error(kernel, found), rel=1e-9)


def test_the_ranks_of_a_tensor_under_noise_are_found():
    tensor = low_rank_tensor((14, 12, 10), (3, 5, 4), 7)
    noise = seeded(14, 12, 10, seed=50)
    kernel, start = started(tensor + 0.05 * noise * tensor.norm() / noise.norm(), 7)
    assert least_ranks(kernel, start, 0.06).ranks == (3, 5, 4)


def test_no_single_rank_can_fall():
    kernel, start = started(seeded(7, 6, 5), 12)
    found = least_ranks(kernel, start, 0.6)
    for mode in range(3):
        ranks = tuple(rank - (mode == other) for other, rank in enumerate(found.ranks))
        assert fit(kernel, found, ranks, max_sweeps=40, tolerance=1e-5).error > 0.6


def test_about_as_few_parameters_as_any_ranks():
    """Against Algorithm 1 at every triple of ranks: within five per cent of the fewest."""
    kernel, start = started(seeded(6, 5, 4), 8)
    uncut = LowRankCP.of(start)
    bound = 0.6
    fitting = [
        6 * a + 5 * b + 4 * c + 8 * (a + b + c)
        for a in range(1, 7)
        for b in range(1, 6)
        for c in range(1, 5)
        if fit(kernel, uncut, (a, b, c), max_sweeps=60, tolerance=1e-6).error <= bound
    ]
    assert least_ranks(kernel, start, bound).params <= 1.05 * min(fitting)


def test_modes_left_alone_keep_their_ranks():
    kernel, start = started(seeded(9, 8, 7), 20)
    found = least_ranks(kernel, start, 0.6, modes=(0, 1))
    assert found.ranks[2] == 7
    assert max(found.ranks[:2]) < 8


def test_no_mode_takes_all_the_slack():
    """Alike modes of a symmetric problem end alike."""
    base = seeded(8, 8, 8)
    symmetric = sum(base.permute(p) for p in [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)])
    kernel, start = started(symmetric, 16)
    ranks = least_ranks(kernel, start, 0.6).ranks
    assert max(ranks) - min(ranks) <= 2


def test_an_unreachable_bound_is_told():
    kernel, start = started(seeded(9, 8, 7), 3)
    assert least_ranks(kernel, start, 0.1) is None


def test_equal_starts_give_equal_results():
    kernel, start = started(seeded(9, 8, 7), 20)
    one, two = (least_ranks(kernel, start, 0.6) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.weights, two.weights, strict=True))
