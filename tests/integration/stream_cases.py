"""A live stream for tests: its definitions, the events that are sent, and the plain comparison with the reference."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from confluent_kafka import Producer

from feature_store import FLOAT, INT, LIST, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg, session
from feature_store.client import FeatureStore
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.duration import SECOND
from feature_store.online.codec import Codec, unpack_header
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.online.layout import load_layouts
from feature_store.online.progress import last_updated
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.project import compile_project
from feature_store.streaming.dead_letters import read_dead_letters
from feature_store.streaming.jobs import Streams, open_streams
from feature_store.streaming.topics import Topics

Row = dict[str, Any]
QUIET = 12 * SECOND
"""Longer than the longest window of `activity`."""
USER = Entity("user", join_key="user_id")


def source(name: str) -> StreamSource:
    """Clicks, views and searches on a topic of their own."""
    return StreamSource(
        name,
        topic=f"test.{name}",
        schema={
            "user_id": STRING,
            "kind": STRING,
            "category": STRING,
            "amount": FLOAT,
            "step": INT,
            "query": STRING,
            "event_ts": TIMESTAMP,
        },
        event_timestamp="event_ts",
        time_format="us",
        allowed_lateness="8s",
    )


def activity(stream: StreamSource, **changes: Any) -> FeatureGroup:
    """A group with every kind of window, several at once, conditions, a computed column and a derived feature."""
    given: dict[str, Any] = {
        "entity": USER,
        "source": stream,
        "owner": "team:test",
        "start": "2026-01-01",
        "commit_interval": "2s",
        "columns": {"code": "hash_bucket(lower(trim(query)), 1000)"},
        "features": [
            Feature("user_click_count_5s", agg.count(), window="5s", where="kind = 'click'", dtype=INT, default=0),
            Feature("user_click_count_1s", agg.count(), window="1s", where="kind = 'click'", dtype=INT),
            Feature("user_amount_sum_10s", agg.sum("amount"), window="10s", dtype=FLOAT),
            Feature("user_amount_stddev_10s", agg.stddev("amount"), window="10s", dtype=FLOAT),
            Feature("user_cart_sum_all_time", agg.sum("step"), window="all_time", dtype=INT),
            Feature("user_category_last_all_time", agg.last("category"), window="all_time", dtype=STRING),
            Feature("user_category_top_10s", agg.top_k("category", 2), window="10s", dtype=LIST(STRING)),
            Feature("user_code_last_10s", agg.last_n("code", 3), window="10s", dtype=LIST(INT)),
            Feature("user_seen_max_all_time", agg.max("event_ts"), window="all_time", dtype=TIMESTAMP),
            Feature("user_session_count", agg.count(), window=session("3s"), dtype=INT),
        ],
        "derived": {"user_click_share": "user_click_count_5s / user_session_count"},
    }
    return FeatureGroup("user_activity", **{**given, **changes})


@dataclass
class Sender:
    """Sends random events as they would happen: out of order, late, too late, malformed and of nobody."""

    servers: str
    topic: str
    seed: int
    users: int = 8
    good: int = 0
    malformed: int = 0
    nobody: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._producer = Producer({"bootstrap.servers": self.servers, "enable.idempotence": True, "log_level": 3})

    def send(self, seconds: float, rate: float) -> None:
        """Sends about `rate` events a second for some seconds of the clock."""
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            self._producer.produce(self.topic, self._message(), partition=self._random.randrange(2))
            self._producer.poll(0)
            sent += 1
            time.sleep(max(0.0, began + sent / rate - time.monotonic()))
        assert self._producer.flush(60) == 0

    def _message(self) -> bytes:
        pick = self._random
        chance = pick.random()
        if chance < 0.01:
            self.malformed += 1
            return pick.choice([b"{", b"[]", b"", b'{"user_id": "u0"}', b'{"user_id": 1, "event_ts": 5}'])
        lag = 0
        if chance > 0.7:
            lag = pick.randrange(400_000) if chance < 0.9 else pick.randrange(500_000, 6 * SECOND)
        if chance > 0.99:
            lag = pick.randrange(20 * SECOND, 60 * SECOND)
        event = {
            "user_id": f"u{min(int(pick.paretovariate(0.7)), self.users)}",
            "kind": pick.choice(["click", "view", "search"]),
            "category": pick.choice(["a", "b", "é", None]),
            "amount": pick.choice([0.1, 2.5, -1.25, 1e6, None]),
            "step": pick.choice([1, -1, None]),
            "query": pick.choice([" Shoes ", "HAT", "ü", None]),
            "event_ts": time.time_ns() // 1000 - lag,
            "unknown": {"to": ["the", "schema"]},
        }
        if pick.random() < 0.005:
            event["user_id"] = None
            self.nobody += 1
        self.good += 1
        return json.dumps(event).encode()


@dataclass(frozen=True)
class Comparison:
    """A group's stored rows against the reference's: what differs, and how many rows there were."""

    rows: int
    missing: list[Any]
    extra: list[Any]
    different: list[Any]
    online: list[Any]

    @property
    def is_equal(self) -> bool:
        return not (self.missing or self.extra or self.different or self.online)


def deploy(store: FeatureStore, *groups: FeatureGroup) -> Streams:
    """Records groups, makes their topics, and starts their jobs."""
    project = Project(groups, (), {group.id: "test" for group in groups})
    store.apply(project)
    for group in groups:
        assert isinstance(group.source, StreamSource)
        Topics(store.settings.kafka_servers).ensure(group.source.topic, 2)
    streams = open_streams(store.settings, store.catalog, store.registry, compile_project(project).groups)
    streams.supervise()
    return streams


def compare(store: FeatureStore, group: FeatureGroup) -> Comparison:
    """Every row of a group's table, in its newest form, against the reference over the events of the log.

    The events that the group refused as too late do not count. Online is compared with the newest stored row.
    """
    plan = build_plan(group)
    stored: dict[Any, Row] = {}
    table = store.catalog.load_table(plan.schema.table).scan().to_arrow().sort_by("created_timestamp")
    for row in table.to_pylist():
        stored[row["user_id"], to_micros(row["feature_timestamp"])] = row
    events = counted_events(store, plan)
    assert stored
    assert events
    begin = min(to_micros(event["event_ts"]) for event in events) // SECOND * SECOND
    until = max(at for _, at in stored)
    wanted = {
        (row["user_id"], to_micros(row["feature_timestamp"])): row
        for row in run_reference(plan, {plan.sources[0].name: events}, Span(begin, until))
    }
    names = [feature.name for feature in plan.schema.features]
    return Comparison(
        rows=len(stored),
        missing=[place for place in wanted if place not in stored],
        extra=[place for place in stored if place not in wanted],
        different=[
            (place, name, row[name], stored[place][name])
            for place, row in wanted.items()
            for name in names
            if place in stored and not close(row[name], stored[place][name])
        ],
        online=list(_online_differences(store, plan, stored)),
    )


def counted_events(store: FeatureStore, plan: GroupPlan) -> list[Row]:
    """The events of the log that the group did not refuse."""
    assert plan.stream is not None
    letters = read_dead_letters(store.catalog, plan.stream.name, "too late").to_pylist()
    refused = {(row["kafka_partition"], row["kafka_offset"]) for row in letters if row["group_id"] == plan.group.id}
    log = store.catalog.load_table(str(plan.stream.log.table)).scan().to_arrow().to_pylist()
    return [event for event in log if (event["kafka_partition"], event["kafka_offset"]) not in refused]


def _online_differences(store: FeatureStore, plan: GroupPlan, stored: dict[Any, Row]) -> Iterator[Any]:
    """Entities whose vector in Redis is not that of their newest stored row."""
    newest: dict[str, int] = {}
    for user, at in stored:
        newest[user] = max(at, newest.get(user, 0))
    with connect(store.settings.redis_url) as redis:
        codecs = {number: Codec(layout, number) for number, layout in load_layouts(redis, plan.schema).items()}
        for user, at in newest.items():
            key = str(entity_key(plan.schema, {"user_id": user}))
            value = redis.get(key)
            if not isinstance(value, bytes):
                yield user, "not there"
                continue
            layout, online_at = unpack_header(value, key)
            values = dict(zip((n for n, _ in codecs[layout].layout), codecs[layout].decode(value, key), strict=True))
            row = stored[user, at]
            if online_at != at or not all(close(values[name], row[name]) for name in values):
                yield user, online_at - at, values, row


def close(one: Any, other: Any) -> bool:
    """Equal; floats to 1e-9."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return to_micros(one) == to_micros(other)
    return bool(one == other)


def has_settled(store: FeatureStore, sender: Sender, group: FeatureGroup) -> bool:
    """Whether all that was sent has come out: the log has every event, and time has passed the last window's end."""
    plan = build_plan(group)
    assert plan.stream is not None
    times = store.catalog.load_table(str(plan.stream.log.table)).scan(selected_fields=("event_ts",)).to_arrow()
    if times.num_rows < sender.good:
        return False
    assert times.num_rows == sender.good, "an event is twice in the log"
    with connect(store.settings.redis_url) as redis:
        found = last_updated(redis, plan.schema)
    last = max(map(to_micros, times["event_ts"].to_pylist()))
    return found is not None and found.newest is not None and found.newest >= last + QUIET


def compare_when_settled(store: FeatureStore, sender: Sender, group: FeatureGroup, seconds: float = 60.0) -> Comparison:
    """The comparison once all has come out; again for a while if it differs, because the last commit takes a moment."""
    deadline = time.monotonic() + seconds
    while not has_settled(store, sender, group):
        assert time.monotonic() < deadline, "the stream does not come to its end"
        time.sleep(0.5)
    found = compare(store, group)
    while not found.is_equal and time.monotonic() < deadline:
        time.sleep(1.0)
        found = compare(store, group)
    return found
