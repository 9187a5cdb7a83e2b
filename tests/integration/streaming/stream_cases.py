"""A live stream for tests: its definitions, the events that are sent, and the plain comparison with the reference."""

from __future__ import annotations

import io
import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import fastavro
from confluent_kafka import Message, Producer

from feature_store import FLOAT, INT, LIST, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg, session
from feature_store.client import FeatureStore
from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.duration import SECOND
from feature_store.kafka_address import kafka_client
from feature_store.offline.standing import standing_rows
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
from tests.conftest import PATIENCE_SECONDS

Row = dict[str, Any]
QUIET = 4 * SECOND
"""Longer than the longest window of `activity`."""
USER = Entity("user", join_key="user_id")
_MAYBE = ["null", "string"]
AVRO = json.dumps(
    {
        "type": "record",
        "name": "event",
        "fields": [
            {"name": "kind", "type": "string"},
            {"name": "user_id", "type": _MAYBE},
            {"name": "category", "type": _MAYBE},
            {"name": "amount", "type": ["null", "double"]},
            {"name": "unknown", "type": {"type": "map", "values": {"type": "array", "items": "string"}}},
            {"name": "step", "type": ["null", "int"]},
            {"name": "query", "type": _MAYBE},
            {"name": "event_ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        ],
    }
)


def source(name: str, **changes: Any) -> StreamSource:
    """Clicks, views and searches on a topic of their own."""
    given: dict[str, Any] = {
        "topic": f"test.{name}",
        "schema": {
            "user_id": STRING,
            "kind": STRING,
            "category": STRING,
            "amount": FLOAT,
            "step": INT,
            "query": STRING,
            "event_ts": TIMESTAMP,
        },
        "event_timestamp": "event_ts",
        "time_format": "us",
        "allowed_lateness": "4s",
    }
    return StreamSource(name, **{**given, **changes})


def activity(stream: StreamSource, *more: Feature, **changes: Any) -> FeatureGroup:
    """A group with every kind of window, several at once, conditions, a computed column and a derived feature."""
    given: dict[str, Any] = {
        "entity": USER,
        "source": stream,
        "owner": "team:test",
        "start": "2026-01-01",
        "commit_interval": "1s",
        "columns": {"code": "hash_bucket(lower(trim(query)), 1000)", "steps": "step * 2"},
        "features": [
            Feature("user_click_count_2s", agg.count(), window="2s", where="kind = 'click'", dtype=INT, default=0),
            Feature("user_click_count_1s", agg.count(), window="1s", where="kind = 'click'", dtype=INT),
            Feature("user_amount_sum_3s", agg.sum("amount"), window="3s", dtype=FLOAT),
            Feature("user_amount_stddev_3s", agg.stddev("amount"), window="3s", dtype=FLOAT),
            Feature("user_cart_sum_all_time", agg.sum("steps"), window="all_time", dtype=INT),
            Feature("user_category_last_all_time", agg.last("category"), window="all_time", dtype=STRING),
            Feature("user_category_top_3s", agg.top_k("category", 2), window="3s", dtype=LIST(STRING)),
            Feature("user_code_last_3s", agg.last_n("code", 3), window="3s", dtype=LIST(INT)),
            Feature("user_seen_last_3s", agg.last_n("event_ts", 2), window="3s", dtype=LIST(TIMESTAMP)),
            Feature("user_seen_max_all_time", agg.max("event_ts"), window="all_time", dtype=TIMESTAMP),
            Feature("user_session_count", agg.count(), window=session("1s"), dtype=INT),
            *more,
        ],
        "derived": {"user_click_share": "user_click_count_2s / user_session_count"},
    }
    return FeatureGroup(f"user_{stream.name}", **{**given, **changes})


def event_at(pick: random.Random, at: int, users: int) -> Row:
    """A random event of a time (microseconds)."""
    return {
        "user_id": f"u{min(int(pick.paretovariate(0.7)), users)}",
        "kind": pick.choice(["click", "view", "search"]),
        "category": pick.choice(["a", "b", "é", None]),
        "amount": pick.choice([0.1, 2.5, -1.25, 1e6, None]),
        "step": pick.choice([1, -1, None]),
        "query": pick.choice([" Shoes ", "HAT", "ü", None]),
        "event_ts": at,
        "unknown": {"to": ["the", "schema"]},
    }


def as_json(event: Row) -> bytes:
    return json.dumps(event).encode()


def as_avro(event: Row) -> bytes:
    """One record in binary, by fastavro and not by anything of ours."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(AVRO)), event)
    return out.getvalue()


@dataclass
class Sender:
    """Sends random events as they would happen: out of order, late, too late, malformed, of nobody, beyond 64 bits.

    `taken` are the places in Kafka of the good ones, `latest` and `earliest` the bounds of their
    times (microseconds).
    """

    servers: str
    topic: str
    seed: int
    users: int = 6
    written: Callable[[Row], bytes] = as_json
    good: int = 0
    malformed: int = 0
    nobody: int = 0
    overflowing: int = 0
    latest: int = 0
    earliest: int = 2**62
    taken: list[tuple[int, int]] = field(default_factory=list)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        options = {**kafka_client(self.servers), "enable.idempotence": True, "acks": "all", "log_level": 0}
        self._producer = Producer({**options, "reconnect.backoff.max.ms": 500})

    def send(self, seconds: float, rate: float) -> None:
        """Sends about `rate` events a second for some seconds of the clock."""
        self.send_until(threading.Event(), rate, seconds)

    def send_until(self, stopped: threading.Event, rate: float, seconds: float = 600.0) -> None:
        """The same, until told to stop; every message has been taken by Kafka then."""
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds and not stopped.is_set():
            self._produce_random()
            sent += 1
            stopped.wait(max(0.0, began + sent / rate - time.monotonic()))
        self.flush()

    def send_of(self, times: Sequence[int]) -> None:
        """Sends an event of each of these times, in this order."""
        for at in times:
            self._produce(event_at(self._random, at, self.users))
        self.flush()

    def flush(self) -> None:
        assert self._producer.flush(60) == 0
        assert len(self.taken) == self.good

    def _produce_random(self) -> None:
        pick = self._random
        chance = pick.random()
        if chance < 0.01:
            self.malformed += 1
            bad = pick.choice([b"{", b"[]", b"", b'{"user_id": "u0"}', b'{"user_id": 1, "event_ts": 5}'])
            self._producer.produce(self.topic, bad, partition=pick.randrange(2))
            return
        lag = 0
        if chance > 0.7:
            lag = pick.randrange(400_000) if chance < 0.9 else pick.randrange(500_000, 3 * SECOND)
        if chance > 0.98:
            lag = pick.randrange(8 * SECOND, 12 * SECOND)
        event = event_at(pick, time.time_ns() // 1000 - lag, self.users)
        if self.good % 150 == 100:
            event["user_id"] = None
            self.nobody += 1
        elif self.written is as_json and self.good % 150 == 50:
            event["step"] = 2**62
            self.overflowing += 1
        self._produce(event)

    def _produce(self, event: Row) -> None:
        self.good += 1
        self.latest = max(self.latest, event["event_ts"])
        self.earliest = min(self.earliest, event["event_ts"])
        partition = self._random.randrange(2)
        self._producer.produce(self.topic, self.written(event), partition=partition, on_delivery=self._note)
        self._producer.poll(0)

    def _note(self, error: object, message: Message) -> None:
        assert error is None, error
        self.taken.append((message.partition() or 0, message.offset() or 0))


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


def prepare(store: FeatureStore, *groups: FeatureGroup) -> Streams:
    """Records groups and makes their topics."""
    project = Project(groups, (), {group.id: "test" for group in groups})
    store.apply(project)
    for group in groups:
        assert isinstance(group.source, StreamSource)
        Topics(store.settings.kafka_servers).ensure(group.source.topic, 2)
    return open_streams(store.settings, store.catalog, store.registry, compile_project(project).groups)


def deploy(store: FeatureStore, *groups: FeatureGroup) -> Streams:
    """The same, and starts their jobs; waits for those that replace others."""
    streams = prepare(store, *groups)
    deadline = time.monotonic() + PATIENCE_SECONDS
    streams.supervise()
    while any(job.previous for name, job in streams.records.read().items() if name in streams.wanted):
        assert time.monotonic() < deadline, "a changed job has not come up"
        time.sleep(0.2)
        streams.supervise()
    return streams


def compare(
    store: FeatureStore, group: FeatureGroup, spans: Sequence[tuple[int, int]], anew: datetime | None = None
) -> Comparison:
    """The rows of a group's table, each in its newest form, against the reference over the events of the log.

    The events that the group refused as too late do not count. Online is compared with the newest stored row.

    Args:
        store: with the table and the log.
        group: whose rows.
        spans: the times (microseconds, of `after < T <= until`) that the reference computes, one instant after the
            other; there may be no rows at others after the first span's begin.
        anew: when the group's job was begun anew: what it had refused before is in its history then.
    """
    plan = build_plan(group)
    everything: dict[Any, Row] = {}
    table = standing_rows(store.catalog.load_table(plan.schema.table).scan().to_arrow()).sort_by("created_timestamp")
    for row in table.to_pylist():
        everything[_place(plan, row)] = row
    stored = {place: row for place, row in everything.items() if place[1] > spans[0][0]}
    events = {plan.sources[0].name: counted_events(store, plan, anew)}
    wanted = {
        _place(plan, row): row for after, until in spans for row in run_reference(plan, events, Span(after, until))
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
        online=list(_online_differences(store, plan, everything)),
    )


def _place(plan: GroupPlan, row: Row) -> tuple[tuple[Any, ...], int]:
    """Entity and feature timestamp (microseconds) of a row."""
    return tuple(row[key] for key in plan.keys), to_micros(row["feature_timestamp"])


def counted_events(store: FeatureStore, plan: GroupPlan, anew: datetime | None = None) -> list[Row]:
    """The events of the log that the group did not refuse, since it was begun anew."""
    assert plan.stream is not None
    letters = read_dead_letters(store.catalog, plan.stream.name, "too late", anew).to_pylist()
    refused = {(row["kafka_partition"], row["kafka_offset"]) for row in letters if row["group_id"] == plan.group.id}
    log = store.catalog.load_table(str(plan.stream.log.table)).scan().to_arrow().to_pylist()
    return [event for event in log if (event["kafka_partition"], event["kafka_offset"]) not in refused]


def _online_differences(store: FeatureStore, plan: GroupPlan, stored: dict[Any, Row]) -> Iterator[Any]:
    """Entities whose vector in Redis is not that of their newest stored row."""
    newest: dict[Any, int] = {}
    for entity, at in stored:
        newest[entity] = max(at, newest.get(entity, 0))
    with connect(store.settings.redis_url) as redis:
        codecs = {number: Codec(layout, number) for number, layout in load_layouts(redis, plan.schema).items()}
        for entity, at in newest.items():
            key = str(entity_key(plan.schema, dict(zip(plan.keys, entity, strict=True))))
            value = redis.get(key)
            if not isinstance(value, bytes):
                yield entity, "not there"
                continue
            layout, online_at, _, start = unpack_header(value, key)
            values = dict(
                zip((n for n, _ in codecs[layout].layout), codecs[layout].decode(value, start, key), strict=True)
            )
            row = stored[entity, at]
            if online_at != at or not all(close(values[name], row[name]) for name in values):
                yield entity, online_at - at, values, row


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
    with connect(store.settings.redis_url) as redis:
        found = last_updated(redis, plan.schema)
    if found is None or found.newest is None or found.newest < sender.latest + QUIET:
        return False  # without a look at the table, which takes longer
    snapshot = store.catalog.load_table(str(plan.stream.log.table)).current_snapshot()
    events = int(snapshot.summary["total-records"]) if snapshot is not None and snapshot.summary is not None else 0
    assert events <= sender.good, "an event is twice in the log"
    return events == sender.good


def compare_when_settled(
    store: FeatureStore,
    sender: Sender,
    group: FeatureGroup,
    since: int = 0,
    before: Sequence[tuple[int, int]] = (),
    anew: datetime | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> Comparison:
    """The comparison once all has come out; again for a while if it differs, because the last commit takes a moment.

    Args:
        store, sender, group: of the stream.
        since: compares the rows from here on (microseconds); all of them unless given.
        before: spans before that to compare.
        anew: when the group's job was begun anew.
        seconds: how long it may take.
    """
    deadline = time.monotonic() + seconds
    while not has_settled(store, sender, group):
        assert time.monotonic() < deadline, "the stream does not come to its end"
        time.sleep(0.5)
    begin = (since or sender.earliest) // SECOND * SECOND
    spans = [*before, (begin, (sender.latest + QUIET) // SECOND * SECOND)]
    found = compare(store, group, spans, anew)
    while not found.is_equal and time.monotonic() < deadline:
        time.sleep(0.5)
        found = compare(store, group, spans, anew)
    return found


def now_micros() -> int:
    return time.time_ns() // 1000
