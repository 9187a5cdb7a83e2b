"""How fast vectors are read in process, beside redis-py's MGET of the same keys, whose answers nobody decodes.

Run: .fs/venv/bin/python -m benchmarks.online_read   (a Valkey of its own; under a minute)

Shapes: R1 one entity of one group, R2 one of three, R3 100 of one, R4 1,000 of one, R5 the ranking of 100 items for one
user: three groups of the user, three of the items and one of both. 10 features in a group (4 FLOAT, 3 INT, 3 STRING).
Of each shape many reads in turns with MGET; CPU is that of this process alone, what Redis takes is not in it.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.online_write import GROUP, SEED, valkey
from feature_store import STRING
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.online.keys import entity_key, last_updated_key
from feature_store.online.reader import OnlineReader
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

USERS = ITEMS = 2_000
ROUNDS = 5
SECONDS = 0.6
USER, ITEM = Column("user_id", STRING), Column("item_id", STRING)


def group_of(name: str, *keys: Column) -> GroupSchema:
    features = tuple(replace(f, name=f"{name}_{f.name}") for f in GROUP.features)
    return replace(GROUP, name=name, keys=keys, features=features)


OF_USERS = [group_of(f"user_{i}", USER) for i in range(3)]
OF_ITEMS = [group_of(f"item_{i}", ITEM) for i in range(3)]
OF_BOTH = [group_of("both", USER, ITEM)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as redis:
        chance = random.Random(SEED)
        users, items = [f"user_{i}" for i in range(USERS)], [f"item_{i}" for i in range(ITEMS)]
        for group in OF_USERS:
            write(redis, group, [{"user_id": user} for user in users])
        for group in OF_ITEMS:
            write(redis, group, [{"item_id": item} for item in items])
        ranked = [{"user_id": users[0], "item_id": item} for item in chance.sample(items, 100)]
        write(redis, OF_BOTH[0], ranked)
        print("one process, one connection; median of rounds (from least to most)")
        for name, groups, rows in (
            ("R1 1 x 1", OF_USERS[:1], [{"user_id": users[5]}]),
            ("R2 1 x 3", OF_USERS, [{"user_id": users[5]}]),
            ("R3 100 x 1", OF_USERS[:1], [{"user_id": user} for user in chance.sample(users, 100)]),
            ("R4 1,000 x 1", OF_USERS[:1], [{"user_id": user} for user in chance.sample(users, 1_000)]),
            ("R5 1 user, 100 items, 7 groups", [*OF_USERS, *OF_ITEMS, *OF_BOTH], ranked),
        ):
            measure(redis, name, ViewSchema("bench", 1, tuple(map(ViewedSchema, groups))), rows)


def write(redis: Redis, group: GroupSchema, rows: Sequence[dict[str, str]]) -> None:
    chance, now = random.Random(f"{SEED} {group.name}"), to_micros(datetime.now(UTC))
    writer = GuardedWriter(redis, group)
    keys = [key for row in rows if (key := entity_key(group, row)) is not None]
    values = [
        writer.encode(
            now - DAY,
            now,
            [
                *(chance.gammavariate(2, 20) for _ in range(4)),
                *(chance.randrange(90) for _ in range(3)),
                *(f"category_{chance.randrange(50)}" for _ in range(3)),
            ],
            now,
        )
        for _ in keys
    ]
    assert writer.write(keys, values).written == len(rows)
    writer.touch(datetime.now(UTC), now)


def measure(redis: Redis, name: str, view: ViewSchema, rows: Sequence[dict[str, Any]]) -> None:
    reader = OnlineReader(redis)
    first = reader.read(view, rows)
    assert all(status == "PRESENT" for row in first.statuses for status in row.values())
    keys = {entity_key(viewed.group, row) for viewed in view.groups for row in rows}
    asked = [*(last_updated_key(viewed.group) for viewed in view.groups), *(key for key in keys if key)]
    reads = [paced(lambda: reader.read(view, rows)) for _ in range(ROUNDS)]
    gets = [paced(lambda: redis.mget(asked)) for _ in range(ROUNDS)]
    print(f"{name} ({len(asked)} different keys)")
    show("vectors", reads)
    show("MGET alone", gets)
    ratio = statistics.median(cpu for _, cpu in reads) / statistics.median(cpu for _, cpu in gets)
    print(f"  the CPU of a read is {ratio:.2f} times that of its MGET")


def paced(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call by the clock (the median) and of CPU (the mean)."""
    walls = []
    until, cpu = time.perf_counter() + SECONDS, time.process_time()
    while time.perf_counter() < until:
        began = time.perf_counter()
        call()
        walls.append(time.perf_counter() - began)
    return statistics.median(walls), (time.process_time() - cpu) / len(walls)


def show(what: str, rounds: Sequence[tuple[float, float]]) -> None:
    walls, cpus = [wall * 1e6 for wall, _ in rounds], [cpu * 1e6 for _, cpu in rounds]
    print(
        f"  {what:12} {statistics.median(walls):9,.0f} us ({min(walls):,.0f} to {max(walls):,.0f}), "
        f"CPU {statistics.median(cpus):9,.0f} us ({min(cpus):,.0f} to {max(cpus):,.0f})"
    )


if __name__ == "__main__":
    main()
