"""The offline table as the history of what was known: what recomputed partitions add to it, and what readers see then.

On real Spark, Iceberg and Redis. The oracle is a dictionary of rows in plain Python.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from feature_store import FLOAT, INT, LIST, Feature, FeatureGroup, FeatureView, agg
from feature_store.client import FeatureStore
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row
from feature_store.compile.span import Span
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.offline.audit import Audit
from feature_store.offline.maintenance import Retention, maintain
from feature_store.pit.semantics import KnownBy
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.integration.offline_setting import SOME_EVENTS, Shop, day, event

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_numbers = count(1)
FEATURES = [
    Feature("user_count_2d", agg.count(), window="2d", dtype=INT),
    Feature("user_mean_all_time", agg.mean("amount"), window="all_time", dtype=FLOAT, default=-1.0),
    Feature("user_amount_last_2d", agg.last_n("amount", 3), window="2d", dtype=LIST(FLOAT)),
]
Place = tuple[str, datetime]
NOTHING_STAYS = Retention(snapshots=1, age=timedelta(0))


@pytest.fixture
def shop(quick: SparkSession, stack: Settings, catalog: Catalog, tmp_path: Path) -> Shop:
    return Shop(quick, stack, catalog, tmp_path)


def new_group(shop: Shop, **changes: Any) -> FeatureGroup:
    return shop.group(f"user_history_{next(_numbers)}", **({"features": FEATURES} | changes))


def versions(shop: Shop, group: FeatureGroup) -> dict[Place, list[Row]]:
    """All rows that a group's table ever got, by place, in the order of their creation."""
    found: dict[Place, list[Row]] = {}
    table = shop.catalog.load_table(build_plan(group).schema.table).scan().to_arrow()
    for row in table.sort_by("created_timestamp").to_pylist():
        found.setdefault((row["user_id"], row["feature_timestamp"]), []).append(row)
    return found


def values(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("created_timestamp", "retracted")}


USERS = [{"user_id": user} for user in ("a", "b", "c", "nobody")]
CHANGED = [event("a", -50, 1), event("a", 3, 9), *SOME_EVENTS[2:], event("b", 100, 8)]
WITHOUT_C = [row for row in SOME_EVENTS if row["user_id"] != "c"]


class Served:
    """A group and its view: what readers were told, and when."""

    def __init__(self, shop: Shop, settings: Settings) -> None:
        self.shop, self.store, self.group = shop, FeatureStore(settings), new_group(shop)
        self.view = FeatureView(f"{self.group.name}_view", groups=[self.group], owner="team:test")
        self.store.apply(Project((self.group,), (self.view,), {self.group.id: "test"}))
        self.answers: list[tuple[datetime, list[Row]]] = []

    def compute(self, events: list[Row]) -> None:
        """Computes the partitions of some events, publishes, reads, and notes what was read and when."""
        self.shop.write(events)
        self.shop.run(self.group, day(0), day(7))
        self.store.materialize_online(build_plan(self.group).schema)
        served = self.store.online(f"{self.view.name}@1", USERS).to_dicts()
        now = datetime.now(UTC)
        assert served == self.joined([now], None)[0], "online is what the join says now"
        self.answers.append((now, served))

    def joined(self, times: list[datetime], known_by: KnownBy) -> list[list[Row]]:
        """For each time the answers for all users, as the join has them."""
        labels = pl.DataFrame([{**user, "label_timestamp": at} for at in times for user in USERS])
        job = self.store.training_dataset(f"{self.view.name}@1", labels, name=self.group.name, known_by=known_by)
        rows = job.wait(60).to_polars().drop("label_timestamp").to_dicts()
        return [rows[n : n + len(USERS)] for n in range(0, len(rows), len(USERS))]

    def check(self) -> None:
        """`known_by` gives at each noted time what was read then."""
        assert self.joined([at for at, _ in self.answers], "label") == [answers for _, answers in self.answers]


def test_known_by_gives_what_was_served_after_any_recomputation(shop: Shop, stack: Settings) -> None:
    served = Served(shop, stack)
    for events in (SOME_EVENTS, SOME_EVENTS, CHANGED, WITHOUT_C, WITHOUT_C, SOME_EVENTS):
        served.compute(events)
    answers = [answer for _, answer in served.answers]
    assert answers[0] == answers[1] == answers[5]
    assert answers[3] == answers[4]
    assert answers[0] != answers[2] != answers[3]
    assert answers[3][2]["user_count_2d"] is None, "c is gone"
    served.check()
    history, table = versions(shop, served.group), build_plan(served.group).schema.table
    maintain(shop.spark, shop.catalog, table, datetime.now(UTC), retention=NOTHING_STAYS)
    assert versions(shop, served.group) == history
    served.check()


class Oracle:
    """What stands and what was ever written, by a loop over the reference's rows."""

    def __init__(self, shop: Shop, group: FeatureGroup) -> None:
        self.shop, self.group = shop, group
        self.standing: dict[Place, Row] = {}

    def run(self, first: int, end: int) -> None:
        """A run of some days, and what the table must be after it."""
        is_new = not self.shop.catalog.table_exists(build_plan(self.group).schema.table)
        before = {} if is_new else versions(self.shop, self.group)
        self.shop.run(self.group, day(first), day(end))
        span = Span(to_micros(day(first)), to_micros(day(end)), first=first == 0)
        rows = run_reference(build_plan(self.group), {"purchases": self.shop.rows}, span)
        self.standing = {place: row for place, row in self.standing.items() if not day(first) < place[1] <= day(end)}
        self.standing |= {(row["user_id"], row["feature_timestamp"]): row for row in rows}
        self.check(before)
        COMPARED["recomputed spans"] += 1

    def check(self, before: dict[Place, list[Row]]) -> None:
        after = versions(self.shop, self.group)
        newest = {place: rows[-1] for place, rows in after.items()}
        assert {place: values(row) for place, row in newest.items() if not row["retracted"]} == self.standing
        for place, rows in after.items():
            old = before.get(place, [])
            assert rows[: len(old)] == old, "what was written stays as it was"
            assert len(rows) <= len(old) + 1
            for one, other in pairwise(rows):
                assert one["created_timestamp"] < other["created_timestamp"]
                assert values(one) != values(other) or one["retracted"] != other["retracted"], "equal rows stand"
        assert before.keys() <= after.keys()
        assert all(set(values(row).values()) >= {None} for row in newest.values() if row["retracted"])


EVENTS = st.builds(event, st.sampled_from("ab"), st.sampled_from([-30, 1, 30, 47.9, 49]), st.sampled_from([0.5, 3.0]))
RUNS = st.lists(
    st.tuples(st.lists(EVENTS, max_size=6), st.sampled_from([(0, 4), (0, 1), (1, 3), (2, 4)])), min_size=3, max_size=3
)


@settings(
    max_examples=3,
    phases=[Phase.generate],  # a smaller case takes minutes to be found
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(first=st.lists(EVENTS, max_size=6), runs=RUNS)
def test_any_runs_over_changing_events_only_add_what_differs(
    shop: Shop, first: list[Row], runs: list[tuple[list[Row], tuple[int, int]]]
) -> None:
    oracle = Oracle(shop, new_group(shop))
    shop.write(first)
    oracle.run(0, 4)
    for events, days in runs:
        shop.write(events)
        oracle.run(*days)
    oracle.run(0, 4)
    assert list(oracle.standing.values()) == shop.expected(oracle.group, day(0), day(4))


@pytest.mark.parametrize(("mine", "others"), [(SOME_EVENTS, SOME_EVENTS[:2]), (SOME_EVENTS[:2], SOME_EVENTS)])
def test_two_runs_of_one_partition_at_once_give_one_row_after_the_other(
    shop: Shop, mine: list[Row], others: list[Row]
) -> None:
    """Into an empty table and again over what stands; the other run publishes while this one is audited."""
    group = new_group(shop)

    def meanwhile(events: list[Row]) -> Audit:
        def audit(_: object) -> None:
            shop.write(events)
            shop.run(group, day(0), day(5))

        return audit

    for n in range(2):
        shop.write([*mine, event("d", 70, n)])
        shop.run(group, day(0), day(5), audit=meanwhile([*others, event("d", 71, n)]))
        shop.write([*mine, event("d", 70, n)])
        assert shop.stored(group) == shop.expected(group, day(0), day(5))
        for rows in versions(shop, group).values():
            times = [row["created_timestamp"] for row in rows]
            assert times == sorted(set(times))
            assert all(values(a) != values(b) or a["retracted"] != b["retracted"] for a, b in pairwise(rows))
