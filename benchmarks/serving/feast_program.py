"""What runs in Feast's own Python: `-m benchmarks.serving.feast_program FOLDER`, with FOLDER/groups.json.

It makes the feature repository in FOLDER, fills its online store with the rows in FOLDER/<group>.parquet, and prints
"filled". Then each line of its input is a question in JSON, `{"features": [...], "rows": [[...], ...], "seconds": n}`,
which it asks the SDK: for so many seconds, the answer is a measurement; with 0 once, the answer is the values.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

from benchmarks.serving.measurement import measure_calls

TYPES = {"FLOAT": Float64, "INT": Int64, "STRING": String}


def main(folder: Path) -> None:
    groups = json.loads((folder / "groups.json").read_text())
    store = FeatureStore(repo_path=str(folder))
    entities = {
        key: Entity(name=key.removesuffix("_id"), join_keys=[key], value_type=ValueType.STRING)
        for group in groups
        for key in group["keys"]
    }
    views = [_view(folder, group, entities) for group in groups]
    store.apply([*entities.values(), *views, _on_demand(views)])
    # On both cores: nothing is measured yet.
    with ProcessPoolExecutor(2, initializer=os.sched_setaffinity, initargs=(0, {0, 1})) as pool:
        list(pool.map(_fill, [folder] * len(views), [view.name for view in views]))
    print("filled", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(store, **json.loads(line))), flush=True)


def _fill(folder: Path, view: str) -> None:
    """Writes the rows of a group, as of yesterday."""
    rows = pq.read_table(folder / f"{view}.parquet").to_pandas()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    FeatureStore(repo_path=str(folder)).write_to_online_store(view, rows.assign(event_timestamp=yesterday))


def _view(folder: Path, group: Mapping[str, Any], entities: Mapping[str, Entity]) -> FeatureView:
    return FeatureView(
        name=group["name"],
        entities=[entities[key] for key in group["keys"]],
        ttl=timedelta(0),
        source=FileSource(
            name=f"{group['name']}_rows",
            path=str(folder / f"{group['name']}.parquet"),
            timestamp_field="event_timestamp",
        ),
        schema=[
            *(Field(name=key, dtype=String) for key in group["keys"]),
            *(Field(name=name, dtype=TYPES.get(kind) or Array(Float32)) for name, kind in group["features"].items()),
        ],
    )


def _on_demand(views: Sequence[FeatureView]) -> Any:
    """The view `budget`: on-demand features as Python over columns, the fastest of Feast's modes."""
    orders = next(view for view in views if view.name == "user_orders")
    return on_demand_feature_view(
        sources=[orders, RequestSource(name="given", schema=[Field(name="budget", dtype=Float64)])],
        schema=[Field(name="user_rest", dtype=Float64), Field(name="user_share", dtype=Float64)],
        mode="python",
    )(budget)


def budget(inputs: dict[str, Any]) -> dict[str, Any]:
    """The on-demand features of the view `budget` in shop.py."""
    budgets, spent, other = inputs["budget"], inputs["user_orders_f0"], inputs["user_orders_f1"]
    return {
        "user_rest": [b - x for b, x in zip(budgets, spent, strict=True)],
        "user_share": [x / (x + b) for b, x in zip(budgets, other, strict=True)],
    }


def _answer(store: FeatureStore, features: list[str], rows: list[list[dict[str, Any]]], seconds: float) -> Any:
    turns = cycle(rows)

    def ask() -> dict[str, Any]:
        values: dict[str, Any] = store.get_online_features(features=features, entity_rows=next(turns)).to_dict()
        return values

    return asdict(measure_calls(ask, seconds)) if seconds else ask()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
