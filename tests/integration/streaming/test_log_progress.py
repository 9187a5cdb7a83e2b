"""How far an event log has come: states made in a real Kafka, without the job that keeps the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from feature_store import STRING, TIMESTAMP, StreamSource
from feature_store.compile.flink import consumer_group, log_name
from feature_store.errors import ConflictError
from feature_store.settings import Settings
from feature_store.streaming.log_progress import log_watermark, require_log
from feature_store.streaming.topics import Topics
from tests.conftest import Eventually

_numbers = count(1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Log:
    """A topic of two partitions, and the offsets that its log's job would have committed."""

    def __init__(self, servers: str) -> None:
        number = next(_numbers)
        schema = {"user_id": STRING, "ts": TIMESTAMP}
        self.servers, self.topics = servers, Topics(servers)
        self.stream = StreamSource(
            f"logged_{number}", topic=f"test.logged_{number}", schema=schema, event_timestamp="ts"
        )
        self.topics.ensure(self.stream.topic, 2)

    def send(self, partition: int, *times: datetime) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for at in times:
            producer.produce(self.stream.topic, b"{}", partition=partition, timestamp=int(at.timestamp() * 1000))
        assert producer.flush(30) == 0

    def commit(self, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": consumer_group(log_name(self.stream))})
        consumer.commit(offsets=[TopicPartition(self.stream.topic, partition, offset)], asynchronous=False)
        consumer.close()

    def watermark(self) -> datetime:
        return log_watermark(self.topics, self.stream)


@pytest.fixture
def log(streaming_stack: Settings) -> Log:
    return Log(streaming_stack.kafka_servers)


def test_the_watermark_is_the_time_of_the_first_message_that_is_missing(log: Log) -> None:
    log.send(0, NOON, NOON + timedelta(seconds=10))
    log.send(1, NOON + timedelta(seconds=5))
    assert log.watermark() == NOON
    log.commit(0, 1)
    assert log.watermark() == NOON + timedelta(seconds=5)
    log.commit(1, 1)
    assert log.watermark() == NOON + timedelta(seconds=10)
    require_log(log.servers, log.stream, NOON + timedelta(seconds=10))
    with pytest.raises(ConflictError, match=r"up to 2026-03-01 12:00:10, and not up to 2026-03-01 12:00:11") as error:
        require_log(log.servers, log.stream, NOON + timedelta(seconds=10, milliseconds=1001))
    assert error.value.code == "log-behind"
    assert f"'log of {log.stream.name}'" in str(error.value)


def test_a_log_that_lacks_nothing_is_complete_up_to_now_and_no_further(log: Log) -> None:
    def looked() -> datetime:
        before = datetime.now(UTC)
        found = log.watermark()
        assert before <= found <= datetime.now(UTC)
        return found

    looked()
    log.send(0, NOON)
    log.commit(0, 1)
    require_log(log.servers, log.stream, looked())
    for ahead in (timedelta(seconds=60), timedelta(days=1)):
        with pytest.raises(ConflictError, match="and not up to"):
            require_log(log.servers, log.stream, datetime.now(UTC) + ahead)


def test_messages_that_kafka_has_deleted_are_not_waited_for(log: Log, eventually: Eventually) -> None:
    from confluent_kafka.admin import AdminClient

    log.send(0, NOON, NOON + timedelta(seconds=10))
    admin = AdminClient({"bootstrap.servers": log.servers})
    for done in admin.delete_records([TopicPartition(log.stream.topic, 0, 1)]).values():
        done.result(30)
    eventually(lambda: log.topics.offsets(log.stream.topic)[0].first == 1)
    assert log.watermark() == NOON + timedelta(seconds=10)
    log.commit(0, 2)
    assert log.watermark() > NOON + timedelta(seconds=10)
