"""How fast rows get from the offline into the online store, beside Feast's `materialize` and `redis-cli --pipe`.

Run: .fs/venv/bin/python -m benchmarks.batch.online --feast PYTHON --redis-cli PROGRAM   (a Valkey of its own; a minute)

`benchmarks.serving --beside feast` makes a Python with Feast: --feast .fs/feast-venv/bin/python

100,000 rows, one for each entity, of ten features go into an empty Valkey, in turns:

- materialize: from an Iceberg table: read, the newest row of each entity chosen, encoded, written through the guard;
- Feast: its `materialize` of the same rows in a Parquet file, without its imports;
- redis-cli --pipe: the encoded rows as SET commands from a file, the floor: nothing is read, encoded or guarded.

Without --feast or --redis-cli these are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from redis import Redis

from benchmarks.batch.setting import timed
from benchmarks.online_write import ENTITIES, GROUP, rows_of, show, valkey
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.online.writer import GuardedWriter

# What Feast's own interpreter runs: folder, port and the features by type as JSON; it prints its seconds.
IN_FEAST = """
import json, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, Int64, String
folder, port, features = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
types = {"FLOAT": Float64, "INT": Int64, "STRING": String}
user = Entity(name="user", join_keys=["user_id"])
source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="feature_timestamp",
                    created_timestamp_column="created_timestamp")
view = FeatureView(name="user_orders", entities=[user], ttl=timedelta(days=90), source=source, online=True,
                   schema=[Field(name=name, dtype=types[kind]) for name, kind in features.items()])
store = FeatureStore(config=RepoConfig(project="bench", provider="local", registry=str(folder / "registry.db"),
    online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"}, entity_key_serialization_version=3))
store.apply([user, view])
now = datetime.now(timezone.utc)
began = time.perf_counter()
store.materialize(now - timedelta(days=3), now)
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feast", help="a Python with Feast")
    parser.add_argument("--redis-cli")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as redis:
        folder = Path(name)
        port = str(redis.connection_pool.connection_kwargs["port"])
        rows = rows_of(to_micros(datetime.now(UTC)) // DAY * DAY)
        pq.write_table(rows, folder / "rows.parquet")
        candidates: dict[str, Callable[[], float]] = {"materialize": _from_iceberg(redis, folder, rows)}
        if given.feast:
            candidates["Feast's materialize"] = lambda: _in_feast(given.feast, folder, port)
        if given.redis_cli:
            _write_commands(redis, folder / "commands", rows)
            candidates["redis-cli --pipe"] = lambda: _piped(given.redis_cli, folder / "commands", port)
        rates: dict[str, list[float]] = {candidate: [] for candidate in candidates}
        for _ in range(given.rounds):
            for candidate, run in candidates.items():
                redis.flushdb()
                rates[candidate].append(ENTITIES / run())
                assert redis.dbsize() >= ENTITIES, candidate
    print(f"{ENTITIES:,} entities of {len(GROUP.features)} features into Valkey, entities/s, {given.rounds} rounds")
    for candidate, measured in rates.items():
        show(candidate, measured)
    ours = statistics.median(rates.pop("materialize"))
    for candidate, measured in rates.items():
        print(f"  materialize is {ours / statistics.median(measured):.2f} times as fast as {candidate}")


def _from_iceberg(redis: Redis, folder: Path, rows: pa.Table) -> Callable[[], float]:
    """Materializes a table that nobody has materialized before."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    ensure_table(catalog, GROUP).append(rows)
    return lambda: timed(lambda: materialize(catalog, redis, GROUP))


def _in_feast(python: str, folder: Path, port: str) -> float:
    features = json.dumps({feature.name: str(feature.dtype) for feature in GROUP.features})
    command = [python, "-W", "ignore", "-c", IN_FEAST, str(folder), port, features]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def _write_commands(redis: Redis, path: Path, rows: pa.Table) -> None:
    writer = GuardedWriter(redis, GROUP)
    columns = rows.drop_columns(["created_timestamp"]).to_pydict()
    with path.open("wb") as file:
        for user, at, *values in zip(*columns.values(), strict=True):
            instant = to_micros(at)
            parts = (b"SET", f"{GROUP.id}:{{{user}}}".encode(), writer.encode(instant, instant, values, instant))
            file.write(b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))


def _piped(program: str, path: Path, port: str) -> float:
    with path.open("rb") as commands:
        command = [program, "-p", port, "--pipe"]
        return timed(lambda: subprocess.run(command, check=True, stdin=commands, stdout=subprocess.DEVNULL))


if __name__ == "__main__":
    main()
