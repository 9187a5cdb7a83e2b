"""The kernel finds the rows that the reference finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.dtypes import INT, STRING, arrow_type
from feature_store.pit.kernel import NO_ROW, NULL_TIME, CandidateRows, encode_labels, match_rows
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy, Row
from feature_store.pit.visibility import last_at_most
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, Column, GroupSchema
from tests.unit.pit.pit_cases import ITEM, USER, at, cases, group, label, reference, row, rows_table

THIRD = Column("shop_id", STRING)


def kernel_rows(labels: list[Row], schema: GroupSchema, rows: list[Row], known_by: KnownBy = None) -> list[Row | None]:
    """The row that the kernel picks for each label."""
    keys = [pa.array([label[key.name] for label in labels], arrow_type(key.dtype)) for key in schema.keys]
    times = pa.array([label[LABEL_TIMESTAMP] for label in labels], pa.timestamp("us", "UTC"))
    table = rows_table(schema, rows)
    found = match_rows(
        encode_labels(keys, times.cast(pa.int64()).to_numpy()),
        CandidateRows(
            tuple(table[key.name].combine_chunks() for key in schema.keys),
            table[FEATURE_TIMESTAMP].cast(pa.int64()).to_numpy(),
            table[CREATED_TIMESTAMP].cast(pa.int64()).to_numpy(),
        ),
        delay=schema.availability_delay,
        ttl=schema.ttl,
        known_at_label=known_by == "label",
    )
    return [None if number == NO_ROW else rows[number] for number in found]


def reference_rows(labels: list[Row], schema: GroupSchema, rows: list[Row], known_by: KnownBy) -> list[int | None]:
    """The number of the row that the reference picks for each label."""
    numbered = GroupSchema(
        schema.name, 1, schema.keys, (Column("number", INT),), schema.ttl, schema.availability_delay, 0, 1
    )
    rows = [{**row, "number": number} for number, row in enumerate(rows)]
    return [joined["number"] for joined in reference(labels, [(numbered, rows)], known_by)]


@settings(max_examples=300, deadline=None)
@given(case=cases(), known_by=st.sampled_from([None, "label"]))
def test_the_kernel_is_the_reference(
    case: tuple[list[Row], list[tuple[GroupSchema, list[Row]]]], known_by: KnownBy
) -> None:
    labels, groups = case
    for schema, rows in groups:
        expected = [None if n is None else rows[n] for n in reference_rows(labels, schema, rows, known_by)]
        found = kernel_rows(labels, schema, rows, known_by)
        assert all(one is other for one, other in zip(found, expected, strict=True))


moments = st.integers(0, 4)


@settings(max_examples=300, deadline=None)
@given(
    labels=st.lists(st.builds(label, moments), max_size=6),
    rows=st.lists(st.builds(row, moments, created=moments), max_size=12),
    ttl=st.none() | moments,
    delay=moments,
    known_by=st.sampled_from([None, "label"]),
)
def test_the_kernel_is_the_reference_where_almost_all_times_are_equal(
    labels: list[Row], rows: list[Row], ttl: int | None, delay: int, known_by: KnownBy
) -> None:
    schema = group(ttl=ttl, delay=delay)
    expected = [None if n is None else rows[n] for n in reference_rows(labels, schema, rows, known_by)]
    found = kernel_rows(labels, schema, rows, known_by)
    assert all(one is other for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("known_by", [None, "label"])
def test_among_rows_of_one_instant_the_one_written_last_holds(known_by: KnownBy) -> None:
    rows = [
        row(3, 1, created=7),
        row(3, 2, created=9),
        row(3, 3, created=9),
        row(3, 4, created=8),
        row(0, 5, created=99),
    ]
    found = kernel_rows([label(50)], group(), rows, known_by)
    assert [r and r["orders_value"] for r in found] == [3]


@pytest.mark.parametrize(
    ("delay", "micros", "holds"), [(0, -1, 0), (0, 0, 1), (0, 1, 1), (9, 8, 0), (9, 9, 1), (9, 10, 1)]
)
def test_a_row_holds_from_when_it_is_available(delay: int, micros: int, holds: int) -> None:
    assert len([r for r in kernel_rows([label(micros)], group(delay=delay), [row(0)]) if r]) == holds


@pytest.mark.parametrize(("ttl", "micros", "holds"), [(9, 8, 1), (9, 9, 1), (9, 10, 0), (0, 0, 1), (0, 1, 0)])
def test_a_row_holds_until_its_ttl_has_passed(ttl: int, micros: int, holds: int) -> None:
    assert len([r for r in kernel_rows([label(micros)], group(ttl=ttl), [row(0)]) if r]) == holds


@pytest.mark.parametrize(("micros", "holds"), [(4, 0), (5, 1), (6, 1)])
def test_a_row_is_known_from_when_it_was_written(micros: int, holds: int) -> None:
    assert len([r for r in kernel_rows([label(micros)], group(), [row(0, created=5)], "label") if r]) == holds


def test_a_history_backfilled_after_the_labels_leaves_only_what_was_known() -> None:
    rows = [row(micros, micros, created=1_000) for micros in range(100)]
    rows.append(row(0, -1, created=10))
    found = kernel_rows([label(50), label(9), label(1_000)], group(), rows, "label")
    assert [r and r["orders_value"] for r in found] == [-1, None, 99]


def test_three_key_columns() -> None:
    schema = group(keys=(USER, ITEM, THIRD))
    labels = [
        {"user_id": user, "item_id": item, "shop_id": shop, LABEL_TIMESTAMP: at(0)}
        for user in ("a", "b", None)
        for item in (1, 2)
        for shop in ("x", "y")
    ]
    rows = [
        {**one, FEATURE_TIMESTAMP: at(-1), CREATED_TIMESTAMP: at(-1)} for one in labels[::-1] if one["item_id"] == 2
    ]
    found = kernel_rows(labels, schema, rows)
    keys = [r and (r["user_id"], r["item_id"], r["shop_id"]) for r in found]
    assert keys == [None, None, ("a", 2, "x"), ("a", 2, "y"), None, None, ("b", 2, "x"), ("b", 2, "y"), *[None] * 4]


def test_times_so_far_apart_that_they_do_not_fit_one_number_with_the_entity() -> None:
    """Rows of the years 1 and 9999 for many entities: times are replaced by their rank."""
    users = [f"user_{number}" for number in range(200)]
    first, last = -63_000_000_000_000_000, 250_000_000_000_000_000
    rows = CandidateRows(
        keys=(pa.array(users * 3),),
        feature_times=np.repeat(np.array([first, 0, last]), 200),
        created_times=np.zeros(600, np.int64),
    )
    moments = [first - 1, first, -1, 0, last - 1, last]
    labels = encode_labels([pa.array(users * len(moments))], np.repeat(np.array(moments), 200))
    found = match_rows(labels, rows, delay=0, ttl=None, known_at_label=False).reshape(len(moments), 200)
    offsets = np.array([NO_ROW, 0, 0, 200, 200, 400])[:, None]
    assert (found == np.where(offsets == NO_ROW, NO_ROW, offsets + np.arange(200))).all()


def test_rows_without_a_time_are_never_found() -> None:
    labels = encode_labels([pa.array(["u"])], np.array([5]))
    rows = CandidateRows((pa.array(["u", "u"]),), np.array([NULL_TIME, 3]), np.array([0, 0]))
    assert match_rows(labels, rows, delay=0, ttl=None, known_at_label=False).tolist() == [1]


def test_no_labels_and_no_rows() -> None:
    assert kernel_rows([], group(), [row(0)]) == []
    assert kernel_rows([label(0)], group(), []) == [None]
    assert kernel_rows([label(0, user=None)], group(), [row(0, user=None)]) == [None]


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    asked=st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 39)), max_size=40),
)
def test_the_search_for_what_was_visible(values: list[int], asked: list[tuple[int, int]]) -> None:
    limits, starts = [limit for limit, _ in asked], [min(start, len(values) - 1) for _, start in asked]
    expected = [
        max((place for place in range(start + 1) if values[place] <= limit), default=-1)
        for limit, start in zip(limits, starts, strict=True)
    ]
    found = last_at_most(np.array(values), np.array(limits, np.int64), np.array(starts, np.int64))
    assert found.tolist() == expected
