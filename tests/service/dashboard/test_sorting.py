from __future__ import annotations

import pytest

from service.dashboard.sorting import Sorting

ROWS = [{"name": "b", "size": 2}, {"name": "a", "size": None}, {"name": "c", "size": 1}]
KEYS = {"name": lambda row: row["name"], "size": lambda row: row["size"]}


def names(column, order="asc"):
    return "".join(row["name"] for row in Sorting("/rows", KEYS, column, order).sorted(ROWS))


@pytest.mark.parametrize(
    ("column", "order", "expected"),
    [(None, "asc", "abc"), ("nothing", "desc", "cba"), ("size", "asc", "cba"), ("size", "desc", "bca")],
)
def test_rows_are_in_order_and_what_is_unknown_comes_last(column, order, expected):
    assert names(column, order) == expected


def test_a_heading_leads_to_its_column_and_then_the_other_way_round():
    sorting = Sorting("/rows", KEYS, "size", "asc", {"state": "idle", "cursor": None})
    assert sorting.address("size") == "/rows?state=idle&sort=size&order=desc"
    assert sorting.address("name") == "/rows?state=idle&sort=name&order=asc"
    assert (sorting.direction("size"), sorting.direction("name")) == ("ascending", None)
