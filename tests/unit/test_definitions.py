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

SNAPSHOT = Path(__file__).parent / "asset_graph.json"
HEAVY = ("pyspark", "great_expectations", "scipy", "confluent_kafka", "redis")


def test_importing_the_definitions_loads_nothing_heavy() -> None:
    code = f"import sys, definitions; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(definitions.__file__).parent
    )
    assert done.stdout.strip() == "[]"


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
    """Keys, dependencies, checks, partitions, owners and SLAs of all assets; jobs, schedules and sensors."""
    checks: dict[str, list[str]] = {}
    for assets in [*(defs.assets or []), *(defs.asset_checks or [])]:
        if isinstance(assets, dg.AssetsDefinition):
            for check in assets.check_specs:
                blocking = " (blocking)" if check.blocking else ""
                checks.setdefault(check.asset_key.to_user_string(), []).append(check.name + blocking)
    assets = {}
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string()):
        name = spec.key.to_user_string()
        assets[name] = {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "partitions": str(spec.partitions_def) if spec.partitions_def else None,
            "freshness": str(spec.freshness_policy) if spec.freshness_policy else None,
            "checks": checks.get(name, []),
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
