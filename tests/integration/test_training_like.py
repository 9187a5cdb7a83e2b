"""A dataset made again on the real stack: after maintenance by Spark and an addition to its group, by its manifest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_store.errors import ConflictError, InputError, NotFoundError
from feature_store.offline.maintenance import maintain
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from tests.integration.test_maintenance import NOTHING_STAYS
from tests.integration.test_versions import COUNT, NOON, VALUE, Shop, shop  # noqa: F401 - shop is a fixture

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

USERS = ["ann", "bob", "nobody"]
LABELS = [
    {"user_id": user, "label_timestamp": NOON + timedelta(minutes=30 * number), "bought": number > 3}
    for number, user in enumerate([*USERS, *USERS])
]


def test_the_same_rows_from_the_manifest_after_all_that_may_happen(
    stack: Settings,
    shop: Shop,  # noqa: F811
    spark: SparkSession,
) -> None:
    group = shop.group(COUNT)
    client = shop.apply(group, shop.view(group))
    for number in range(5):
        shop.write(group, "ann", user_order_count_30d=number)
    view, name = shop.view(group).id, shop.name
    before = client.training_dataset(view, LABELS, name=name).wait(60)
    assert before.path == Path(stack.home / "warehouse" / "training" / name / before.id)
    assert before.manifest.requested_by
    assert before.manifest.longest_window == timedelta(days=30) / timedelta(microseconds=1)

    grown = shop.group(COUNT, VALUE)
    shop.apply(grown, shop.view(grown))
    for number in range(5):
        shop.write(grown, "bob", user_order_count_30d=7 + number, user_order_value_sum_30d=1.5)
    table = build_plan(group).schema.table
    done = maintain(spark, client.catalog, table, datetime.now(UTC), retention=NOTHING_STAYS)
    assert done.rewritten >= 5
    assert done.after.snapshots < done.before.snapshots
    now = shop.client().training_dataset(view, LABELS, name=name).wait(60)
    assert VALUE.name in now.table.column_names
    assert now.table["user_order_count_30d"].to_pylist() != before.table["user_order_count_30d"].to_pylist()

    for like in (before, before.path, before.manifest_url, shop.client().load_dataset(before.url)):
        again = shop.client().training_dataset(view, name=name, like=like).wait(60)
        assert again.table.equals(before.table)
        assert (again.snapshots, again.labels_hash) == (before.snapshots, before.labels_hash)
    recorded = {made.id: made.path for made in client.registry.training_datasets(view)}
    assert recorded[again.id] == again.url
    with pytest.raises(ConflictError, match="their hash is"):
        client.training_dataset(view, LABELS[1:], name=name, like=before).wait(60)
    with pytest.raises(InputError, match="labels of the dataset that it is like"):
        client.training_dataset(view, name=name, like=before, time_range=(NOON, NOON))
    with pytest.raises(NotFoundError, match="no dataset"):
        client.training_dataset(view, name=name, like=stack.home / "nowhere")


def test_spark_reads_the_rows_of_a_part(stack: Settings, shop: Shop, spark: SparkSession) -> None:  # noqa: F811
    group = shop.group(COUNT)
    client = shop.apply(group, shop.view(group))
    shop.write(group, "ann", user_order_count_30d=2**53 + 1)
    data = client.training_dataset(shop.view(group).id, LABELS, name=shop.name).wait(60)
    for rows in (data, data.sample(0.5, seed=4), data.split(test=NOON + timedelta(hours=1), gap="0s").train):
        found = rows.to_spark(spark).toArrow().to_pylist()
        assert sorted(found, key=str) == sorted(rows.to_arrow().to_pylist(), key=str)
    assert data.to_spark(spark).schema["user_order_count_30d"].dataType.simpleString() == "bigint"
