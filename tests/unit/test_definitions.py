"""What Dagster loads: light to import, and its graph is the reviewed one. UPDATE_GOLDEN=1 writes it anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import definitions
from feature_assets.offline import offline_asset
from feature_assets.online import online_asset
from feature_store import FeatureGroup
from feature_store.dsl.collect import load_project
from feature_store.plan.build import build_plan, view_schema

SNAPSHOT = Path(__file__).parent / "asset_graph.json"
HEAVY = [
    *("pyspark", "numpy", "pandas", "polars", "pyarrow", "pyiceberg", "duckdb", "great_expectations", "scipy"),
    *("sqlalchemy", "psycopg2", "alembic", "redis", "confluent_kafka"),
]
MOST_MODULES = 250
"""Beyond those that Dagster loads: a busy machine does not change them, as it would seconds. It is 180 now."""


def test_loading_the_definitions_imports_nothing_heavy(tmp_path: Path) -> None:
    """Every Dagster process pays for it; what computes, stores or serves is imported by the run that does so.

    Where a stack runs its registry is asked for what was posted: SQLAlchemy, which Dagster's own storage needs there.
    """
    code = (
        "import sys, dagster\n"
        "of_dagster = len(sys.modules)\n"
        "import definitions\n"
        "definitions.defs.get_repository_def()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "print(len(sys.modules) - of_dagster)"
    )
    environment = {**os.environ, "FS_HOME": str(tmp_path / "home")}
    folder = Path(definitions.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    heavy, modules = done.stdout.splitlines()
    assert heavy == "[]"
    assert int(modules) <= MOST_MODULES


def test_loading_the_definitions_needs_and_starts_nothing(tmp_path: Path) -> None:
    """No stack runs here: nothing is connected to, no thread or file is left."""
    code = (
        "import socket, threading\n"
        "def refuse(*_): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "import definitions\n"
        "definitions.defs.get_repository_def()\n"
        "print([thread.name for thread in threading.enumerate()])"
    )
    environment = {**os.environ, "FS_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(definitions.__file__).parent,
        env=environment,
    )
    assert done.stdout.strip() == "['MainThread']"
    assert not (tmp_path / "home").exists()


def test_the_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(definitions.defs)


def test_the_asset_graph_is_the_reviewed_one() -> None:
    graph = described(definitions.defs)
    if os.environ.get("UPDATE_GOLDEN"):
        SNAPSHOT.write_text(json.dumps(graph, indent=1) + "\n")
    assert graph == json.loads(SNAPSHOT.read_text()), (
        "the asset graph changed: review it, then write it with UPDATE_GOLDEN=1"
    )


def described(defs: dg.Definitions) -> dict[str, Any]:
    """What is said of all assets, but for their columns; jobs, schedules and sensors."""
    checks: dict[str, list[str]] = {}
    chunks: dict[str, str | None] = {}
    for assets in [*(defs.assets or []), *(defs.asset_checks or [])]:
        if isinstance(assets, dg.AssetsDefinition):
            policy = str(assets.backfill_policy) if assets.backfill_policy else None
            chunks |= {key.to_user_string(): policy for key in assets.keys}
            for check in assets.check_specs:
                blocking = " (blocking)" if check.blocking else ""
                checks.setdefault(check.asset_key.to_user_string(), []).append(check.name + blocking)
    assets = {}
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string()):
        name = spec.key.to_user_string()
        assets[name] = {
            "description": spec.description,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "tags": {tag: value for tag, value in sorted(spec.tags.items()) if not tag.startswith("dagster/kind/")},
            "partitions": str(spec.partitions_def) if spec.partitions_def else None,
            "freshness": str(spec.freshness_policy) if spec.freshness_policy else None,
            "checks": checks.get(name, []),
            "backfill": chunks.get(name),
        }
    repository = defs.get_repository_def()
    jobs = {
        job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    schedules = {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs}
    sensors = {sensor.name: sensor.minimum_interval_seconds for sensor in repository.sensor_defs}
    return {"assets": assets, "jobs": jobs, "schedules": schedules, "sensors": sensors}


@pytest.mark.parametrize("group", ["user_orders", "item_catalogue"])
def test_columns_and_lineage_are_shown(group: str) -> None:
    spec = next(s for s in definitions.defs.resolve_all_asset_specs() if s.key.path == ["offline", group, "v1"])
    schema, lineage = spec.metadata["dagster/column_schema"], spec.metadata["dagster/column_lineage"]
    columns = (
        [column.name for column in schema.value.columns]
        if hasattr(schema, "value")
        else [c.name for c in schema.columns]
    )
    deps = lineage.value.deps_by_column if hasattr(lineage, "value") else lineage.deps_by_column
    assert set(deps) <= set(columns)
    assert all(deps.values())


@pytest.mark.parametrize("group", ["user_orders", "user_interactions"])
def test_a_vector_comes_column_by_column_from_the_table(group: str) -> None:
    specs = {tuple(spec.key.path): spec for spec in definitions.defs.resolve_all_asset_specs()}
    lineage = specs["online", group, "v1"].metadata["dagster/column_lineage"].deps_by_column
    table = specs["offline", group, "v1"].metadata
    stored = {column.name for column in table["dagster/column_schema"].columns}
    assert set(table["dagster/column_lineage"].deps_by_column) < set(lineage)
    for name, deps in lineage.items():
        assert [(dep.asset_key.path, dep.column_name) for dep in deps] == [(["offline", group, "v1"], name)]
        assert name in stored


def test_a_stream_comes_column_by_column_from_its_event_log() -> None:
    specs = {tuple(spec.key.path): spec for spec in definitions.defs.resolve_all_asset_specs()}
    spec = specs["offline", "user_interactions", "v1"]
    deps = spec.metadata["dagster/column_lineage"].deps_by_column["user_clicks_last_30min"]
    log = specs["source", "interactions_log"].metadata["dagster/column_schema"]
    assert {tuple(dep.asset_key.path) for dep in deps} == {("source", "interactions_log")}
    assert {dep.column_name for dep in deps} <= {column.name for column in log.columns}


def test_a_training_set_comes_column_by_column_from_the_tables_of_its_view() -> None:
    specs = {tuple(spec.key.path): spec for spec in definitions.defs.resolve_all_asset_specs()}
    lineage = specs["training", "repurchase"].metadata["dagster/column_lineage"].deps_by_column
    view = load_project("feature_defs").view("repurchase@1")
    assert set(lineage) == {column.name for column in view_schema(view).outputs}
    for deps in lineage.values():
        for dep in deps:
            stored = specs[tuple(dep.asset_key.path)].metadata["dagster/column_schema"].columns
            assert dep.column_name in {column.name for column in stored}


def test_a_deprecated_group_says_so_in_dagster() -> None:
    left = {"successor": "user_orders@2", "removal": "2027-01-31", "reason": "counted returns"}
    group = load_project("feature_defs").group("user_orders@1")
    plan = build_plan(FeatureGroup.from_json({**group.to_json(), "deprecated": left}))
    for made in (offline_asset(plan, "shop", chunk=30), online_asset(plan, "shop")):
        (spec,) = made.specs
        assert spec.tags["status"] == "deprecated"
        assert "Deprecated, successor user_orders@2, removal on 2027-01-31: counted returns." in str(spec.description)
    (spec,) = offline_asset(build_plan(group), "shop", chunk=30).specs
    assert (spec.tags["status"], spec.description) == ("active", group.description)
