"""Seeded labels and groups: a catalog of its own in a folder, labels as a Parquet file beside it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import FLOAT, INT, STRING
from feature_store.duration import DAY, MINUTE
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.pit.planning import open_table
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

DAYS = 15
START = 1_735_689_600_000_000  # 2025-01-01
SEED = 20260101
BUCKETS = 16
_LABELS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Size:
    """How much is joined: labels, groups, their rows and features, distinct keys and their type.

    `ttl_days` 0 is no ttl; `hot` is the share of labels, and of each group's rows, that are of one entity.
    """

    labels: int
    groups: int
    rows: int
    features: int
    entities: int
    keys: str
    ttl_days: int
    hot: float

    @property
    def key(self) -> Column:
        return Column("user_id", STRING if self.keys == "string" else INT)

    @property
    def ttl(self) -> int | None:
        """In microseconds."""
        return self.ttl_days * DAY or None

    @property
    def work(self) -> int:
        """N + M: labels and rows, of all groups."""
        return self.groups * (self.labels + self.rows)

    def __str__(self) -> str:
        return (
            f"{self.labels:,} labels, {self.groups} groups of {self.rows:,} rows and {self.features} features, "
            f"{self.entities:,} {self.keys} keys ({self.hot:.0%} are one), "
            + (f"ttl {self.ttl_days} days" if self.ttl_days else "no ttl")
        )


def view_of(size: Size) -> ViewSchema:
    def group(number: int) -> GroupSchema:
        features = tuple(Column(f"g{number}_feature_{n}", FLOAT) for n in range(size.features))
        return GroupSchema(f"g{number}", 1, (size.key,), features, size.ttl, 0, DAY, buckets=BUCKETS)

    return ViewSchema("bench", 1, tuple(ViewedSchema(group(number)) for number in range(size.groups)))


def catalog_in(folder: Path) -> SqlCatalog:
    return SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")


def labels_file(folder: Path) -> Path:
    return folder / "labels.parquet"


def size_in(folder: Path) -> Size:
    """The size of what was made there."""
    return Size(**json.loads((folder / "size.json").read_text()))


def make(folder: Path, size: Size) -> None:
    """Labels and groups, if they are not there yet; groups of the same shape are used again for other labels.

    The data files of each group are in `files/<group>/`, too, for those who read folders.
    """
    folder.mkdir(exist_ok=True)
    catalog = catalog_in(folder)
    for viewed in view_of(size).groups:
        if not catalog.table_exists(viewed.group.table):
            _fill(catalog, viewed.group, size)
            _link_files(folder, catalog, viewed.group)
    _write_labels(labels_file(folder), size)
    (folder / "size.json").write_text(json.dumps(asdict(size)))


def files_of(catalog: Catalog, group: GroupSchema) -> list[str]:
    """The data files of a group."""
    tasks = open_table(catalog, group).scan().plan_files()
    return sorted(task.file.file_path.removeprefix("file://") for task in tasks)


def _link_files(folder: Path, catalog: Catalog, group: GroupSchema) -> None:
    linked = folder / "files" / group.name
    linked.mkdir(parents=True)
    for number, path in enumerate(files_of(catalog, group)):
        os.link(path, linked / f"{number:06}.parquet")


def _write_labels(path: Path, size: Size) -> None:
    random = np.random.default_rng(SEED)
    writer: pq.ParquetWriter | None = None
    for start in range(0, size.labels, _LABELS_AT_ONCE):
        count = min(_LABELS_AT_ONCE, size.labels - start)
        table = pa.table(
            {
                "number": np.arange(start, start + count),
                size.key.name: _keys(size, random, count),
                "label_timestamp": pa.array(START + random.integers(0, DAYS * DAY, count), pa.timestamp("us", "UTC")),
                "bought": random.random(count) < 0.1,
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _fill(catalog: Catalog, group: GroupSchema, size: Size) -> None:
    """One commit per day, as a daily group is materialized; one row in 200 is written again an hour later."""
    table = ensure_table(catalog, group)
    random = np.random.default_rng([SEED, int(group.name[1:])])
    count = size.rows // DAYS
    for day in range(DAYS):
        times = START + day * DAY + random.integers(0, DAY, count)
        columns = [_keys(size, random, count), pa.array(times), pa.array(times + MINUTE), pa.nulls(count, pa.bool_())]
        columns += [pa.array(random.random(count)) for _ in group.features]
        rows = pa.table(columns, arrow_schema(group).names)
        again = rows.slice(0, count // 200)
        later = pa.array(again["created_timestamp"].to_numpy() + 60 * MINUTE)
        again = again.set_column(2, "created_timestamp", later)
        again = again.set_column(4, again.column_names[4], pa.array(random.random(len(again))))
        table.append(pa.concat_tables([rows, again]).cast(arrow_schema(group)))


def _keys(size: Size, random: np.random.Generator, count: int) -> pa.Array:
    numbers = random.integers(0, size.entities, count)
    numbers[random.random(count) < size.hot] = 0
    if size.key.dtype == INT:
        return pa.array(numbers)
    return pa.array([f"user_{number:07}" for number in range(size.entities)]).take(pa.array(numbers))
