"""The reference against values worked out by hand: it is what everything else is compared with."""

from __future__ import annotations

import pytest

from feature_store.dtypes import INT
from feature_store.pit.semantics import KnownBy, Row
from feature_store.plan.schema import Column, GroupSchema
from tests.unit.pit.pit_cases import group, label, reference, row


def value(labels: Row, schema: GroupSchema, rows: list[Row], known_by: KnownBy = None) -> object:
    return reference([labels], [(schema, rows)], known_by)[0]["orders_value"]


@pytest.mark.parametrize(("micros", "expected"), [(-1, None), (0, 1), (1, 1)])
def test_a_row_holds_from_its_own_instant(micros: int, expected: int | None) -> None:
    assert value(label(micros), group(), [row(0)]) == expected


@pytest.mark.parametrize(("micros", "expected"), [(9, None), (10, 1), (11, 1)])
def test_a_row_holds_from_when_it_is_available(micros: int, expected: int | None) -> None:
    assert value(label(micros), group(delay=10), [row(0)]) == expected


@pytest.mark.parametrize(("micros", "expected"), [(9, 1), (10, 1), (11, None)])
def test_a_row_holds_until_its_ttl_has_passed(micros: int, expected: int | None) -> None:
    assert value(label(micros), group(ttl=10), [row(0)]) == expected


def test_a_row_that_is_available_only_after_its_ttl_never_holds() -> None:
    assert [value(label(micros), group(ttl=5, delay=6), [row(0)]) for micros in range(8)] == [None] * 8


@pytest.mark.parametrize(("micros", "expected"), [(4, None), (5, 1), (6, 1)])
def test_a_row_is_known_from_when_it_was_written(micros: int, expected: int | None) -> None:
    assert value(label(micros), group(), [row(0, created=5)], "label") == expected


def test_the_latest_row_holds_and_among_equals_the_one_written_last() -> None:
    rows = [row(0, 1, created=9), row(3, 3, created=5), row(3, 2, created=4), row(7, 4)]
    assert value(label(6), group(), rows) == 3


def test_a_row_written_again_after_the_label_leaves_the_version_before() -> None:
    rows = [row(0, 1), row(3, 2, created=4), row(3, 3, created=9)]
    assert [value(label(micros), group(), rows, "label") for micros in (3, 4, 8, 9)] == [1, 2, 2, 3]


@pytest.mark.parametrize(("micros", "now", "known"), [(7, 1, 2), (8, 1, 1), (9, 1, 1), (11, 4, 1), (12, 4, 4)])
def test_a_retracted_row_is_not_there_and_the_row_before_it_holds(micros: int, now: int, known: int) -> None:
    rows = [row(0, 1), row(5, 2), row(5, created=8, retracted=True), row(11, 3), row(11, 4, created=12)]
    assert value(label(micros), group(), rows) == now
    assert value(label(micros), group(), rows, "label") == (3 if micros == 11 else known)


def test_a_null_key_finds_nothing_not_even_a_null_key() -> None:
    assert value(label(1, user=None), group(), [row(0, user=None)]) is None


def test_the_default_stands_in_for_missing_and_for_null() -> None:
    schema = group(features=(Column("orders_value", INT, default=0),))
    assert value(label(1), schema, []) == 0
    assert value(label(1), schema, [row(0, None)]) == 0
