"""The kernel finds the rows that the reference finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.dtypes import INT, STRING, arrow_type
from feature_store.pit.kernel import NO_ROW, NULL_TIME, CandidateRows, encode_labels, match_rows
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy, Row
from feature_store.pit.visibility import NEVER, Visibility, last_visible
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, Column, GroupSchema
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
            pc.fill_null(table[RETRACTED], False).to_numpy() if any(table[RETRACTED].to_pylist()) else None,
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


@settings(max_examples=150, deadline=None)
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
few_users = st.sampled_from(["u", "v", "w"])


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.builds(label, moments, few_users), max_size=8),
    rows=st.lists(st.builds(row, moments, created=moments, retracted=st.booleans(), user=few_users), max_size=16),
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


def test_key_columns_whose_combinations_are_more_than_an_int64_has_values() -> None:
    """Five columns of 8,192 values each: 2^65 combinations. Only a row of just the label's own values is its row."""
    size = 8192
    keys = [pa.array((np.arange(size) * odd + odd) % size) for odd in (1, 3, 5, 7, 9)]
    labels = encode_labels(keys, np.full(size, 1_000))
    others = [*keys[:-1], pa.array(np.roll(keys[-1].to_numpy(), 1))]
    shifted = [pa.array((keys[0].to_numpy() + 4096) % size), *keys[1:]]  # wrapped to the same number as a label's
    columns = tuple(pa.concat_arrays(arrays) for arrays in zip(others, keys, shifted, strict=True))
    rows = CandidateRows(columns, np.full(3 * size, 500), np.full(3 * size, 500))
    found = match_rows(labels, rows, delay=0, ttl=None, known_at_label=False)
    assert found.tolist() == list(range(size, 2 * size))


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


@pytest.mark.parametrize("known_by", [None, "label"])
@pytest.mark.parametrize(("micros", "expected"), [(7, [1, 2]), (8, [1, 1]), (9, [1, 1])])
def test_a_retracted_row_gives_way_to_the_row_before(micros: int, expected: list[int], known_by: KnownBy) -> None:
    """A retraction written at 8 holds for every label, or from 8 on for those that see only what was known."""
    rows = [row(0, 1), row(5, 2), row(5, 2, created=8, retracted=True)]
    found = kernel_rows([label(micros)], group(), rows, known_by)
    assert [r and r["orders_value"] for r in found] == [expected[known_by == "label"]]


@pytest.mark.parametrize(("micros", "expected"), [(10, 1), (11, None), (12, None)])
def test_the_row_before_a_retracted_one_is_too_old_after_its_own_ttl(micros: int, expected: int | None) -> None:
    rows = [row(1, 1), row(5, 2), row(5, 2, created=6, retracted=True)]
    for known_by in (None, "label"):
        found = kernel_rows([label(micros)], group(ttl=9), rows, known_by)
        assert [r and r["orders_value"] for r in found] == [expected]


@pytest.mark.parametrize(("micros", "expected"), [(8, 2), (9, 1), (10, 1), (11, 3), (12, 3)])
def test_a_row_is_taken_back_and_comes_again(micros: int, expected: int) -> None:
    rows = [row(0, 1), row(5, 2), row(5, 2, created=9, retracted=True), row(5, 3, created=11)]
    found = kernel_rows([label(micros)], group(), rows, "label")
    assert [r and r["orders_value"] for r in found] == [expected]


def test_labels_long_after_years_of_rows_were_taken_back() -> None:
    rows = [row(micros, micros) for micros in range(200)]
    rows += [row(micros, micros, created=1_000 + micros % 7, retracted=True) for micros in range(1, 200)]
    labels = [label(199), label(999), label(1_003), label(2_000)]
    expected = [max(n for n in range(200) if n == 0 or 1_000 + n % 7 > at) for at in (199, 999, 1_003, 2_000)]
    found = kernel_rows(labels, group(), rows, "label")
    assert [r and r["orders_value"] for r in found] == expected
    assert [r and r["orders_value"] for r in kernel_rows(labels, group(), rows)] == [0, 0, 0, 0]


def test_nothing_is_left_of_rows_that_were_all_taken_back() -> None:
    rows = [row(3, 1), row(3, 1, created=4, retracted=True)]
    assert kernel_rows([label(9)], group(), rows) == kernel_rows([label(9)], group(), rows, "label") == [None]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=40),
    asked=st.lists(st.tuples(st.integers(-1, 13), st.integers(0, 39), st.integers(0, 39)), max_size=40),
    for_ever=st.booleans(),
)
def test_the_search_for_what_was_visible(
    rows: list[tuple[int, int]], asked: list[tuple[int, int, int]], for_ever: bool
) -> None:
    asked = [(instant, first, min(start, len(rows) - 1)) for instant, first, start in asked]
    expected = [
        max(
            (n for n in range(first, start + 1) if rows[n][0] <= instant and (for_ever or instant < rows[n][1])),
            default=-1,
        )
        for instant, first, start in asked
    ]
    since, until = np.array(rows).T
    visible = Visibility(since, None if for_ever else np.where(until == 0, NEVER, until))
    instants, firsts, starts = np.array(asked, np.int64).reshape(-1, 3).T
    assert last_visible(visible, instants, firsts, starts).tolist() == expected
