"""What is counted of features is what their rows say, and a sample of many answers has the shares of all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from feature_store import FLOAT, INT, STRING
from feature_store.dtypes import DType
from feature_store.online.vectors import EntityRows, GroupVectors, OnlineVectors, Status
from feature_store.plan.schema import Column, GroupSchema, OnDemandColumn, ViewedSchema, ViewSchema
from serving.coverage import COUNTED_ALL, Coverage
from serving.families import together

FEATURES = (Column("a", INT, default=0), Column("b", FLOAT), Column("c", STRING, default="?"))
GROUP = GroupSchema("g", 1, (Column("k", INT),), FEATURES, None, 0, 10, 4)
FULL = GroupSchema("full", 1, (Column("k", INT),), (Column("d", INT, default=0),), None, 0, 10, 4)
COMPUTED = OnDemandColumn("e", INT)
VIEW = ViewSchema("v", 1, (ViewedSchema(GROUP), ViewedSchema(FULL, (), "p_")), (COMPUTED,))
ABSENT = {"g@1": (0, None, "?"), "full@1": (0,)}
USABLE = (Status.PRESENT, Status.DEFAULTED)

stored = st.tuples(st.none() | st.integers(1, 9), st.none() | st.just(1.5), st.none() | st.just("x"))
found = st.tuples(st.sampled_from([*Status]), stored, st.booleans())
ANSWERS = st.lists(st.tuples(found, st.sampled_from([*Status]), st.none() | st.integers(1, 5)), max_size=30)


def part(viewed: ViewedSchema, status: Status, row: tuple[Any, ...], packed: bool = False) -> GroupVectors:
    absent = ABSENT[viewed.group.id]
    filled = [default if value is None else value for value, default in zip(row, absent, strict=True)]
    given: Any = filled if status in USABLE else absent
    rows: list[Any] = [Raw(msgspec.msgpack.encode(given)) if packed else given]
    return GroupVectors(viewed, EntityRows(rows, [status], [None], {}), None, absent)


def counted(coverage: Coverage) -> dict[tuple[str, ...], float]:
    (family,) = together([coverage.families()])
    return family.numbers


@given(ANSWERS)
def test_each_feature_of_a_row_is_counted_as_it_was_found(answers: list[Any]) -> None:
    coverage, expected = Coverage(), Counter[tuple[str, ...]]()
    for (status, row, packed), other, computed in answers:
        if status in USABLE:  # as the decoder tells them apart
            nulls = [i for i, value in enumerate(row) if value is None and ABSENT["g@1"][i] is not None]
            status = Status.DEFAULTED if nulls else Status.PRESENT
        parts = [part(VIEW.groups[0], status, row, packed), part(VIEW.groups[1], other, (None,))]
        coverage.note("view", OnlineVectors(VIEW, [{"k": 1}], parts, [None, None], 0, [[computed]]))
        for i, name in enumerate("abc"):
            if status in USABLE:
                has_default = ABSENT["g@1"][i] is not None
                outcome = "present" if row[i] is not None else "defaulted" if has_default else "missing"
            else:
                outcome = {"NOT_FOUND": "missing"}.get(status, status.lower())
            expected["g@1", name, outcome] += 1
        outcome = {"NOT_FOUND": "missing"}.get(other, other.lower())
        expected["full@1", "d", outcome] += 1
        expected["v@1", "e", "missing" if computed is None else "present"] += 1
    assert counted(coverage) == expected


def test_a_row_without_an_entity_misses_all() -> None:
    view = ViewSchema("g", 1, VIEW.groups[:1])
    none = GroupVectors(view.groups[0], EntityRows([], [], [], {}), [-1], ABSENT["g@1"])
    coverage = Coverage()
    coverage.note("group", OnlineVectors(view, [{"k": None}], [none], [None], 0))
    assert counted(coverage) == {("g@1", name, "missing"): 1 for name in "abc"}


def test_a_sample_has_the_shares_of_all_rows() -> None:
    """One entity of four is missing, and answers have all of them."""
    view = ViewSchema("full", 1, VIEW.groups[1:])
    statuses = [Status.PRESENT, Status.PRESENT, Status.NOT_FOUND, Status.PRESENT]
    group = GroupVectors(view.groups[0], EntityRows([[1]] * 4, statuses, [None] * 4, {}), None, ABSENT["full@1"])
    vectors = OnlineVectors(view, [{"k": i} for i in range(4)], [group], [None], 0)
    coverage = Coverage()
    for _ in range(40_000 + COUNTED_ALL):
        coverage.note("group", vectors)
    found = counted(coverage)
    total = sum(found.values()) - COUNTED_ALL
    assert 4_000 < total < 6_000
    assert 0.2 < found["full@1", "d", "missing"] / sum(found.values()) < 0.3


def test_a_definition_that_changes_counts_on() -> None:
    coverage = Coverage()
    dtype: DType = INT
    for features in ((Column("d", dtype, default=0),), (Column("d", dtype, default=0), Column("f", dtype, default=0))):
        view = ViewSchema("g", 1, (ViewedSchema(GroupSchema("g", 1, (Column("k", INT),), features, None, 0, 10, 4)),))
        size = len(features)
        group = GroupVectors(view.groups[0], EntityRows([[1] * size], [Status.PRESENT], [5], {}), None, [0] * size)
        coverage.note("group", OnlineVectors(view, [{"k": 1}], [group], [None], 0))
    assert counted(coverage) == {("g@1", "d", "present"): 2, ("g@1", "f", "present"): 1}
