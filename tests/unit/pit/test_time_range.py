"""Without labels, every row of a span that stands makes one: an entity and the instant it became available."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.dtypes import FLOAT, to_micros
from feature_store.duration import DAY
from feature_store.errors import InputError
from feature_store.offline.tables import ensure_table
from feature_store.pit import budget
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.semantics import Row
from feature_store.pit.time_range import TimeRange
from feature_store.plan.build import view_schema
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, Column, GroupSchema, ViewSchema
from tests.unit.pit.pit_cases import ITEM, USER, at, group, groups, reference, row, rows_of, rows_table, view, viewed
from tests.unit.pit.test_roles import EARLIER, catalog_of, fact
from tests.unit.view_cases import ITEMS, SELLERS
from tests.unit.view_cases import view as defined

IN_MEMORY = 1 << 30
Case = list[tuple[GroupSchema, list[Row]]]


def dataset(
    folder: Path, case: list[tuple[GroupSchema, list[Row]]], span: TimeRange, memory: int = 1 << 30
) -> TrainingDataset:
    catalog = catalog_of(folder, {})
    for schema, rows in case:
        ensure_table(catalog, schema).append(rows_table(schema, rows))
    reads = view(*(schema for schema, _ in case))
    return build_in(catalog, folder / "training", reads, span, name="x", memory=memory)


def expected_labels(case: Case, span: TimeRange) -> set[tuple[object, ...]]:
    """By plain loops: the newest version of each row, unless it takes the row back."""
    found: set[tuple[object, ...]] = set()
    for schema, rows in case:
        newest: dict[tuple[object, ...], Row] = {}
        for one in rows:
            key = (
                *(one[k.name] for k in schema.keys),
                one[FEATURE_TIMESTAMP] + timedelta(microseconds=schema.availability_delay),
            )
            if key not in newest or one[CREATED_TIMESTAMP] >= newest[key][CREATED_TIMESTAMP]:
                newest[key] = one
        found |= {key for key, one in newest.items() if None not in key and not one[RETRACTED]}
    return {key for key in found if span.start <= key[-1] < span.end}  # type: ignore[operator]


@settings(max_examples=12, deadline=None)
@given(
    data=st.data(),
    first=st.sampled_from([-DAY, -1, 0, 3]),
    length=st.sampled_from([1, 9, DAY, 5 * DAY]),
    memory=st.sampled_from([0, IN_MEMORY]),
)
def test_the_labels_are_the_standing_rows_of_all_groups(
    data: st.DataObject, first: int, length: int, memory: int
) -> None:
    keys = data.draw(st.sampled_from([(USER,), (ITEM,), (USER, ITEM)]))
    case: Case = []
    for name in ("orders", "visits"):
        schema = data.draw(groups(name, keys))
        distinct = {
            (tuple(r[k.name] for k in keys), r[FEATURE_TIMESTAMP], r[CREATED_TIMESTAMP]): r
            for r in data.draw(rows_of(schema))
        }
        case.append((schema, list(distinct.values())))
    span = TimeRange(at(first), at(first + length))
    labels = expected_labels(case, span)
    with tempfile.TemporaryDirectory() as name:
        if not labels:
            with pytest.raises(InputError, match="there are no rows"):
                dataset(Path(name), case, span)
            return
        rows = dataset(Path(name), case, span, memory).table.to_pylist()
        names = [*(key.name for key in keys), "label_timestamp"]
        given_labels = [{name: one[name] for name in names} for one in rows]
        assert len(rows) == len(labels)
        assert {tuple(one.values()) for one in given_labels} == labels
        assert rows == reference(given_labels, case)


def _distinct(schema: GroupSchema, rows: list[Row]) -> list[Row]:
    """Without rows that differ in their values only: no run writes two of one entity, time and instant of creation."""
    times = [*(key.name for key in schema.keys), FEATURE_TIMESTAMP, CREATED_TIMESTAMP]
    return list({tuple(one[name] for name in times): one for one in rows}.values())


@pytest.mark.parametrize(("start", "end", "found"), [(-1, 0, []), (0, 1, [1]), (-1, 1, [1]), (1, 2, [])])
def test_a_span_is_closed_at_its_start_and_open_at_its_end(
    tmp_path: Path, start: int, end: int, found: list[int]
) -> None:
    case = [(group(delay=7), [row(-7, 1), row(90 * DAY, 2)])]
    zone = timezone(timedelta(hours=5))
    span = TimeRange(at(start).astimezone(zone), at(end).astimezone(zone))
    if found:
        assert dataset(tmp_path, case, span).table["orders_value"].to_pylist() == found
    else:
        with pytest.raises(InputError, match="there are no rows"):
            dataset(tmp_path, case, span)


def test_groups_keyed_by_features_follow(tmp_path: Path) -> None:
    rows = {ITEMS.id: [fact("item", 1, 9, seller="s")], SELLERS.id: [fact("seller", "s", 20, count=4)]}
    reads = view_schema(defined(ITEMS.select("item_seller"), SELLERS.select("seller_count").keyed_by("item_seller")))
    span = TimeRange(EARLIER - timedelta(days=2), EARLIER)
    made = build_in(catalog_of(tmp_path, rows), tmp_path / "training", reads, span, name="x")
    assert made.table.drop("label_timestamp").to_pylist() == [{"item_id": 1, "item_seller": "s", "seller_count": 4}]


def test_spans_that_cannot_stand_for_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no time zone"):
        TimeRange(datetime(2025, 1, 1), EARLIER)  # noqa: DTZ001
    with pytest.raises(InputError, match="let it start before it ends"):
        TimeRange(EARLIER, EARLIER)
    span = TimeRange(at(0), at(9))
    with pytest.raises(InputError, match=r"different keys: .*item_id"):
        dataset(tmp_path, [(group(), [row(0)]), (group("stats", keys=(ITEM,)), [])], span)
    asking = ViewSchema("asking", 1, (viewed(group()),), request=(Column("price", FLOAT),))
    with pytest.raises(InputError, match="needs price"):
        build_in(catalog_of(tmp_path, {}), tmp_path / "training", asking, span, name="x")


def test_a_span_again_from_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels come from the snapshots that the record names, too."""
    monkeypatch.setattr(budget, "_LEAST_ROWS", 2)
    schema, span = group(), TimeRange(at(0), at(9))
    before = dataset(tmp_path, [(schema, [row(0, 1), row(5, 2)])], span)
    catalog = catalog_of(tmp_path, {})
    ensure_table(catalog, schema).append(rows_table(schema, [row(3, 9), row(5, 7, created=8)]))
    again = build_in(catalog, tmp_path / "training", view(schema), span, name="x", snapshots=before.snapshots)
    now = build_in(catalog, tmp_path / "training", view(schema), span, name="x")
    assert again.table.equals(before.table)
    assert again.labels_hash == before.labels_hash
    assert now.table["orders_value"].to_pylist() == [1, 9, 7]
    assert to_micros(at(0)) in [to_micros(one) for one in now.table["label_timestamp"].to_pylist()]
