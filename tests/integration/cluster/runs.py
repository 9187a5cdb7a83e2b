"""What tests have a driver do: functions whose first argument is a shop on the cluster's session."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pyarrow as pa

from feature_store import FLOAT, INT, Feature, FeatureGroup, agg
from feature_store.compile.reference_events import Row
from feature_store.offline import materialize
from feature_store.offline.audit import Evidence
from feature_store.offline.maintenance import Maintained, Retention, maintain
from feature_store.plan.build import build_plan
from feature_store.quality.expectations import judge, refuse_failures
from tests.integration.offline_setting import Shop, day, event

DAYS = 6
"""More than are computed directly, so that the kernel has a part in it."""
USERS = tuple(f"user_{n}" for n in range(12))


def many_events(days: int = DAYS) -> list[Row]:
    """Some events of each user and day, more than one at an instant, with and without an amount."""
    pick = Random(days)
    return [
        event(user, 24 * n + hour, None if hour == 3 else pick.randint(-50, 50) / 2)
        for n in range(days)
        for user in USERS
        for hour in pick.choices(range(24), k=3)
    ]


def windowed(shop: Shop, name: str, buckets: int = 2) -> FeatureGroup:
    """A group of sums and counts over windows."""
    return shop.group(
        name,
        buckets=buckets,
        features=[
            Feature("user_count_3d", agg.count(), window="3d", dtype=INT),
            Feature("user_sum_2d", agg.sum("amount"), window="2d", dtype=FLOAT),
            Feature("user_max_all_time", agg.max("amount"), window="all_time", dtype=FLOAT),
        ],
    )


def run(shop: Shop, name: str, first: int, last: int, buckets: int = 2) -> list[tuple[datetime, datetime]]:
    """Computes and judges some days, by the kernel if it can, however few rows there are; gives what it found late.

    Args:
        buckets: with many, a run writes for some time.
    """
    materialize.SLID_FROM = 0
    group = windowed(shop, name, buckets)
    plan = build_plan(group)

    def audit(evidence: Evidence) -> None:
        refuse_failures(plan, judge(plan, evidence))

    done = shop.run(group, day(first), day(last), audit=audit)
    return [(_instant(late[0]), _instant(late[1])) for late in done.late]


def stored(shop: Shop, name: str) -> list[Row]:
    return shop.stored(windowed(shop, name))


def upkeep(shop: Shop, table: str) -> Maintained:
    """Maintains a table, keeping no old snapshot."""
    keep = Retention(snapshots=1, age=timedelta(0))
    return maintain(shop.spark, shop.catalog, table, datetime.now(UTC), retention=keep)


def workers(shop: Shop) -> list[tuple[int, str]]:
    """The ids of the Python processes that functions run in, and where they have this package from."""

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import feature_store

        for batch in batches:
            size = len(batch)
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()] * size, "place": [feature_store.__file__] * size})

    look.__module__ = "__main__"  # by value: workers have no tests
    found = shop.spark.range(0, 8, 1, 8).mapInArrow(look, "pid long, place string").distinct().toArrow()
    return [(row["pid"], row["place"]) for row in found.to_pylist()]


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)
