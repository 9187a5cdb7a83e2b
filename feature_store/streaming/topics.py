"""Kafka as the streams see it: topics, their first and next offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_store.errors import NotFoundError, StackError
from feature_store.kafka_address import kafka_client

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition
    from confluent_kafka.admin import AdminClient

ANSWER_SECONDS = 10.0
LEADER_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Offsets:
    """Of one Kafka partition: the oldest message that is kept, and the one to come."""

    first: int
    end: int


class Topics:
    """The topics of a Kafka cluster. All methods raise StackError when it does not answer.

    Args:
        address: of the cluster, as settings have it.
    """

    def __init__(self, address: str) -> None:
        self._options: dict[str, Any] = dict(kafka_client(address))
        self.servers = str(self._options["bootstrap.servers"])

    def ensure(self, topic: str, partitions: int) -> None:
        """Makes a topic if it is missing, with the cluster's own defaults for what is not said.

        Who asks for the topic after that gets an answer: Kafka says that a topic is made before its brokers lead it.

        Raises:
            NotFoundError: if Kafka does not name the topic within `ANSWER_SECONDS`.
        """
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.cimpl import NewTopic  # where `admin` takes it from; that one is not typed as public

        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=-1)
        admin = self._admin()  # kept until the answer is there
        try:
            admin.create_topics([wanted], request_timeout=ANSWER_SECONDS)[topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._down(error) from error
        self._await_leaders(topic)

    def _await_leaders(self, topic: str) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                self.offsets(topic)
            except (NotFoundError, StackError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(LEADER_LOOK_SECONDS)
            else:
                return

    def offsets(self, topic: str) -> dict[int, Offsets]:
        """The offsets of every partition of a topic.

        Raises:
            NotFoundError: if there is no such topic.
        """
        from confluent_kafka import TopicPartition

        with self._consumer() as consumer:
            partitions = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
            if not partitions:
                raise NotFoundError(
                    f"Kafka has no topic {topic!r}",
                    where=self.servers,
                    remedy="create it, or correct topic=",
                    code="no-topic",
                )
            found = {}
            for number in sorted(partitions):
                first, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
                found[number] = Offsets(first, end)
            return found

    def committed(self, consumer_group: str, topic: str, partitions: list[int]) -> dict[int, int]:
        """How far a consumer group has come in each partition; without those in which it has not begun."""
        from confluent_kafka import TopicPartition

        with self._consumer(consumer_group) as consumer:
            wanted = [TopicPartition(topic, number) for number in partitions]
            return _known(consumer.committed(wanted, timeout=ANSWER_SECONDS))

    def commit(self, consumer_group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Says how far a consumer group has come; nobody of that group may be reading."""
        from confluent_kafka import TopicPartition

        places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        with self._consumer(consumer_group) as consumer:
            if places:
                consumer.commit(offsets=places, asynchronous=False)

    def times(self, topic: str, offsets: Mapping[int, int]) -> dict[int, datetime]:
        """Of some partitions when Kafka took the first message at an offset or after it; without those with none."""
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        found: dict[int, datetime] = {}
        with self._consumer(ends=True) as consumer:
            for number, offset in offsets.items():
                consumer.assign([TopicPartition(topic, number, offset)])
                message = consumer.poll(ANSWER_SECONDS)
                if message is None:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - the public name
                error = message.error()
                if error is None:
                    found[number] = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - what is left are marks of transactions
                    raise KafkaException(error)
        return found

    def messages(self, topic: str, begin: Mapping[int, int]) -> Iterator[Message]:
        """The messages of a topic from an offset of each partition up to what is its end when the call begins."""
        from confluent_kafka import KafkaException, TopicPartition

        ends = {number: place.end for number, place in self.offsets(topic).items()}
        left = {number for number, first in begin.items() if first < ends.get(number, 0)}
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, number, begin[number]) for number in left])
            while left:
                message = consumer.poll(ANSWER_SECONDS)
                if message is None:
                    raise self._down(TimeoutError(f"no message of {topic} within {ANSWER_SECONDS:g} s"))
                partition, offset = message.partition(), message.offset()
                if partition is None or offset is None or message.error() is not None:
                    raise self._down(KafkaException(message.error()))
                if offset < ends[partition]:
                    yield message
                if offset >= ends[partition] - 1:
                    left.discard(partition)

    def _admin(self) -> AdminClient:
        from confluent_kafka.admin import AdminClient

        return AdminClient({**self._options, "log_level": 0})

    @contextmanager
    def _consumer(self, group: str = "feature-store.look", *, ends: bool = False) -> Iterator[Consumer]:
        from confluent_kafka import Consumer, KafkaException

        own = {"group.id": group, "enable.auto.commit": False, "enable.partition.eof": ends, "log_level": 0}
        consumer = Consumer({**self._options, **own})
        try:
            yield consumer
        except KafkaException as error:
            raise self._down(error) from error
        finally:
            consumer.close()

    def _down(self, error: Exception) -> StackError:
        return StackError(
            f"Kafka does not answer: {error.args[0]}",
            where=self.servers,
            remedy="start it with ./fs up, or correct FS_KAFKA",
            code="kafka-down",
        )


def _known(places: Iterable[TopicPartition]) -> dict[int, int]:
    """The offsets by partition; Kafka says a negative one where it knows none."""
    return {place.partition: place.offset for place in places if place.offset >= 0}
