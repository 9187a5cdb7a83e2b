"""Pre-joined views for tests: groups of users and items, what may happen to them, and what must hold then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from hypothesis import strategies as st
from redis import Redis

from feature_store import INT, STRING
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import HOUR, MINUTE
from feature_store.online.keys import VECTOR_SETS_KEY
from feature_store.online.vector_sets import VectorSet, keep_sets, vector_sets
from feature_store.online.writer import GuardedWriter, grace_of
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

USER, ITEM = Column("user_id", STRING), Column("item_id", INT)
USERS, ITEMS = ("a", "ü|{}", ""), (0, -5)
USER_TAGS = ("{a}", "{ü%7C%7B%7D}", "{%}")


def group(name: str, *keys: Column, ttl: int | None = None) -> GroupSchema:
    features = (Column(f"{name}_n", INT, default=7), Column(f"{name}_text", STRING))
    return GroupSchema(name, 1, keys, features, ttl, 0, HOUR, 1)


GROUPS = (
    group("u2", USER),
    group("u1", USER, ttl=3 * HOUR),
    group("u3", USER, ttl=30 * HOUR),
    group("i1", ITEM, ttl=HOUR),
    group("i2", ITEM),
    group("both", USER, ITEM),
)
PLAIN = ViewSchema("ranking", 1, tuple(map(ViewedSchema, GROUPS)))
VIEW = replace(PLAIN, prejoin=True)
OTHER = ViewSchema("other", 3, (ViewedSchema(GROUPS[0]), ViewedSchema(GROUPS[2])), prejoin=True)
SETS = vector_sets([VIEW, OTHER])
ROWS = [{"user_id": user, "item_id": item} for user in USERS for item in ITEMS]

TIMES = st.integers(-8, 8)
"""Feature timestamps, in hours from the start of a life, half an hour before each."""
WRITES = st.tuples(
    st.just("write"),
    st.integers(0, len(GROUPS) - 1),
    st.lists(st.tuples(st.integers(0, 2), TIMES, st.integers(0, 3), st.sampled_from(["", "x", "y" * 300])), max_size=4),
)
SETTLES = st.tuples(
    st.just("settle"),
    st.integers(0, len(GROUPS) - 1),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.none() | st.tuples(TIMES, st.integers(0, 3)),
            st.lists(st.tuples(TIMES, st.integers(0, 5)), max_size=3),
            st.booleans(),
        ),
        max_size=2,
    ),
)
TOUCHES = st.tuples(st.just("touch"), st.integers(0, len(GROUPS) - 1), TIMES)
CHANGES = WRITES | SETTLES | TOUCHES
KEEPS = st.tuples(st.just("keep"), st.booleans(), st.lists(CHANGES, max_size=6), st.none() | st.integers(0, 12))
"""Whether vectors are made anew, what others change between its commands, and before which command it dies."""
DROPS = st.tuples(st.just("drop"), st.booleans(), st.lists(CHANGES, max_size=6), st.none() | st.integers(0, 12))
"""Whether both views are switched off, and the same."""


class DeathError(Exception):
    """The process ended before a command."""


class Interrupted(Redis):
    """A client of a process in between whose commands other things happen, and that dies before one of them."""

    def __init__(self, redis: Redis, between: Sequence[Callable[[], None]], dies_at: int | None) -> None:
        super().__init__(connection_pool=redis.connection_pool)
        self._between = iter(between)
        self._left = dies_at

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._left == 0:
            raise DeathError
        self._left = None if self._left is None else self._left - 1
        next(self._between, lambda: None)()
        return super().execute_command(*args, **options)


@dataclass(frozen=True)
class Life:
    """What happens to the groups and views, from now on: nothing expires, or is deleted by Redis, within minutes."""

    redis: Redis
    now: int = field(default_factory=lambda: to_micros(datetime.now(UTC)))

    def at(self, hours: int) -> int:
        """An instant in microseconds."""
        return self.now + hours * HOUR - 30 * MINUTE

    def happens(self, what: tuple[Any, ...]) -> None:
        match what:
            case ("write", place, rows):
                self._write(GROUPS[place], rows)
            case ("settle", place, rows):
                self._settle(GROUPS[place], rows)
            case ("touch", place, hours):
                GuardedWriter(self.redis, GROUPS[place]).touch(from_micros(self.at(hours)), self.at(hours))
            case ("keep", again, between, dies_at):
                self._keep(SETS, again, between, dies_at)
            case ("drop", all_of_them, between, dies_at):
                self._keep(() if all_of_them else vector_sets([OTHER]), False, between, dies_at)
            case ("flush",):
                self.redis.flushdb()

    def _write(self, group: GroupSchema, rows: Sequence[tuple[int, int, int, str]]) -> None:
        writer = GuardedWriter(self.redis, group)
        timed = [(self.at(hours), created, text) for _, hours, created, text in rows]
        values = [writer.encode(at, at + c * MINUTE, [c or None, text], self.now) for at, c, text in timed]
        writer.write([f"{group.id}:{tags_of(group)[entity]}" for entity, *_ in rows], values)

    def _settle(self, group: GroupSchema, rows: Sequence[tuple[int, Any, Any, bool]]) -> None:
        writer = GuardedWriter(self.redis, group)
        values = [None if row is None else self._standing(writer, *row) for _, row, *_ in rows]
        taken = [
            [(self.at(h), self.at(h), self.at(h) + c * MINUTE) for h, c in tombstones] for *_, tombstones, _ in rows
        ]
        lost = [[(self.now - 9 * HOUR, self.now, self.now)] if is_lost else [] for *_, is_lost in rows]
        keys = [f"{group.id}:{tags_of(group)[entity]}" for entity, *_ in rows]
        writer.settle(keys, values, taken, lost, [self.now] * len(rows))

    def _standing(self, writer: GuardedWriter, hours: int, created: int) -> bytes:
        return writer.encode(self.at(hours), self.at(hours) + created, [1, "s"], self.now)

    def _keep(self, sets: Sequence[VectorSet], again: bool, between: Sequence[Any], dies_at: int | None) -> None:
        steps = [lambda change=change: self.happens(change) for change in between]
        with suppress(DeathError):
            keep_sets(Interrupted(self.redis, steps, dies_at), sets, [g.id for g in GROUPS], again=again)


def tags_of(group: GroupSchema) -> Sequence[str]:
    """Three entities of a group."""
    match group.keys:
        case (key,) if key is USER:
            return USER_TAGS
        case (_,):
            return ("{0}", "{-5}", "{17}")
        case _:
            return ("{a|0}", "{%|-5}", "{a|17}")


def check_vectors(redis: Redis) -> int:
    """That vectors which may be read are copies of what the groups have, kept as long; how many sets there are."""
    complete = 0
    for each in SETS:
        head = cast("bytes | None", redis.get(each.last_updated_key))
        if head is None:
            continue
        assert redis.hexists(VECTOR_SETS_KEY, each.name)
        complete += 1
        fresh = [cast("bytes | None", redis.get(f"{name}:last_updated")) for name in each.groups]
        assert msgspec.msgpack.decode(head) == [each.ids.encode(), *fresh]
        tags = {key.partition(b"{")[2] for key in redis.scan_iter(match="*:{*")}
        for tag in tags:
            keys = [name.encode() + b":{" + tag for name in each.groups]
            parts = [cast("bytes | None", redis.get(key)) for key in keys]
            vector = cast("bytes | None", redis.get(each.prefix.encode() + b"{" + tag))
            assert (None if vector is None else msgspec.msgpack.decode(vector)) == (parts if any(parts) else None)
            if vector is not None:
                kept = [cast(int, redis.pexpiretime(key)) for key, part in zip(keys, parts, strict=True) if part]
                until = -1 if -1 in kept else max(kept)
                assert redis.pexpiretime(each.prefix.encode() + b"{" + tag) == until
    return complete


def instants(redis: Redis, now: int) -> list[int]:
    """When something stored expires or is forgotten, the microseconds around that, and now."""
    found = {now}
    for each in GROUPS:
        for key in redis.scan_iter(match=f"{each.id}:{{*"):
            timestamp, created = (
                int.from_bytes(cast(bytes, redis.getrange(key, at, at + 7)), "big") - 2**63 for at in (4, 12)
            )
            if each.ttl is not None and timestamp > 0:
                for at in (timestamp + each.ttl, max(timestamp + each.ttl, created) + grace_of(each)):
                    found |= {at - 1, at, at + 1}
    return sorted(found)
