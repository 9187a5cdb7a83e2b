"""Served reads that are joined again: equal if they are those of the reference, or it is said how they differ."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from feature_store import FLOAT, STRING
from feature_store.online.vectors import Status
from feature_store.pit.semantics import LABEL_TIMESTAMP, Row
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema
from feature_store.skew.replay import FeatureReplay, Outcome, replay
from feature_store.skew.served_table import served_table
from tests.unit.pit.pit_cases import at, cases, group, label, reference, row, view
from tests.unit.skew.skew_cases import batch_of, catalog_with, served

ORDERS = group()


@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_what_was_served_as_training_has_it_is_equal(
    case: tuple[list[Row], list[tuple[GroupSchema, list[Row]]]],
) -> None:
    """Corrections, rows taken back, ties, NULL keys, defaults, ttl, delays, rows that became known after the read."""
    reads, groups = case
    of_view = view(*(schema for schema, _ in groups))
    with tempfile.TemporaryDirectory() as name:
        table = served(of_view, reads, reference(reads, groups, "label"))
        report = replay(catalog_with(Path(name), groups), of_view, table)
    assert report.is_consistent
    assert (report.rows, report.compared) == (len(reads), len(reads) * len(of_view.features))
    assert all(feature.outcomes == {Outcome.EQUAL: len(reads)} for feature in report.features)


def replayed(
    folder: Path, value: Any, status: Status, served_at: int | None, rows: list[Row] | None = None, read_at: int = 10
) -> FeatureReplay:
    """One read of one value at an instant, of a group with rows at 0 and 5 unless others are given."""
    rows = [row(0, 1), row(5, 2)] if rows is None else rows
    answer = {"orders_value": value}
    time = None if served_at is None else at(served_at)
    table = served(view(ORDERS), [label(read_at)], [answer], {0: {ORDERS.id: (status, time)}})
    (feature,) = replay(catalog_with(folder, [(ORDERS, rows)]), view(ORDERS), table).features
    return feature


@pytest.mark.parametrize(
    ("value", "status", "served_at", "rows", "outcome"),
    [
        (2, Status.PRESENT, 5, None, Outcome.EQUAL),
        (2, Status.PRESENT, 0, None, Outcome.EQUAL),
        (1, Status.PRESENT, 0, None, Outcome.BEHIND),
        (9, Status.PRESENT, 7, None, Outcome.AHEAD),
        (9, Status.PRESENT, 5, None, Outcome.DIFFERENT),
        (None, Status.NOT_FOUND, None, None, Outcome.MISSING),
        (None, Status.EXPIRED, 0, None, Outcome.MISSING),
        (9, Status.PRESENT, 7, [], Outcome.EXTRA),
        (None, Status.NOT_FOUND, None, [], Outcome.EQUAL),
        (2, Status.PRESENT, 5, [row(0, 1), row(5, 2), row(5, created=8, retracted=True)], Outcome.AHEAD),
        (1, Status.PRESENT, 0, [row(0, 1), row(5, 2, created=11)], Outcome.EQUAL),
        (1, Status.PRESENT, 0, [row(0, 1), row(5, 2, created=10)], Outcome.BEHIND),
    ],
)
def test_how_a_value_differs(
    tmp_path: Path, value: Any, status: Status, served_at: int | None, rows: list[Row] | None, outcome: Outcome
) -> None:
    feature = replayed(tmp_path, value, status, served_at, rows)
    assert feature.outcomes == {outcome: 1}
    assert [example.outcome for example in feature.examples] == ([] if outcome is Outcome.EQUAL else [outcome])


def test_a_newer_row_than_the_offline_store_has_is_pending_until_that_is_written_to(tmp_path: Path) -> None:
    """Rows of a stream are served before they are committed; a commit may have begun before the row was there."""
    catalog = catalog_with(tmp_path, [(ORDERS, [row(0, 1)])])
    now = datetime.now(UTC)
    for read_at, outcome in ((now, Outcome.PENDING), (now - timedelta(minutes=2), Outcome.AHEAD)):
        reads = [{"user_id": "u", LABEL_TIMESTAMP: read_at}]
        report = replay(catalog, view(ORDERS), served(view(ORDERS), reads, [{"orders_value": 9}]))
        (feature,) = report.features
        assert feature.outcomes == {outcome: 1}
        assert (report.compared, report.pending) == ((0, 1) if outcome is Outcome.PENDING else (1, 0))
        assert report.is_consistent is (outcome is Outcome.PENDING)
    known = served(view(ORDERS), [{"user_id": "u", LABEL_TIMESTAMP: now}], [{"orders_value": 1}])
    assert replay(catalog, view(ORDERS), known).equal == 1


def test_an_example_says_who_read_what_and_when(tmp_path: Path) -> None:
    (example,) = replayed(tmp_path, 1, Status.PRESENT, 0).examples
    assert (example.keys, example.read_at, example.model) == ({"user_id": "u"}, at(10), "churn")
    assert (example.served, example.training) == (1, 2)
    assert (example.served_timestamp, example.training_timestamp) == (at(0), at(5))


def test_the_size_of_differences(tmp_path: Path) -> None:
    reads = [label(10)] * 100
    table = served(view(ORDERS), reads, [{"orders_value": 2 + i} for i in range(100)])
    (feature,) = replay(catalog_with(tmp_path, [(ORDERS, [row(0, 2)])]), view(ORDERS), table).features
    assert feature.outcomes == {Outcome.EQUAL: 1, Outcome.AHEAD: 99}
    sizes = list(range(1, 100))
    assert feature.deltas == (sizes[49], sizes[94], 99)
    assert len(feature.examples) == 5


def test_answers_that_failed_and_rows_of_another_definition_are_left_out(tmp_path: Path) -> None:
    reads, answers = [label(10), label(11)], [{"orders_value": 1}, {"orders_value": None}]
    failed = {1: {ORDERS.id: (Status.UNAVAILABLE, None)}}
    catalog = catalog_with(tmp_path, [(ORDERS, [row(0, 1)])])
    report = replay(catalog, view(ORDERS), served(view(ORDERS), reads, answers, failed))
    assert (report.rows, report.unavailable, report.compared, report.equal) == (2, 1, 1, 1)

    older = view(group(features=(Column("former_value", STRING),)))
    batch = batch_of(older, [])
    other = served_table(view(ORDERS), [batch_of(older, list(_rows(older)))])
    assert (other.rows, other.other_rows) == (0, 1)
    assert served_table(view(ORDERS), [batch]).other_rows == 0
    nothing = replay(catalog, view(ORDERS), other)
    assert (nothing.rows, nothing.first, nothing.features, nothing.is_consistent) == (0, None, (), True)


def _rows(of_view: Any) -> Any:
    from feature_store.online.samples import ServedRow

    yield ServedRow(1, "", ["u"], [Status.PRESENT], [0], [["x"]], [])


def test_a_group_keyed_by_a_feature_is_joined_by_what_training_has(tmp_path: Path) -> None:
    carts = group("carts", features=(Column("seller", STRING),))
    sellers = ViewedSchema(group("sellers", features=(Column("rating", FLOAT),)), ("seller",), "its_")
    tables = [
        (carts, [row(0, name="carts") | {"seller": "s"}]),
        (sellers.group, [row(0, user="s", name="sellers") | {"rating": 0.5}]),
    ]
    of_view = view(carts, sellers)
    reads = [label(3), {"user_id": "nobody", LABEL_TIMESTAMP: at(0) + timedelta(days=1)}]
    answers = [{"seller": "s", "its_rating": 0.5}, {"seller": None, "its_rating": None}]
    absent = {1: dict.fromkeys((carts.id, sellers.id), (Status.NOT_FOUND, None))}
    report = replay(catalog_with(tmp_path, tables), of_view, served(of_view, reads, answers, absent))
    assert report.is_consistent
    assert report.compared == 4
