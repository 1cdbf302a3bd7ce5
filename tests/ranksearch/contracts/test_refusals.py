from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from ranksearch.contracts.goals import Constraints
from ranksearch.contracts.refusals import member, reason, reasons


class Shape(BaseModel, extra="forbid"):
    even: int = 0
    size: int | list[int] | None = None
    layers: dict[str, int] = Field(default_factory=dict)

    @field_validator("even")
    @classmethod
    def _is_even(cls, number):
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number


def refused(**members):
    with pytest.raises(ValidationError) as problem:
        Shape.model_validate(members)
    return problem.value.errors()


@pytest.mark.parametrize(
    ("members", "where", "why"),
    [
        ({"even": 3}, "even", "3 is odd"),
        ({"odd": 3}, "odd", "Extra inputs are not permitted"),
        ({"layers": {"block.conv1": None}}, "layers.block.conv1", "Input should be a valid integer"),
    ],
)
def test_a_validators_words_are_told_alone_and_pydantics_as_they_are(members, where, why):
    (error,) = refused(**members)
    assert (member(error["loc"]), reason(error)) == (where, why)


def test_each_kind_that_a_member_might_have_been_says_so_and_other_members_do_not():
    errors = refused(layers={"a": None, "b": None})
    assert reasons(errors) == "Input should be a valid integer"
    each = [
        {"loc": ("n", "constrained-int"), "msg": "no integer"},
        {"loc": ("n", "function-after[c(), str]"), "msg": "no %"},
    ]
    assert (member(each[0]["loc"]), reasons([*each, {"loc": ("m",), "msg": "missing"}])) == ("n", "no integer; or no %")


def test_a_validator_that_knows_all_kinds_speaks_for_them():
    with pytest.raises(ValidationError) as problem:
        Constraints.model_validate({"macs": "third"})
    assert reasons(problem.value.errors()) == (
        "'third' is neither a number nor a percentage of the original such as \"33%\""
    )


def test_what_is_wrong_with_the_whole_has_no_place():
    assert member(()) == ""
