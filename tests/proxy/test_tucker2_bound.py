import pytest
import torch

from proxy.kernel import Kernel
from proxy.tucker2 import hooi
from proxy.tucker2_bound import least_tucker2
from tests.proxy.conftest import seeded


def solver(kernel, seen=None):
    def solve(pair):
        if seen is not None:
            seen.append(pair)
        return [hooi(kernel, pair, max_sweeps=100, tolerance=1e-9)]

    return solve


def params(size, pair):
    return size[0] * pair[0] + size[1] * pair[1] + size[2] * pair[0] * pair[1]


def decaying(*sizes, seed=0):
    """Like a trained kernel: energy concentrated in some channels' directions."""
    out = seeded(sizes[0], sizes[0], seed=seed + 1) / torch.arange(1, sizes[0] + 1) ** 0.7
    inn = seeded(sizes[1], sizes[1], seed=seed + 2) / torch.arange(1, sizes[1] + 1) ** 0.5
    return torch.einsum("abd,ta,sb->tsd", seeded(*sizes, seed=seed), out, inn)


@pytest.mark.parametrize("bound", [0.15, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("sizes", [(8, 7, 4), (5, 12, 4), (12, 4, 9)])
@pytest.mark.parametrize("make", [seeded, decaying])
def test_the_pair_is_the_cheapest_of_all(make, sizes, bound):
    kernel = Kernel(make(*sizes))
    fitting = [
        params(sizes, (i, j))
        for i in range(1, sizes[0] + 1)
        for j in range(1, sizes[1] + 1)
        if i <= j * sizes[2] and j <= i * sizes[2] and solver(kernel)((i, j))[0].error <= bound
    ]
    found = least_tucker2([kernel], [1.0], bound, solver(kernel))
    assert params(sizes, found) == min(fitting)
    assert solver(kernel)(found)[0].error <= bound


def test_exact_ranks_are_found_without_trying():
    out, core, inn = seeded(12, 3), seeded(3, 4, 9, seed=1), seeded(10, 4, seed=2)
    kernel, seen = Kernel(torch.einsum("ta,abd,sb->tsd", out, core, inn)), []
    assert least_tucker2([kernel], [1.0], 1e-5, solver(kernel, seen)) == (3, 4)
    assert seen == []


def test_the_pairs_tried_are_few():
    kernel, seen = Kernel(decaying(30, 30, 4)), []
    found = least_tucker2([kernel], [1.0], 0.3, solver(kernel, seen), failures=3)
    assert len(seen) <= 20
    assert params((30, 30, 4), found) <= 1.02 * params((30, 30, 4), least_tucker2([kernel], [1.0], 0.3, solver(kernel)))


def test_no_error_at_all_needs_all_or_more():
    kernel = Kernel(seeded(6, 5, 4))
    assert least_tucker2([kernel], [1.0], 0.0, solver(kernel)) in {None, (6, 5)}


def test_two_groups_share_their_ranks():
    """Against all pairs: the error that counts is that of both together."""
    stack, shares = [Kernel(decaying(8, 7, 4)), Kernel(seeded(8, 7, 4))], [0.9, 0.1]

    def solve(pair):
        return [solver(kernel)(pair)[0] for kernel in stack]

    fitting = [
        params((8, 7, 4), (i, j))
        for i in range(1, 9)
        for j in range(1, 8)
        if sum(p * own.error**2 for p, own in zip(shares, solve((i, j)), strict=True)) <= 0.4**2
    ]
    assert params((8, 7, 4), least_tucker2(stack, shares, 0.4, solve)) == min(fitting)
