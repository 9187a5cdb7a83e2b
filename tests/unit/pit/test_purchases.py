"""The real purchases of CDNOW with a label for each customer every 30 days: rows computed by hand, and all by loops."""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureView, agg
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.semantics import Row
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from tests.unit.pit.pit_cases import rows_table, view

LOG = Path(__file__).parents[3] / "demo" / "data" / "cdnow_master.csv.gz"
BEGIN = datetime(1997, 1, 1, tzinfo=UTC)
LABELS = [BEGIN + timedelta(days=30 * number) for number in range(19)]
"""1997-01-01, 1997-01-31, … 1998-06-25."""

CUSTOMER = Entity("customer", join_key="customer_id")
PURCHASES = BatchSource(
    "purchases",
    table="raw.purchases",
    event_timestamp="bought_at",
    schema={"customer_id": STRING, "bought_at": TIMESTAMP, "value": FLOAT, "cds": INT},
)
WINDOWS = FeatureGroup(
    "customer_purchases",
    entity=CUSTOMER,
    source=PURCHASES,
    owner="team:test",
    features=[
        Feature("customer_count_90d", agg.count(), window="90d", dtype=INT, default=0),
        Feature("customer_cds_max_90d", agg.max("cds"), window="90d", dtype=INT),
        Feature("customer_value_sum_all_time", agg.sum("value"), window="all_time", dtype=FLOAT),
    ],
)
LAST = GroupSchema(
    "customer_last", 1, (Column("customer_id", STRING),), (Column("last_value", FLOAT), Column("last_cds", INT)),
    ttl=60 * DAY, availability_delay=0, freshness=DAY, buckets=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def purchases() -> list[Row]:
    """All of them, in the order of the file."""
    with gzip.open(LOG, "rt") as file:
        return [
            {
                "customer_id": row["customer_id"],
                "bought_at": datetime.strptime(row["date"], "%Y%m%d").replace(tzinfo=UTC),
                "value": float(row["dollar_value"]),
                "cds": int(row["number_of_cds"]),
            }
            for row in csv.DictReader(file)
        ]


def dataset(folder: Path, group: GroupSchema, rows: pa.Table, reads: ViewSchema, labels: Any) -> TrainingDataset:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    ensure_table(catalog, group).append(rows)
    return build_in(catalog, folder / "training", reads, labels, name="purchases")


def test_a_handful_of_windows_computed_by_hand(purchases: list[Row], tmp_path: Path) -> None:
    """Customer 08022 bought at the time of a label, 90 days before another, and a year later.

    00004: 1997-01-01 2 CDs 29.33, 01-18 2 29.73, 08-02 1 14.96, 12-12 2 26.48.
    00111: 01-01 1 35.99, 01-11 1 32.99, 03-15 4 77.96, 04-16 3 59.30, 04-24 2 134.98, 06-23 1 91.92, 07-22 3 47.08,
    07-26 2 71.96, 10-25 3 78.47, 12-06 3 83.47, 1998-01-18 4 84.46, 02-15 4 123.96, 02-21 2 32.98, 02-26 2 23.06, …
    08022: 1997-01-31 4 72.46, 12-31 9 116.41, 1998-06-30 10 200.57.
    """
    by_hand: dict[tuple[str, str], tuple[int, int | None, float | None]] = {
        ("00004", "1997-01-01"): (0, None, None),  # the purchase of that day is not before it
        ("00004", "1997-01-31"): (2, 2, 59.06),
        ("00004", "1997-05-31"): (0, None, 59.06),
        ("00004", "1997-08-29"): (1, 1, 74.02),
        ("00111", "1997-01-31"): (2, 1, 68.98),
        ("00111", "1997-05-31"): (3, 4, 341.22),
        ("00111", "1997-10-28"): (1, 3, 630.65),
        ("00111", "1998-03-27"): (4, 4, 978.58),
        ("08022", "1997-01-31"): (0, None, None),  # bought at that instant
        ("08022", "1997-03-02"): (1, 4, 72.46),
        ("08022", "1997-05-01"): (1, 4, 72.46),  # exactly 90 days ago
        ("08022", "1997-05-31"): (0, None, 72.46),
        ("08022", "1998-01-26"): (1, 9, 188.87),
        ("nobody", "1998-01-26"): (0, None, None),
    }
    chosen = [row for row in purchases if row["customer_id"] in {"00004", "00111", "08022"}]
    plan = build_plan(WINDOWS)
    span = Span(to_micros(BEGIN), to_micros(LABELS[-1]) + 30 * DAY, first=True)
    rows = [
        row | {"created_timestamp": row["feature_timestamp"]}
        for row in run_reference(plan, {"purchases": chosen}, span)
    ]
    labels = [
        {"customer_id": customer, "label_timestamp": moment}
        for customer in ("08022", "nobody", "00111", "00004")
        for moment in LABELS
    ]
    reads = view_schema(FeatureView("again", groups=[WINDOWS], owner="team:test"))
    found = dataset(tmp_path, plan.schema, rows_table(plan.schema, rows), reads, labels).table.to_pylist()
    assert [(row["customer_id"], row["label_timestamp"]) for row in found] == [tuple(row.values()) for row in labels]
    of = {(row["customer_id"], f"{row['label_timestamp']:%Y-%m-%d}"): tuple(row.values())[2:] for row in found}
    for label, expected in by_hand.items():
        assert of[label] == pytest.approx(expected, abs=1e-9), label


def test_the_last_purchase_of_every_customer_at_every_label(purchases: list[Row], tmp_path: Path) -> None:
    """All 69,659 purchases as rows, of one day's the last, and a label for each of 23,570 customers every 90 days."""
    moments = LABELS[1::3]
    times = np.array([to_micros(row["bought_at"]) for row in purchases])
    columns = {
        "customer_id": [row["customer_id"] for row in purchases],
        "feature_timestamp": times,
        "created_timestamp": times + np.arange(len(purchases)),
        "retracted": pa.nulls(len(purchases), pa.bool_()),
        "last_value": [row["value"] for row in purchases],
        "last_cds": [row["cds"] for row in purchases],
    }
    customers = list(dict.fromkeys(columns["customer_id"]))
    labels = pa.table(
        {
            "customer_id": customers * len(moments),
            "label_timestamp": pa.array([moment for moment in moments for _ in customers], pa.timestamp("us", "UTC")),
        }
    )
    rows = pa.table(columns).select(arrow_schema(LAST).names).cast(arrow_schema(LAST))
    found = dataset(tmp_path, LAST, rows, view(LAST), labels).table
    assert found.select(["customer_id", "label_timestamp"]).equals(labels)
    expected = _last(purchases, customers, moments)
    assert list(zip(found["last_value"].to_pylist(), found["last_cds"].to_pylist(), strict=True)) == expected
    assert expected.count((None, None)) > len(expected) // 2  # most customers never came back


def _last(purchases: Sequence[Row], customers: Sequence[str], moments: Sequence[datetime]) -> list[tuple[Any, Any]]:
    """The last purchase of each customer at each moment, if it is not more than 60 days old."""
    history = defaultdict(list)
    for row in purchases:
        history[row["customer_id"]].append((row["bought_at"], row["value"], row["cds"]))
    for days in history.values():
        days.sort(key=lambda purchase: purchase[0])  # stable: of one day in the order of the file
    found: list[tuple[Any, Any]] = []
    for moment in moments:
        for customer in customers:
            days = history[customer]
            place = bisect_right(days, moment, key=lambda purchase: purchase[0]) - 1
            fresh = place >= 0 and days[place][0] >= moment - timedelta(days=60)
            found.append(days[place][1:] if fresh else (None, None))
    return found
