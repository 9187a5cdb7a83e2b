"""A stopped job whose next messages Kafka has deleted."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from feature_store.client import FeatureStore
from feature_store.compile.flink import consumer_group
from feature_store.errors import ConflictError
from feature_store.kafka_address import kafka_client
from feature_store.registry.streams import StreamJob
from feature_store.settings import Settings
from tests.integration.streaming.stream_cases import activity, prepare, source

STEPS = source("gaps")
LOG = "log of gaps"
READ, DELETED, SENT = 3, 5, 8


def test_a_job_does_not_skip_messages_that_it_has_not_read(streaming_stack: Settings) -> None:
    """The log's job has read the first messages, and Kafka has deleted these and some more."""
    streams = prepare(FeatureStore(streaming_stack), activity(STEPS))
    client = kafka_client(streaming_stack.kafka_servers)
    producer = Producer(client)
    for _ in range(SENT):
        producer.produce(STEPS.topic, b"{}", partition=0)
    assert producer.flush(30) == 0
    reader = Consumer({**client, "group.id": consumer_group(LOG)})
    reader.commit(offsets=[TopicPartition(STEPS.topic, 0, READ)], asynchronous=False)
    reader.close()
    admin = AdminClient(client)  # kept until the answer is there
    for done in admin.delete_records([TopicPartition(STEPS.topic, 0, DELETED)]).values():
        done.result(30)
    wanted = streams.wanted[LOG]
    streams.records.write(StreamJob(LOG, "running", wanted.fingerprint, wanted.state_fingerprint, starts=1))

    with pytest.raises(ConflictError, match=f"has deleted messages .*: partition 0: {READ} to {DELETED - 1}"):
        streams.supervise([LOG])
    assert streams.flink.jobs([LOG]) == []
    (outcome,) = streams.start(LOG, accept_gap=True)
    assert outcome.did == "resumed"
    streams.flink.cluster_of(LOG).cancel(outcome.record.flink_job_id)
    streams.records.note(outcome.record, desired="stopped")
