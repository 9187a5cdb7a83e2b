"""Jobs whose next messages Kafka does not have: one that is stopped, one that runs, one whose topic is made anew."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from feature_store import stack_file
from feature_store.client import FeatureStore
from feature_store.compile.flink import Start, consumer_group, log_name
from feature_store.dsl.source import StreamSource
from feature_store.errors import ConflictError
from feature_store.kafka_address import kafka_client
from feature_store.registry.streams import StreamJob
from feature_store.settings import Settings
from feature_store.streaming.dead_letters import read_dead_letters
from feature_store.streaming.display import explained
from feature_store.streaming.jobs import Streams
from feature_store.streaming.offsets import message_gap, write_start
from feature_store.streaming.progress import job_states
from tests.conftest import Eventually
from tests.integration.streaming.stream_cases import activity, prepare, source

READ, DELETED, SENT = 3, 6, 8
GAP = f"partition 0: {READ} to {DELETED - 1} are deleted"


class Log:
    """The job of the event log of a source that nobody else has; its messages are all in the first partition."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.source: StreamSource = source(name)
        self.settings = settings
        self.name = log_name(self.source)
        self.streams: Streams = prepare(FeatureStore(settings), activity(self.source))
        self.wanted = self.streams.wanted[self.name]
        self._client = kafka_client(settings.kafka_servers)

    def send(self, count: int) -> None:
        producer = Producer(self._client)
        for _ in range(count):
            producer.produce(self.source.topic, b"{}", partition=0)
        assert producer.flush(30) == 0

    def delete(self, before: int) -> None:
        admin = AdminClient(self._client)  # kept until the answer is there
        for done in admin.delete_records([TopicPartition(self.source.topic, 0, before)]).values():
            done.result(30)

    def delete_topic(self) -> None:
        admin = AdminClient(self._client)
        admin.delete_topics([self.source.topic])[self.source.topic].result(30)

    def read(self) -> int:
        """Up to which offset the job has read."""
        group = consumer_group(self.name)
        return self.streams.topics.committed(group, self.source.topic, [0]).get(0, 0)

    def letters(self) -> list[int]:
        """The offsets of the messages that the job has seen: all are malformed."""
        return sorted(read_dead_letters(self.streams.catalog, self.source.name)["kafka_offset"].to_pylist())

    def end(self) -> None:
        record = self.streams.records.read()[self.name]
        for job in self.streams.flink.jobs([self.name]):
            self.streams.flink.cluster_of(self.name).cancel(job.id)
        self.streams.records.note(record, desired="stopped")


@contextmanager
def paused_workers(settings: Settings) -> Iterator[None]:
    """Flink's workers stand still for a moment that is shorter than its patience with them."""
    record = stack_file.read(settings.home)
    assert record is not None
    (process,) = [service.process for service in record.services if service.name == "flink-taskmanager"]
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_a_stopped_job_does_not_skip_messages_that_it_has_not_read(streaming_stack: Settings) -> None:
    """The log's job has read the first messages, and Kafka has deleted these and some more."""
    log = Log(streaming_stack, "gaps")
    streams, wanted = log.streams, log.wanted
    log.send(SENT)
    write_start(streams.topics, wanted, Start({0: READ}), has_state=False)
    assert message_gap(streams.topics, wanted) is None
    log.delete(DELETED)
    streams.records.write(StreamJob(log.name, "running", wanted.fingerprint, wanted.state_fingerprint, starts=1))

    with pytest.raises(ConflictError, match=GAP) as refused:
        streams.supervise([log.name])
    assert refused.value.code == "topic-gap"
    assert streams.flink.jobs([log.name]) == []
    (outcome,) = streams.start(log.name, accept_gap=True)
    assert outcome.did == "resumed"
    log.end()


def test_a_running_job_does_not_skip_messages_that_it_has_not_read(
    streaming_stack: Settings, eventually: Eventually
) -> None:
    """It is behind when Kafka deletes what it has to read next."""
    log = Log(streaming_stack, "lagging")
    streams = log.streams
    log.send(READ)
    assert [outcome.did for outcome in streams.supervise([log.name])] == ["started"]
    eventually(lambda: log.read() == READ)
    with paused_workers(streaming_stack):
        log.send(1)  # the answer to what the job has asked for already
        log.send(SENT - READ - 1)
        log.delete(DELETED)
    gap = rf"partition 0: ({READ}|{READ + 1}) to {DELETED - 1} are deleted"

    def is_named() -> bool:
        (state,) = [state for state in job_states(streams) if state.name == log.name]
        return not state.is_good and re.search(gap, explained(streams, state).note) is not None

    eventually(is_named)
    job = streams.records.read()[log.name].flink_job_id
    assert "OffsetOutOfRange" in streams.flink.cluster_of(log.name).last_failure(job)
    assert re.search(gap, str(streams.failure(streams.settled()[log.name])))
    assert log.read() < DELETED
    (outcome,) = streams.start(log.name, accept_gap=True)
    assert outcome.did == "resumed"
    eventually(lambda: log.read() == SENT)
    assert [offset for offset in log.letters() if offset != READ] == [*range(READ), *range(DELETED, SENT)]
    log.end()


def test_a_topic_that_is_made_anew_is_not_taken_for_the_old_one(
    streaming_stack: Settings, eventually: Eventually
) -> None:
    """Its messages have the offsets of others."""
    log = Log(streaming_stack, "anew")
    streams = log.streams
    log.send(SENT)
    streams.supervise([log.name])
    eventually(lambda: log.read() == SENT)
    assert streams.stop(log.name) is not None
    log.delete_topic()
    eventually(lambda: message_gap(streams.topics, log.wanted) is not None)
    streams.topics.ensure(log.source.topic, 2)
    log.send(READ)
    with pytest.raises(ConflictError, match="it has forgotten how far the job was"):
        streams.start(log.name)
    assert streams.flink.jobs([log.name]) == []
    streams.start(log.name, accept_gap=True)
    eventually(lambda: log.read() == READ)
    log.end()


def test_a_topic_that_ends_before_the_place_of_a_job_is_named(streaming_stack: Settings) -> None:
    """As after Kafka was restored from a copy."""
    log = Log(streaming_stack, "shortened")
    log.send(READ)
    write_start(log.streams.topics, log.wanted, Start({0: READ}), has_state=False)
    assert message_gap(log.streams.topics, log.wanted) is None
    write_start(log.streams.topics, log.wanted, Start({0: SENT}), has_state=False)
    gap = message_gap(log.streams.topics, log.wanted)
    assert gap is not None
    assert f"partition 0: {SENT} comes next, and the topic ends at {READ}" in gap.message
