import numpy as np
import pytest
from scipy import stats

from service.scheduling.agreement import kendall_tau


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scipys_tau_b_with_ties_and_without(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, 4 + seed, (2, 9)).astype(float).tolist()
    assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)


def test_the_same_order_is_one_and_the_reverse_is_minus_one():
    assert kendall_tau([1, 2, 3], [10, 20, 40]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1


@pytest.mark.parametrize(("first", "second"), [([1, 2], [1, 2]), ([], []), ([1, 1, 1], [1, 2, 3])])
def test_too_few_or_all_alike_have_none(first, second):
    assert kendall_tau(first, second) is None
