import pytest

from proxy.errors import RankOutOfRange, UnsupportedMethod
from proxy.ranks import maximum_ranks, parse_ranks, show_ranks

SHAPE = (8, 6, 3, 3)


@pytest.mark.parametrize("written", [{"rank": 5}, {"ranks": {"rank": 5}}, {"ranks": [5]}, 5, [5], (5,)])
def test_a_single_rank_in_every_form(written):
    assert parse_ranks("cp3", written, SHAPE) == (5,)


@pytest.mark.parametrize("written", [{"ranks": {"in": 4, "out": 5}}, {"ranks": [5, 4]}, (5, 4), {"out": 5, "in": 4}])
def test_a_pair_follows_the_weight_out_before_in(written):
    assert parse_ranks("tucker2", written, SHAPE) == (5, 4)


@pytest.mark.parametrize(
    "written", [{}, {"rank": 0}, {"rank": -1}, {"rank": 1.5}, {"rank": True}, "5", None, (1, 2), 10**9]
)
def test_malformed_or_impossible_ranks_are_refused(written):
    with pytest.raises(RankOutOfRange):
        parse_ranks("cp3", written, SHAPE)


@pytest.mark.parametrize(
    "written", [{"ranks": {"in": 4, "out": 5, "cp": 7}}, {"ranks": [5, 4, 7]}, (5, 4, 7), {"cp": 7, "out": 5, "in": 4}]
)
def test_a_cp_core_has_three_ranks_its_own_last(written):
    assert parse_ranks("tucker2_cp3", written, SHAPE) == (5, 4, 7)
    assert show_ranks("tucker2_cp3", (5, 4, 7)) == {"ranks": {"out": 5, "in": 4, "cp": 7}}


def test_the_rank_of_a_core_is_limited_by_the_core():
    assert maximum_ranks("tucker2_cp3", SHAPE) == (8, 6, 48)
    assert parse_ranks("tucker2_cp3", (5, 4, 20), SHAPE) == (5, 4, 20)
    with pytest.raises(RankOutOfRange, match="'cp' of tucker2_cp3"):
        parse_ranks("tucker2_cp3", (5, 4, 21), SHAPE)


@pytest.mark.parametrize("written", [(5, 4), (5, 4, 0), (0, 4, 1), {"out": 5, "in": 4}, (9, 4, 7), (5, 7, 7)])
def test_malformed_ranks_of_a_core_are_refused(written):
    with pytest.raises(RankOutOfRange):
        parse_ranks("tucker2_cp3", written, SHAPE)


def test_an_unknown_method_is_refused():
    with pytest.raises(UnsupportedMethod, match="no such decomposition"):
        parse_ranks("cp4", 1, SHAPE)


def test_show_and_parse_are_inverse():
    assert parse_ranks("tucker2", show_ranks("tucker2", (5, 4)), SHAPE) == (5, 4)


def test_the_maximum_of_cp_is_the_least_product_of_two_sides():
    assert maximum_ranks("cp3", SHAPE) == (48,)
