"""Marks among the updates: behind the rows that they stand for, in every partition; the progress that loaders tell."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from redis import Redis

from feature_store.client import FeatureStore
from feature_store.compile.flink import updates_topic
from feature_store.duration import SECOND
from feature_store.kafka_address import kafka_client
from feature_store.online.connection import connect
from feature_store.online.progress import last_updated
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.streaming.jobs import Streams
from feature_store.streaming.loader import Loader
from feature_store.streaming.marks import MILLISECOND, PartitionMarks, Reached, reached
from feature_store.streaming.refill import refill
from tests.integration.streaming.stream_cases import Sender, activity, compare_when_settled, deploy, now_micros, source

Eventually = Callable[..., None]

TAPS = source("taps", max_out_of_orderness="6s")
"""A busy machine may hold an event up between the reading of the clock and Kafka; it is in time all the same."""
GROUP = activity(TAPS, parallelism=2)
PLAN = build_plan(GROUP)
TOPIC = updates_topic(PLAN.schema)


@pytest.fixture(scope="module")
def store(streaming_stack: Settings) -> FeatureStore:
    return FeatureStore(streaming_stack)


@pytest.fixture(scope="module")
def streams(store: FeatureStore) -> Iterator[Streams]:
    running = deploy(store, GROUP)
    yield running
    for name in running.wanted:
        running.stop(name)


@pytest.fixture(scope="module")
def sender(streams: Streams) -> Sender:
    """What was sent to TAPS by all tests of this module, all of it in time."""
    return Sender(streams.settings.kafka_servers, TAPS.topic, seed=5)


@pytest.fixture
def redis(streaming_stack: Settings) -> Iterator[Redis]:
    with connect(streaming_stack.redis_url) as client:
        yield client


def send_in_time(sender: Sender, events: int = 100) -> None:
    for _ in range(events):
        sender.send_of([now_micros()])
        time.sleep(0.02)


def newest(redis: Redis) -> int:
    """How far the group is, as Redis says (microseconds)."""
    found = last_updated(redis, PLAN.schema)
    return found.newest or 0 if found is not None else 0


def updates(streams: Streams) -> dict[int, list[tuple[Any, bytes]]]:
    """All messages of the topic by partition, each a row and no key, or a mark: None and the message's key."""
    ends = {number: place.end for number, place in streams.topics.offsets(TOPIC).items()}
    found: dict[int, list[tuple[Any, bytes]]] = {number: [] for number in ends}
    reader = Consumer({**kafka_client(streams.settings.kafka_servers), "group.id": "look", "enable.auto.commit": False})
    try:
        reader.assign([TopicPartition(TOPIC, number, 0) for number in ends])
        while any(len(found[number]) < end for number, end in ends.items()):
            for message in reader.consume(1000, 1.0):
                value, key = message.value(), message.key()
                assert key is not None
                row = None if value is None else json.loads(value)
                found[message.partition() or 0].append((row, b"" if row else key))
    finally:
        reader.close()
    return found


def claimed(marks: PartitionMarks) -> int:
    """Up to when (microseconds) one partition has all rows, as its marks alone say."""
    alone = reached({number: marks.marks() for number in range(max((m.partitions for m in marks.marks()), default=0))})
    return 0 if alone is None else (alone.watermark + 1) * MILLISECOND


def assert_rows_come_before_marks(streams: Streams, partitions: int) -> None:
    for number, messages in updates(streams).items():
        marks, seen = PartitionMarks(), set()
        for row, key in messages:
            if row is None:
                marks.take(key)
            else:
                place = (row["user_id"], row["_feature"])
                assert place in seen or row["_feature"] > claimed(marks), (number, row)
                seen.add(place)
        last = [mark for mark in marks.marks() if mark.attempt == marks.marks()[-1].attempt]
        assert sorted(mark.subtask for mark in last) == [0, 1]
        assert {(mark.attempt.parallelism, mark.partitions) for mark in last} == {(2, partitions)}
        assert number >= 2 or seen


def test_marks_come_behind_rows(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    """In each partition those of each subtask; and there are none in the table."""
    send_in_time(sender)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found
    assert_rows_come_before_marks(streams, partitions=2)


def test_loaders_that_share_the_partitions_know_more_together(
    store: FeatureStore, streams: Streams, sender: Sender, redis: Redis, eventually: Eventually
) -> None:
    """Each has one; what either tells is true of both."""
    told = list[Reached]()
    second = Loader(
        streams.settings.kafka_servers,
        lambda _: redis,
        lambda schema, full: refill(store.catalog, redis, schema, GROUP.commit_size, full),
        lambda _, found: told.append(found),
    )
    stopped = threading.Event()

    def load() -> None:
        second.serve([PLAN.schema])
        while not stopped.is_set():
            second.step()
        second.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        began = now_micros()
        eventually(lambda: told and told[-1].watermark * MILLISECOND > began)
        send_in_time(sender)
        eventually(lambda: newest(redis) > sender.latest and told[-1].newest(SECOND) > sender.latest)
    finally:
        stopped.set()
        thread.join(60)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found


def test_a_partition_that_is_added_counts_once_the_job_writes_to_it(
    store: FeatureStore, streams: Streams, sender: Sender, redis: Redis, eventually: Eventually
) -> None:
    admin = AdminClient(kafka_client(streams.settings.kafka_servers))
    for done in admin.create_partitions([NewPartitions(TOPIC, 3)]).values():
        done.result(30)
    began = now_micros()
    eventually(lambda: newest(redis) > began + 3 * SECOND)
    assert not updates(streams)[2], "rows without marks behind them"

    streams.stop(GROUP.id)
    (outcome,) = streams.start(GROUP.id)
    assert outcome.did == "resumed"
    send_in_time(sender)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found
    assert_rows_come_before_marks(streams, partitions=3)
