import numpy as np
import pytest
from scipy.stats import wilcoxon

import proxy
from ranksearch.contracts.jobs import Race
from worker.evaluation.racing import falls_behind, significance


def running(values):
    mean = sum(values) / len(values)
    return proxy.Score("kl", mean, None, mean, None, None, 10 * len(values), batch_means=tuple(values))


def stops_after(values, best, *, p_value=0.1, batches=None):
    """Batches seen when a trial stops; None if it never does."""
    lost = falls_behind(Race(batch_values=best, p_value=p_value), batches or len(values))
    looks = (seen for seen in range(1, len(values) + 1) if lost(running(values[:seen])))
    return next(looks, None)


def test_without_a_race_nobody_is_asked():
    assert falls_behind(None, 10) is None


def test_a_trial_that_is_worse_in_every_batch_stops_at_the_first_look():
    assert stops_after([1.0 + i for i in range(20)], [float(i) / 2 for i in range(20)]) == 5


def test_nobody_stops_before_five_batches():
    lost = falls_behind(Race(batch_values=[0.0] * 20, p_value=0.99), 20)
    assert not lost(running([1.0, 2.0, 3.0, 4.0]))


def test_a_better_trial_never_stops():
    assert stops_after([0.1] * 20, [0.2] * 20) is None


def test_an_equal_trial_never_stops():
    assert stops_after([0.2] * 20, [0.2] * 20) is None


def test_a_trial_whose_mean_is_better_goes_on_though_most_batches_are_worse():
    values, best = [1.1] * 11 + [-20.0], [1.0] * 12
    assert wilcoxon([x - y for x, y in zip(values, best, strict=True)], alternative="greater").pvalue < 0.1
    lost = falls_behind(Race(batch_values=best, p_value=0.1), 20)
    assert not lost(running(values))


def test_after_the_last_batch_there_is_nothing_to_save():
    assert stops_after([1.0 + i for i in range(5)], [0.0] * 5) is None


@pytest.mark.parametrize("seed", range(5))
def test_it_stops_when_the_test_says_so(seed):
    source = np.random.default_rng(seed)
    best = source.random(40).tolist()
    values = (best + source.normal(0.05, 0.1, 40)).tolist()
    expected = None
    for seen in range(5, 40):
        differences = [x - y for x, y in zip(values[:seen], best[:seen], strict=True)]
        p = wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
        if p < 0.05 and sum(differences) > 0:
            expected = seen
            break
    assert stops_after(values, best, p_value=0.05) == expected


def test_only_batches_that_both_saw_are_compared():
    assert stops_after([1.0 + i / 100 for i in range(20)], [0.0] * 7 + [100.0] * 13) == 5
    assert stops_after([1.0 + i / 100 for i in range(20)], [0.0] * 4) is None


def test_the_p_value_falls_with_the_evidence():
    weak, strong = (significance([0.1 + i / 1000 for i in range(n)], [0.0] * n) for n in (5, 12))
    assert weak == pytest.approx(2**-5)
    assert strong == pytest.approx(2**-12)
