"""The clock that everything is timed by: what is known to be slower comes out slower, and by how much."""

import time

import numpy as np
import pytest
import torch
from scipy.stats import binom

from worker.evaluation.timing import Turns, in_turns, medians_ms

CPU = torch.device("cpu")


def test_calls_take_turns_and_the_order_is_reversed_from_round_to_round():
    order = []
    medians_ms([lambda: order.append("a"), lambda: order.append("b")], CPU, seconds=5.0, rounds=4)
    assert "".join(order) == "aabb" + "bbaa" + "aabb" + "bbaa"  # each call after one that is not counted


def test_the_median_leaves_a_hiccup_out():
    waits = iter([0.0] * 5 + [0.2] + [0.0] * 100)
    (found,) = medians_ms([lambda: time.sleep(next(waits))], CPU, seconds=5.0, rounds=9)
    assert found < 100


def test_what_waits_three_times_as_long_is_three_times_as_slow():
    turns = in_turns([lambda: time.sleep(0.03), lambda: time.sleep(0.01)], CPU, seconds=60.0, most=20, least=20)
    found = turns.compared()
    assert found.dense.median_ms >= 30
    assert found.compressed.median_ms >= 10
    assert 1.3 < found.speedup < 4  # a busy machine adds to both
    assert (found.speed, found.rounds) == ("faster", 20)
    assert turns.compared(1, 0).speed == "slower"


@pytest.fixture
def one_thread():
    """Of a product's two, one waits for the other where something else has a core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_work_that_is_much_more_takes_longer_beyond_the_noise():
    large, small = torch.randn(768, 768), torch.randn(192, 192)
    turns = in_turns([lambda: large @ large, lambda: small @ small], CPU, seconds=9.0, most=20, least=20, block=0.002)
    found = turns.compared()
    assert found.speed == "faster"
    assert 4 < found.speedup < 400  # 64 times the products


def test_short_calls_are_timed_in_blocks_of_many_and_the_clock_is_not_counted():
    turns = in_turns([lambda: None], CPU, seconds=5.0, most=3, least=3, block=0.001)
    assert turns.passes[0] > 3000
    assert turns.median_ms(0) < 0.005


def test_no_round_begins_after_its_time_but_the_least_are_made():
    seen = []
    turns = in_turns([lambda: seen.append(time.sleep(0.01))], CPU, seconds=0.0, most=100, least=2)
    assert (len(turns.seconds[0]), len(seen), turns.passes) == (2, 4, [2])


def test_a_round_that_takes_too_long_is_the_last_one_whatever_was_wanted():
    turns = in_turns([lambda: time.sleep(0.01)], CPU, seconds=0.0, most=100, least=50, longest=0.0)
    assert len(turns.seconds[0]) == 1


def test_calls_run_in_inference_mode_on_all_threads_and_leave_their_number():
    seen = set()
    before = torch.get_num_threads()
    in_turns([lambda: seen.add((torch.is_inference_mode_enabled(), torch.get_num_threads()))], CPU, seconds=0, most=1)
    assert seen == {(True, before)}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("rounds", [6, 9, 20, 40])
def test_the_interval_is_the_sign_tests(rounds):
    """Between the k-th smallest and the k-th largest ratio, k the largest with 2 P(X < k) ≤ 5 %."""
    ratios = [1 + at / 100 for at in range(rounds)]
    shuffled = np.random.default_rng(0).permutation(ratios).tolist()
    found = Turns([shuffled, [1.0] * rounds], [rounds, rounds]).compared()
    k = max(k for k in range(1, rounds) if 2 * binom.cdf(k - 1, rounds, 0.5) <= 0.05)
    assert found.speedup_low == pytest.approx(ratios[k - 1])
    assert found.speedup_high == pytest.approx(ratios[-k])


def test_the_interval_holds_the_true_ratio_as_often_as_it_says():
    """Both are the same but for noise that is large and skewed, and slow drifts that hit both."""
    drawn, held = np.random.default_rng(1), 0
    for _ in range(400):
        drift = drawn.uniform(1, 3, 20)
        one, other = ((drift * (1 + drawn.exponential(0.2, 20))).tolist() for _ in range(2))
        found = Turns([one, other], [20, 20]).compared()
        held += found.speedup_low <= 1 <= found.speedup_high
    assert held / 400 >= 0.93  # at least 95 %, but for there being 400 draws


def test_a_few_rounds_tell_nothing():
    found = Turns([[2.0] * 5, [1.0] * 5], [5, 5]).compared()
    assert (found.speedup, found.speedup_low, found.speed) == (2.0, None, "alike")


def test_the_spread_is_from_quartile_to_quartile():
    found = Turns([[1.0, 2.0, 3.0, 4.0, 5.0]], [5]).timing(0)
    assert (found.median_ms, found.iqr_ms) == (3000, 2000)


def test_networks_are_timed_with_the_arithmetic_that_torch_runs_them_with(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as a session has it
    seen = []
    medians_ms([lambda: seen.append(torch.backends.cudnn.allow_tf32)], CPU, seconds=1.0, rounds=1)
    assert set(seen) == {True}
    assert torch.backends.cudnn.allow_tf32 is False


def test_the_sessions_arithmetic_comes_back_after_a_call_that_fails(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with pytest.raises(ZeroDivisionError):
        medians_ms([lambda: 1 / 0], CPU, seconds=1.0, rounds=1)
    assert torch.backends.cudnn.allow_tf32 is False
