"""Feast's offline stores, in Feast's own Python: `get_historical_features` of the labels, written as Parquet.

They read the data files of the groups from `files/<group>/`, in a repository that is made in the folder.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

KEY = "user_id"
SETTINGS = """\
project: benchmark
provider: local
registry: {folder}/registry.db
online_store: null
offline_store: {store}
entity_key_serialization_version: 3
"""


def dask(folder: Path, memory: int) -> Callable[[], int]:  # noqa: ARG001 - it knows no bound
    return _retrieval(folder, {"type": "dask"}, _file_source)


def duckdb(folder: Path, memory: int) -> Callable[[], int]:  # noqa: ARG001 - it knows no bound
    return _retrieval(folder, {"type": "duckdb"}, _file_source)


def spark(folder: Path, memory: int) -> Callable[[], int]:
    from pyspark.sql import SparkSession

    options = {
        "spark.master": "local[*]",
        "spark.driver.memory": f"{2 * memory >> 20}m",
        "spark.local.dir": str(folder / "spark"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder
    for name, value in options.items():
        builder = builder.config(name, value)
    builder.getOrCreate()  # Feast takes the session that is there
    return _retrieval(folder, {"type": "spark", "spark_conf": options}, _spark_source)


def _retrieval(folder: Path, offline_store: Mapping[str, Any], source: Callable[[Path, str], Any]) -> Callable[[], int]:
    warnings.simplefilter("ignore")
    size = json.loads((folder / "size.json").read_text())
    repository = folder / f"feast-{offline_store['type']}"
    repository.mkdir(exist_ok=True)
    settings = SETTINGS.format(folder=repository, store=json.dumps(offline_store))
    (repository / "feature_store.yaml").write_text(settings)
    store = FeatureStore(repo_path=str(repository))
    is_text = size["keys"] == "string"
    user = Entity(name="user", join_keys=[KEY], value_type=ValueType.STRING if is_text else ValueType.INT64)
    groups = {f"g{n}": [f"g{n}_feature_{f}" for f in range(size["features"])] for n in range(size["groups"])}
    views = [
        FeatureView(
            name=group,
            entities=[user],
            ttl=timedelta(days=size["ttl_days"]),
            source=source(folder, group),
            schema=[
                Field(name=KEY, dtype=String if is_text else Int64),
                *(Field(name=feature, dtype=Float64) for feature in features),
            ],
        )
        for group, features in groups.items()
    ]
    store.apply([user, *views])
    wanted = [f"{group}:{feature}" for group, features in groups.items() for feature in features]
    result = folder / "result"

    def run() -> int:
        labels = pd.read_parquet(folder / "labels.parquet").rename(columns={"label_timestamp": "event_timestamp"})
        table = store.get_historical_features(labels, wanted).to_arrow()
        names = ["label_timestamp" if name == "event_timestamp" else name for name in table.column_names]
        result.mkdir(exist_ok=True)
        pq.write_table(table.rename_columns(names), result / "result.parquet", compression="snappy")
        return int(table.num_rows)

    return run


def _file_source(folder: Path, group: str) -> Any:
    return FileSource(
        name=f"{group}_rows",
        path=str(folder / "files" / group / "*.parquet"),
        timestamp_field="feature_timestamp",
        created_timestamp_column="created_timestamp",
    )


def _spark_source(folder: Path, group: str) -> Any:
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    return SparkSource(
        name=f"{group}_rows",
        path=str(folder / "files" / group),
        file_format="parquet",
        timestamp_field="feature_timestamp",
        created_timestamp_column="created_timestamp",
    )
