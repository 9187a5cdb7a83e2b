"""On-demand features on the real stack: online and in training the same values for the same instants."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, Feature, FeatureGroup, FeatureView, OnDemand, agg
from feature_store.client import FeatureStore
from feature_store.compile.reference_expressions import evaluate
from feature_store.compile.spark_expressions import spark_sql
from feature_store.dsl.collect import Project
from feature_store.errors import ConflictError, InputError
from feature_store.offline.tables import ensure_table
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.expressions import parse_expression
from feature_store.settings import Settings
from tests.unit import on_demand_functions as functions
from tests.unit.on_demand_cases import ORDERS, USER
from tests.unit.pit.pit_cases import rows_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]
DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
ON_DEMAND = (
    OnDemand("time_since_last", "request_time - user_last_at_all_time", dtype=INT),
    OnDemand("price_ratio", "price / user_value_mean_30d", dtype=FLOAT, default=1.0),
    OnDemand("is_home", "country = 'DE' AND user_order_count_30d > 0", dtype=BOOL),
    OnDemand("days_since_last", "time_since_last / 86400000000", dtype=FLOAT, default=-1.0),
    OnDemand("due_at", "CASE WHEN is_home THEN user_last_at_all_time ELSE deadline END", dtype=TIMESTAMP,
             default=DAY0),
    OnDemand("segment", "CASE WHEN price_ratio > 1.0 THEN upper(country) || user_id END", dtype=STRING, default="-"),
    OnDemand("spent", "user_order_count_30d * items", dtype=INT),
    OnDemand("hour", function=functions.hour, dtype=INT),
    OnDemand("ratio", function=functions.ratio, dtype=FLOAT),
)  # fmt: skip
REQUEST = {"price": FLOAT, "country": STRING, "deadline": TIMESTAMP, "items": INT}


class Shop:
    """A group with rows of many users in Iceberg and Redis, a recorded view over it, and the store."""

    def __init__(self, stack: Settings, catalog: Catalog) -> None:
        self.group = FeatureGroup(
            f"orders_{uuid.uuid4().hex[:12]}",
            entity=USER,
            source=ORDERS,
            owner="team:test",
            features=[
                Feature("user_order_count_30d", agg.count(), window="30d", dtype=INT, default=0),
                Feature("user_value_mean_30d", agg.mean("amount"), window="30d", dtype=FLOAT),
                Feature("user_last_at_all_time", agg.max("ts"), window="all_time", dtype=TIMESTAMP),
            ],
        )
        self.view = self.view_of(*ON_DEMAND)
        self.store = FeatureStore(stack)
        self.apply(self.view)
        schema = build_plan(self.group).schema
        rows = [self._row(random.Random(user), user) for user in range(40)]
        ensure_table(catalog, schema).append(rows_table(schema, rows))
        self.store.materialize_online(schema)

    def view_of(self, *on_demand: OnDemand, version: int = 1, **changes: Any) -> FeatureView:
        name = self.group.name.replace("orders", "ranking")
        request = changes.pop("request", REQUEST)
        return FeatureView(
            name, version=version, groups=[self.group], owner="team:t", on_demand=on_demand, request=request, **changes
        )

    def apply(self, *views: FeatureView) -> None:
        self.store.apply(Project((self.group,), views, {}, packages=("tests",)))

    def _row(self, chance: random.Random, user: int) -> Row:
        at = DAY0 - timedelta(microseconds=chance.randrange(10**12))
        return {
            "user_id": f"u{user}",
            "feature_timestamp": at,
            "created_timestamp": at,
            "user_order_count_30d": chance.choice([None, 0, 3, 2**40]),
            "user_value_mean_30d": chance.choice([None, 0.0, 0.1, 3.0]),
            "user_last_at_all_time": chance.choice([None, at - timedelta(microseconds=chance.randrange(10**13))]),
        }


@pytest.fixture(scope="module")
def shop(stack: Settings, catalog: Catalog) -> Iterator[Shop]:
    return Shop(stack, catalog)  # type: ignore[return-value]


REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.integers(0, 44).map("u{}".format) | st.none(),  # the last ones are unknown
            "price": st.sampled_from([None, 0.0, 7.0, 0.3, 1e308, float("nan")]),
            "country": st.sampled_from([None, "DE", "fr", "é"]),
            "deadline": st.sampled_from([None, DAY0 + timedelta(days=9, microseconds=1)]),
            "items": st.sampled_from([None, 0, 5, -3]),
        }
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=REQUESTS, micros=st.integers(0, 10**14))
def test_online_and_training_agree(shop: Shop, requests: list[Row], micros: int) -> None:
    """One request for all, one per row, and a training set: one instant, the same values, the reference's values."""
    now = DAY0 + timedelta(microseconds=micros)
    vectors = shop.store.online(shop.view.id, requests, now)
    labels = pl.DataFrame([row | {"label_timestamp": now} for row in requests], schema_overrides=LABELS)
    data = shop.store.training_dataset(shop.view.id, labels, name="agree").wait()
    names = [column.name for column in shop.store.view(shop.view.id).outputs]
    online = vectors.to_arrow()
    assert online.column_names == ["user_id", *names]
    assert data.table.column_names == [*labels.columns, *names]
    assert data.table.select(["user_id", *names]).equals(online.cast(data.table.select(["user_id", *names]).schema))
    assert [{name: row[name] for name in names} for row in vectors.to_dicts()] == online.select(names).to_pylist()
    alone = [shop.store.online(shop.view.id, [row], now).to_dicts()[0] for row in requests[:5]]
    assert alone == vectors.to_dicts()[:5]
    check_by_reference(shop, requests, now, vectors.to_dicts())


LABELS = {"user_id": pl.String, "price": pl.Float64, "country": pl.String, "items": pl.Int64,
          "deadline": pl.Datetime("us", "UTC"), "label_timestamp": pl.Datetime("us", "UTC")}  # fmt: skip


def check_by_reference(shop: Shop, requests: list[Row], now: datetime, found: list[Row]) -> None:
    schema = shop.store.view(shop.view.id)
    for request, values in zip(requests, found, strict=True):
        price = None if request["price"] is not None and request["price"] != request["price"] else request["price"]
        known = request | values | {"price": price, "request_time": now}
        for column in schema.on_demand:
            if column.expression is not None:
                value = evaluate(column.expression, known)
                assert values[column.name] == (column.default if value is None else value), column.name
        mean = values["user_value_mean_30d"]
        assert values["hour"] == now.hour
        quotient = None if price is None or not mean else price / mean
        assert values["ratio"] == (None if quotient is None or quotient == float("inf") else quotient)


def test_request_values_for_all_rows_and_the_server_s_clock(shop: Shop) -> None:
    rows = [{"user_id": f"u{i}"} for i in range(40)]
    request = {"price": 2, "country": "DE", "deadline": None, "items": 2}
    before = datetime.now(UTC)
    vectors = shop.store.online(shop.view.id, rows, request=request)
    after = datetime.now(UTC)
    instants = {
        row["user_last_at_all_time"] + timedelta(microseconds=row["time_since_last"])
        for row in vectors.to_dicts()
        if row["user_last_at_all_time"] is not None
    }
    assert len(instants) == 1
    assert before <= instants.pop() <= after
    own = shop.store.online(shop.view.id, [{**row, "price": 3.0} for row in rows], request=request)
    assert [row["is_home"] for row in own.to_dicts()] == [row["is_home"] for row in vectors.to_dicts()]
    assert own.statuses == vectors.statuses
    matrix = own.to_numpy(["price_ratio", "user_order_count_30d", "spent"], dtype="float64")
    assert matrix[:, 2].tolist() == (matrix[:, 1] * 2).tolist()
    assert shop.store.online(shop.view.id, [], request=request).to_dicts() == []


def test_null_rates_and_record(shop: Shop) -> None:
    now = DAY0 + timedelta(days=1)
    labels = [{"user_id": "nobody", "price": 1.0, "country": None, "items": 1, "label_timestamp": now,
               "deadline": now}] * 4  # fmt: skip
    data = shop.store.training_dataset(shop.view.id, labels, name="record").wait()
    assert data.null_rates["price_ratio"] == 1.0
    assert data.null_rates["hour"] == 0.0
    assert data.table["price_ratio"].to_pylist() == [1.0] * 4
    record = json.loads((data.path / "manifest.json").read_text())
    assert record["view"] == shop.view.id
    assert list(record["null_rates"]) == [column.name for column in shop.store.view(shop.view.id).outputs]
    again = shop.store.training_dataset(shop.view.id, labels, name="record", snapshots=record["snapshots"]).wait()
    assert again.table.equals(data.table)


def test_what_does_not_fit_stops_before_anything_runs(shop: Shop) -> None:
    label = {"user_id": "u1", "country": "DE", "items": 1, "deadline": None, "label_timestamp": DAY0}
    with pytest.raises(InputError, match="labels column 'price': missing"):
        shop.store.training_dataset(shop.view.id, [label], name="missing").wait()
    with pytest.raises(InputError, match="labels column 'price': it is string, but the request value 'price' is FLOAT"):
        shop.store.training_dataset(shop.view.id, [label | {"price": "1"}], name="type").wait()
    with pytest.raises(InputError, match="row 0: the request value 'price' is missing"):
        shop.store.online(shop.view.id, [{"user_id": "u1"}], request={"country": "DE", "items": 1, "deadline": None})


def test_an_overflow_is_null_in_its_row_online_and_in_training(shop: Shop) -> None:
    user = next(row["user_id"] for row in shop.store.online(
        shop.view.id, [{"user_id": f"u{i}"} for i in range(40)],
        request=dict.fromkeys(REQUEST)).to_dicts() if row["user_order_count_30d"] == 2**40)  # fmt: skip
    row = {"user_id": user, "price": 1.0, "country": "DE", "items": 2**40, "deadline": None}
    rows = [row | {"items": 2}, row, row | {"items": 3}]
    vectors = shop.store.online(shop.view.id, rows)
    served = [found["spent"] for found in vectors.to_dicts()]
    assert served[0] is not None
    assert served[1] is None
    assert served[2] is not None
    assert vectors.overflowed == [(), ("spent",), ()]
    labels = [found | {"label_timestamp": DAY0} for found in rows]
    trained = shop.store.training_dataset(shop.view.id, labels, name="overflow").wait().to_polars()
    assert trained["spent"].to_list()[1] is None


def test_the_registry_keeps_them(shop: Shop) -> None:
    """A changed one needs a new version; a new one does not, and is served at once."""
    assert shop.store.view(shop.view.id) == view_schema(shop.view, ("tests",))
    changed = [OnDemand("is_home", "country = 'FR'", dtype=BOOL), *(o for o in ON_DEMAND if o.name != "is_home")]
    with pytest.raises(ConflictError, match=r"on-demand feature is_home: expression.*define the change with version=2"):
        shop.apply(shop.view_of(*changed))
    more = OnDemand("user_name", "lower(user_id)", dtype=STRING)
    shop.apply(shop.view_of(*ON_DEMAND, more))
    (row,) = shop.store.online(shop.view.id, [{"user_id": "u1"}], request=dict.fromkeys(REQUEST)).to_dicts()
    assert row["user_name"] == "u1"
    second = shop.view_of(more, version=2, request={})
    shop.apply(shop.view_of(*ON_DEMAND, more), second)
    assert [*shop.store.online(second.id, [{"user_id": "u2"}]).to_dicts()[0]][-1] == "user_name"


def test_a_difference_of_timestamps_on_spark(spark: SparkSession) -> None:
    schema = {"a": TIMESTAMP, "b": TIMESTAMP}
    expression = parse_expression("a - b", schema)
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    rows = [{"a": a, "b": b} for a in (DAY0, first, last, None) for b in (DAY0 - timedelta(microseconds=1), last, None)]
    values = ", ".join(f"({_sql(row['a'])}, {_sql(row['b'])})" for row in rows)
    found = spark.sql(f"SELECT {spark_sql(expression)} AS d FROM VALUES {values} AS t(a, b)").collect()
    assert [row["d"] for row in found] == [evaluate(expression, row) for row in rows]


def _sql(instant: datetime | None) -> str:
    return "NULL" if instant is None else f"TIMESTAMP '{instant.isoformat()}'"
