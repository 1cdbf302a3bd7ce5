import pytest
from pydantic import TypeAdapter, ValidationError

from ranksearch.contracts.ranks import LayerRanks, RankVector

VECTOR = {
    "a": {"method": "tucker2", "ranks": {"out": 32, "in": 24}},
    "b": {"method": "cp3", "rank": 48},
    "c": {"method": "dense"},
    "d": {"method": "tucker2_cp3", "ranks": {"out": 8, "in": 4, "cp": 6}},
}


def test_a_rank_vector_is_written_as_it_is_read():
    adapter = TypeAdapter(RankVector)
    assert adapter.dump_python(adapter.validate_python(VECTOR), by_alias=True, exclude_none=True) == VECTOR


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "cp3"},
        {"method": "cp3", "rank": 0},
        {"method": "cp3", "rank": -1},
        {"method": "cp3", "rank": 1.5},
        {"method": "cp3", "rank": 2, "ranks": {"out": 1, "in": 1}},
        {"method": "svd", "ranks": {"out": 1, "in": 1}},
        {"method": "dense", "rank": 1},
        {"method": "tucker2", "rank": 4},
        {"method": "tucker2", "ranks": {"out": 4}},
        {"method": "tucker2", "ranks": {"out": 4, "in": 2, "cp": 2}},
        {"method": "tucker2_cp3", "ranks": {"out": 4, "in": 2}},
        {"method": "tucker2", "ranks": {"out": 4, "in": 2, "up": 2}},
        {"method": "epc", "rank": 4},
        {"rank": 4},
        {"method": "cp3", "rank": 4, "solver": "als"},
    ],
)
def test_what_does_not_fit_its_method_is_refused(wrong):
    with pytest.raises(ValidationError):
        LayerRanks.model_validate(wrong)


def test_the_refusal_says_what_the_method_takes():
    with pytest.raises(ValidationError, match="'cp3' takes \"rank\": R"):
        LayerRanks.model_validate({"method": "cp3"})
