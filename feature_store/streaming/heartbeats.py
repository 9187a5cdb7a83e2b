"""Messages that say what time it is, so that a topic on which nothing happens does not stop its windows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from feature_store.kafka_address import kafka_client

if TYPE_CHECKING:
    from confluent_kafka import Producer

KEY = b"__feature_store_heartbeat__"
EVERY_SECONDS = 0.1


class Heartbeats:
    """Sends the clock's time into every partition of some topics.

    They are ordinary messages behind all events sent before them, so time never overtakes an event that waits. The
    parser knows them by their first bytes, whatever the topic's format is.
    """

    def __init__(self, kafka_servers: str) -> None:
        from confluent_kafka import Producer

        self._producer: Producer = Producer(
            {
                **kafka_client(kafka_servers),
                "linger.ms": 0,
                "message.timeout.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 0,
            }
        )
        self._partitions: dict[str, tuple[int, ...]] = {}

    def serve(self, topics: Iterable[str]) -> None:
        """Sends to these topics from now on; to those that do not exist when they do."""
        found = {}
        for topic in topics:
            known = self._producer.list_topics(topic, timeout=5.0).topics[topic].partitions
            found[topic] = tuple(sorted(known))
        self._partitions = found

    def send(self) -> None:
        """One heartbeat into each partition."""
        value = b'{"%s":%d}' % (KEY, time.time_ns() // 1_000_000)
        for topic, partitions in self._partitions.items():
            for partition in partitions:
                self._producer.produce(topic, value, KEY, partition)
        self._producer.poll(0)
