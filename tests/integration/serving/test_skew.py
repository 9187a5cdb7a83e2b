"""Reads that a real server has answered, joined again: all equal, until the offline store says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store import FeatureStoreClient
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.settings import Settings
from feature_store.skew.replay import Outcome
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.unit import view_cases
from tests.unit.pit.pit_cases import rows_table
from tests.unit.view_cases import Row, view

USERS, ITEMS, SELLERS = (
    replace(group, version=7) for group in (view_cases.USERS, view_cases.ITEMS, view_cases.SELLERS)
)  # no other test has them
VIEW = replace(view(USERS, ITEMS, SELLERS.keyed_by("item_seller")), name="replayed")
USERS_READ = ["a", "b", "nobody", None]


def fact(entity: str, key: object, hours: int, **values: object) -> Row:
    time = datetime.now(UTC) - timedelta(hours=hours)
    features = {f"{entity}_{name}": value for name, value in values.items()}
    return {f"{entity}_id": key, "feature_timestamp": time, "created_timestamp": time, **features}


def test_what_a_server_answered_is_what_training_has(
    stack: Settings, new_registry: NewRegistry, catalog: Catalog, redis: Redis, tmp_path: Path
) -> None:
    registry = new_registry("registry_of_skew")
    registry.apply(registry.plan(compile_project(Project((USERS, ITEMS, SELLERS), (VIEW,), {}))), "tests")
    rows = {
        USERS.id: [fact("user", "a", 5, count=3), fact("user", "a", 2, count=4), fact("user", "b", 9, name="Zoë")],
        ITEMS.id: [fact("item", 1, 3, price=2.5, seller="s"), fact("item", 2, 60, price=9.5)],  # 2 has expired
        SELLERS.id: [fact("seller", "s", 4, count=8)],
    }
    for group in (USERS, ITEMS, SELLERS):
        schema = build_plan(group).schema
        ensure_table(catalog, schema).overwrite(rows_table(schema, rows[group.id]))
        materialize(catalog, redis, schema, now=datetime.now(UTC), full=True)
    server = ServerProcess(tmp_path, address_of(registry))
    server.start()
    with FeatureStoreClient(f"http://localhost:{server.port}", "") as client:
        for user in USERS_READ:
            for item in (1, 2):
                client.online(VIEW.id, [{"user_id": user, "item_id": item}])
    server.stop()

    store = FeatureStore(stack)
    store.registry = registry
    report = store.skew(VIEW.id)
    features = [feature.name for viewed in store.view(VIEW.id).groups for feature in viewed.features]
    assert report.replay.is_consistent, report.replay
    assert report.replay.compared == 2 * len(USERS_READ) * len(features)
    assert {feature.name for feature in report.features} == {*features}
    assert not report.skewed, "eight reads are too few to tell"

    # a row that was there before the reads, and that never came to the online store
    schema = build_plan(USERS).schema
    catalog.load_table(schema.table).append(rows_table(schema, [fact("user", "b", 1, name="Zoë", count=6)]))
    found = {feature.name: feature for feature in store.skew(VIEW.id).replay.features}
    assert found["user_count"].outcomes == {Outcome.EQUAL: 6, Outcome.BEHIND: 2}
    assert found["user_name"].outcomes == {Outcome.EQUAL: 8}, "the same value, of whichever row"
    example = found["user_count"].examples[0]
    assert (example.keys["user_id"], example.served, example.training) == ("b", 0, 6)
