"""The literature's SQL, group by group: labels joined with all rows of their entity and span, the last by row_number.

The number of pairs is that of the labels of an entity times its rows: one entity with 5 % of both makes most of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.training.setting import RESULT, Setting, connected, rows_in
from feature_store.local.java import embedded_java_home
from feature_store.settings import state_folder


def by_duckdb(folder: Path, memory: int) -> Callable[[], int]:
    setting, connection = Setting(folder), connected(folder, 2 * memory)
    result = setting.result()
    tables = {name: f"read_parquet({files!r})" for name, files in setting.files.items()}
    statement = _statement(setting, f"read_parquet('{setting.labels}')", tables)

    def run() -> int:
        connection.execute(f"copy ({statement}) to '{result}' (format parquet, compression snappy)")
        return rows_in(result)

    return run


def by_spark(folder: Path, memory: int) -> Callable[[], int]:
    setting, result = Setting(folder), folder / RESULT
    os.environ.setdefault("JAVA_HOME", str(embedded_java_home(state_folder(os.environ))))
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    options = {
        "spark.driver.memory": f"{2 * memory >> 20}m",
        "spark.local.dir": str(folder / "spark"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[*]")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.read.parquet(str(setting.labels)).createOrReplaceTempView("labels")
    for name, files in setting.files.items():
        session.read.parquet(*files).createOrReplaceTempView(name)
    statement = _statement(setting, "labels", {name: name for name in setting.files})

    def run() -> int:
        session.sql(statement).write.parquet(str(result), compression="snappy")
        return rows_in(result)

    return run


def _statement(setting: Setting, labels: str, tables: Mapping[str, str]) -> str:
    key, ttl = setting.key, setting.size.ttl
    fresh = f"and r.feature_timestamp >= l.label_timestamp - interval '{setting.size.ttl_days}' day" if ttl else ""
    ctes, joined = [], labels
    for group in setting.groups:
        features = ", ".join(f"r.{feature.name}" for feature in group.features)
        ctes.append(
            f"{group.name}_ranked as (select l.*, {features}, row_number() over (partition by l.number "
            f"order by r.feature_timestamp desc, r.created_timestamp desc) as place from {joined} l "
            f"left join {tables[group.name]} r on l.{key} = r.{key} "
            f"and r.feature_timestamp <= l.label_timestamp {fresh})"
        )
        names = ["number", key, "label_timestamp", "bought"]
        names += [f.name for g in setting.groups[: setting.groups.index(group) + 1] for f in g.features]
        ctes.append(f"{group.name}_joined as (select {', '.join(names)} from {group.name}_ranked where place = 1)")
        joined = f"{group.name}_joined"
    return f"with {', '.join(ctes)} select * from {joined}"
