"""The online store on a real Redis: what readers are told."""

from __future__ import annotations

import itertools
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis

from feature_store import BOOL, EMBEDDING, FLOAT, INT, STRING, TIMESTAMP
from feature_store.dtypes import LIST, Value, from_micros, to_micros
from feature_store.duration import HOUR, SECOND
from feature_store.errors import ConflictError, InputError, StackError
from feature_store.online.connection import connect
from feature_store.online.keys import layouts_key
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.online.writer import GuardedWriter
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.expressions import parse_expression
from feature_store.plan.overflow import overflow_of
from feature_store.plan.schema import Column
from feature_store.settings import Settings
from tests.conftest import Eventually
from tests.integration.online_setting import NOW, new_group, put, view_of


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


def test_a_stored_value_that_did_not_fit_is_told_from_other_nulls(redis: Redis, reader: OnlineReader) -> None:
    """A sum is NULL for no other reason; a derived feature may be, and its inputs need not be read."""
    total = Expression("column", INT, value="total")
    further = parse_expression("total + 1", {"total": INT})
    group = new_group(
        features=(
            Column("total", INT, default=0, overflow=Expression("is_null", BOOL, (total,))),
            Column("further", INT, overflow=overflow_of(further)),
            Column("word", STRING),
        )
    )
    for name, values in {"fits": (1, 2), "sum": (None, None), "derived": (2**63 - 1, None)}.items():
        put(redis, group, name, NOW, *values, None)
    rows = [{"user_id": name} for name in ("fits", "sum", "derived", "nobody")]
    vectors = reader.read(view_of(group), rows, from_micros(NOW))
    assert vectors.overflowed == [(), ("total",), ("further",), ()]
    assert vectors.statuses[1] == {group.id: Status.DEFAULTED}
    chosen = replace(group, features=group.features[1:2])
    assert reader.read(view_of(chosen), rows, from_micros(NOW)).overflowed == [(), (), ("further",), ()]


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


def test_expiry_by_the_clock(redis: Redis, reader: OnlineReader, eventually: Eventually) -> None:
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
    writer.write([f"{pairs.id}:{{u%7C1|9}}"], [writer.encode(NOW, 0, [4], NOW)])
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
    assert vectors.to_numpy(["n"]).dtype == np.float32
    assert vectors.to_numpy(["n"], dtype="float64").dtype == np.float64
    with_vector = vectors.to_numpy(["x", "vector", "n"])
    np.testing.assert_array_equal(
        with_vector, np.array([[0.5, 1, 2, 1], [np.nan, 0.1, 0.2, 2]], np.float32), strict=True
    )
    assert vectors.matrix_columns(["x", "vector", "n"]) == ["x", "vector[0]", "vector[1]", "n"]
    with pytest.raises(InputError, match="'int64' cannot hold NULL"):
        vectors.to_numpy(["n"], dtype=cast(Any, "int64"))
    chosen = vectors.select(["vector", "n"])
    assert [*chosen.to_dicts()[0]] == ["user_id", "n", "vector"]
    assert chosen.to_arrow() == vectors.to_arrow().select(["user_id", "n", "vector"])
    assert chosen.matrix_columns() == ["n", "vector[0]", "vector[1]"]
    with pytest.raises(InputError, match="no feature x"):
        chosen.to_numpy(["x"])
    with pytest.raises(InputError, match="no feature 'y'"):
        vectors.select(["y"])
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
