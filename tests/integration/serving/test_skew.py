"""Reads that a real server has answered, joined again: all equal, until the offline store says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_assets.skew import CONSISTENT, DISTRIBUTED, skew_asset
from feature_store import FeatureStoreClient
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.plan.build import build_plan
from feature_store.plan.project import compile_project
from feature_store.registry import skew_reports
from feature_store.registry.access.store import AccessControl
from feature_store.registry.access.tokens import Principal
from feature_store.registry.skew_reports import SkewReports
from feature_store.settings import Settings
from feature_store.skew.replay import Outcome
from resources.store import FeatureStoreResource
from sensors.alerts import Watched
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.unit import view_cases
from tests.unit.pit.pit_cases import rows_table
from tests.unit.view_cases import Row, view

# of a version that no other test has
USERS = replace(
    view_cases.USERS,
    version=7,
    features=tuple(replace(feature, pii=feature.name == "user_name") for feature in view_cases.USERS.features),
)
ITEMS, SELLERS = replace(view_cases.ITEMS, version=7), replace(view_cases.SELLERS, version=7)
VIEW = replace(view(USERS, ITEMS, SELLERS.keyed_by("item_seller")), name="replayed")
PAIRS = view_cases.PAIRS
PROJECT = Project((USERS, ITEMS, SELLERS, PAIRS), (VIEW,), {})
USERS_READ = ["a", "b", "nobody", None]


def fact(entity: str, key: object, hours: int, **values: object) -> Row:
    time = datetime.now(UTC) - timedelta(hours=hours)
    features = {f"{entity}_{name}": value for name, value in values.items()}
    return {f"{entity}_id": key, "feature_timestamp": time, "created_timestamp": time, **features}


def test_what_a_server_answered_is_what_training_has(
    stack: Settings,
    new_registry: NewRegistry,
    catalog: Catalog,
    redis: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = new_registry("registry_of_skew")
    registry.apply(registry.plan(compile_project(PROJECT)), "tests")
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
    report = store.skew(VIEW.id, keep=True)
    features = [feature.name for viewed in store.view(VIEW.id).groups for feature in viewed.features]
    assert report.replay.is_consistent, report.replay
    assert report.replay.compared == 2 * len(USERS_READ) * len(features)
    assert {feature.name for feature in report.features} == {*features}
    assert not report.skewed, "eight reads are too few to tell"

    # a row that was there before the reads, and that never came to the online store
    schema = build_plan(USERS).schema
    catalog.load_table(schema.table).append(rows_table(schema, [fact("user", "b", 1, name="Zoë", count=6)]))
    found = {feature.name: feature for feature in store.skew(VIEW.id, keep=True).replay.features}
    assert found["user_count"].outcomes == {Outcome.EQUAL: 6, Outcome.BEHIND: 2}
    assert found["user_name"].outcomes == {Outcome.EQUAL: 8}, "the same value, of whichever row"
    example = found["user_count"].examples[0]
    assert (example.keys["user_id"], example.served, example.training) == ("b", 0, 6)

    secret = AccessControl(registry.engine).create_token("skew", Principal.parse("service:reader"), "tests").secret
    server.start()
    of_view, of_group = f"/feature-views/{VIEW.name}/skew-report", f"/feature-groups/{USERS.id}/skew-report"
    newest, first = server.get(of_view, count=5).json["reports"]
    assert (first["replay"]["equal"], newest["replay"]["equal"]) == (
        first["replay"]["compared"],
        report.replay.equal - 2,
    )
    assert [feature["name"] for feature in newest["replay"]["features"]] == features
    (of_users,) = server.get(of_group).json["reports"]
    assert {feature["name"] for feature in of_users["features"]} == {feature.name for feature in USERS.features}
    assert (of_users["replay"]["compared"], of_users["replay"]["equal"]) == (8 * len(USERS.features), 8 * 4 - 2)
    reader = {"Authorization": f"Bearer {secret}"}
    (masked,) = server.get(of_view, reader).json["reports"]
    seen = [*masked["features"], *masked["replay"]["features"]]
    assert {feature["name"] for feature in seen} == {*features} - {"user_name"}
    assert server.get(of_view, count="many").status == 400
    assert server.get("/feature-views/nothing/skew-report").status == 404
    assert server.get(of_view, count=9).json["reports"] == [newest, first]

    monkeypatch.setattr(FeatureStoreResource, "client", store)
    run = dg.materialize([skew_asset(VIEW)], resources={"store": FeatureStoreResource()})
    metadata = run.asset_materializations_for_node("skew__replayed__v1")[0].metadata
    assert metadata["values equal"].value == metadata["values compared"].value - 2 == newest["replay"]["equal"]
    assert metadata["consistency"].value == pytest.approx(1 - 2 / newest["replay"]["compared"])
    verdicts = {verdict.check_name: verdict for verdict in run.get_asset_check_evaluations()}
    assert not verdicts[CONSISTENT].passed
    assert "not all of user_count (user_facts@7)" in (verdicts[CONSISTENT].description or "")
    assert verdicts[DISTRIBUTED].passed
    assert Watched.of([], [VIEW]).checks == tuple(verdict.asset_check_key for verdict in verdicts.values())
    assert len(server.get(of_view, count=9).json["reports"]) == 3
    assert server.get(f"/feature-groups/{PAIRS.id}/skew-report").json == {"id": PAIRS.id, "reports": []}
    server.stop()


def test_only_the_newest_reports_are_kept(new_registry: NewRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = new_registry("registry_of_reports")
    registry.apply(registry.plan(compile_project(PROJECT)), "tests")
    monkeypatch.setattr(skew_reports, "KEEP", 3)
    reports, began = SkewReports(registry.engine), datetime.now(UTC)
    for day in (4, 1, 3, 0, 2, 3):
        reports.keep(VIEW.id, began + timedelta(days=day), {"day": day})
    assert [report["day"] for report in reports.newest(VIEW.id, 10)] == [4, 3, 2]
    assert reports.newest("nothing@1") == []
