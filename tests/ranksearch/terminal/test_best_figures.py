from ranksearch.contracts.studies import Best, Study
from ranksearch.terminal.best_figures import best_figures
from tests.ranksearch import wire


def drawn(rows=None, width=80, request=None, **best):
    study = Study.model_validate(wire.study("completed", request=request or wire.request()))
    section = best_figures(study, Best.model_validate(wire.best(**best)), width)
    return [line.plain for line in section.draw(section.most if rows is None else rows)]


def test_the_best_stands_beside_the_dense_network():
    assert drawn() == [
        "best      compressed   dense  trial 3 (same error), on 450 images",
        "accuracy      90.00%  95.00%  5.00 points lost",
        "macs           333 k     1 M  33.3% remain, 3.0×",
        "params         2.5 k     5 k  50.0% remain, 2.0×",
    ]


def test_while_it_may_change_it_is_the_best_so_far():
    assert drawn(state="running")[0].startswith("best so far")


def test_judged_by_divergence_it_tells_its_accuracy_too():
    words = [line.split()[0] for line in drawn(metric="kl", value=0.0123)]
    assert words == ["best", "accuracy", "kl", "macs", "params"]
    assert "0.0123" in drawn(metric="kl", value=0.0123)[2]


def test_without_labels_there_is_no_accuracy():
    shown = drawn(metric="kl", value=0.0123, result=wire.result(accuracy=None))
    assert [line.split()[0] for line in shown] == ["best", "kl", "macs", "params"]


def test_a_loss_is_compared_with_the_dense_networks():
    assert drawn(metric="loss", value=0.25, dense_value=0.2)[2].split() == ["loss", "0.25", "0.2"]


def test_what_may_be_lost_is_told_with_what_is_lost():
    asked = wire.request(objectives=["macs"], max_drop=0.06, constraints={})
    assert drawn(request=asked)[1].endswith("5.00 points lost, 6 allowed")


def test_a_latency_comes_with_its_speedup():
    assert drawn(result=wire.result(latency=wire.latency()))[-1].split() == [
        "latency",
        "2",
        "ms",
        "5",
        "ms",
        "speedup",
        "2.5×",
    ]


def test_in_two_lines_it_says_the_same_in_words():
    assert drawn(rows=2, metric="kl", value=0.0123) == [
        "best   accuracy 90.00% (5.00 points lost), kl 0.0123, trial 3 (same error)",
        "keeps  33.3% of the macs, 50.0% of the params",
    ]


def test_a_gain_is_a_gain():
    assert "1.00 points gained" in drawn(dense_value=0.89)[1]


def test_where_there_is_little_room_the_trial_is_named_alone():
    assert drawn(width=53)[0] == "best      compressed   dense  trial 3 (same error)"
