"""From the topics of updates into Redis: batches of rows through the guard, the place in Kafka noted after the write.

One process keeps up with 100,000 rows a second; more of them share the partitions. A row that comes twice is written
twice, and the guard keeps an older one from replacing a newer one, so the effect is that of once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from feature_store.compile.flink import updates_topic
from feature_store.dtypes import TIMESTAMP, DType, to_micros
from feature_store.online.frames import encode_rows, newest_rows
from feature_store.online.keys import entity_keys
from feature_store.online.writer import GuardedWriter, is_expired
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message
    from redis import Redis

CONSUMER_GROUP = "feature-store.loader"
ROWS_AT_ONCE = 2_000
WAIT_SECONDS = 0.02
_POLARS = {"STRING": pl.String, "INT": pl.Int64, "FLOAT": pl.Float64, "BOOL": pl.Boolean, "TIMESTAMP": pl.Int64}
_INSTANT = pl.Datetime("us", "UTC")

log = logging.getLogger("feature_store.loader")


class Loader:
    """Reads the updates of some groups and writes them.

    Args:
        kafka_servers: bootstrap servers.
        redis: from `connect`.
    """

    def __init__(self, kafka_servers: str, redis: Redis) -> None:
        from confluent_kafka import Consumer

        self._redis = redis
        self.caught_up = 0.0
        """When (monotonic seconds) a look at Kafka began that found nothing left behind."""
        self._groups: dict[str, GroupSchema] = {}
        self._writers: dict[str, GuardedWriter] = {}
        self._consumer: Consumer = Consumer(
            {
                "bootstrap.servers": kafka_servers,
                "group.id": CONSUMER_GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",  # rows are idempotent: waiting for a commit would cost seconds
                "fetch.wait.max.ms": 10,
                "topic.metadata.refresh.interval.ms": 5_000,
                "log_level": 0,
            }
        )

    def serve(self, schemas: Sequence[GroupSchema]) -> None:
        """Reads the updates of these groups from now on."""
        wanted = {updates_topic(schema): schema for schema in schemas}
        if wanted != self._groups:
            self._groups = wanted
            self._writers = {}
            if wanted:
                self._consumer.subscribe(sorted(wanted))
            else:
                self._consumer.unsubscribe()

    def step(self) -> int:
        """Writes what has arrived, waiting a moment if nothing has; gives the number of rows read."""
        if not self._groups:
            time.sleep(WAIT_SECONDS)
            return 0
        began = time.monotonic()
        messages = [m for m in self._consumer.consume(ROWS_AT_ONCE, WAIT_SECONDS) if _is_row(m)]
        by_topic: dict[str, list[bytes]] = {}
        for message in messages:
            by_topic.setdefault(str(message.topic()), []).append(message.value() or b"")
        for topic, values in by_topic.items():
            self._write(topic, values)
        if messages:
            self._consumer.commit(asynchronous=True)
        if len(messages) < ROWS_AT_ONCE and self._consumer.assignment():
            self.caught_up = began
        return len(messages)

    def close(self) -> None:
        """Gives the partitions back."""
        self._consumer.close()

    def _write(self, topic: str, values: Sequence[bytes]) -> None:
        schema = self._groups.get(topic)
        if schema is None:
            return
        writer = self._writers.get(topic)
        if writer is None:
            writer = self._writers[topic] = GuardedWriter(self._redis, schema)
        frame = newest_rows(schema, read_updates(schema, values))
        now = to_micros(datetime.now(UTC))
        times = frame[FEATURE_TIMESTAMP].to_physical()
        expired = pl.Series([is_expired(schema, at, now) for at in times], dtype=pl.Boolean)
        writer.write(entity_keys(schema, frame).to_list(), encode_rows(schema, frame, writer.codec.number, expired))


def read_updates(schema: GroupSchema, values: Sequence[bytes]) -> pl.DataFrame:
    """The rows of some messages, in the types of the offline table."""
    times = {"_feature": TIMESTAMP, "_created": TIMESTAMP}
    columns = {column.name: column.dtype for column in (*schema.keys, *schema.features)} | times
    raw = pl.read_ndjson(b"\n".join(values), schema={name: _json_type(dtype) for name, dtype in columns.items()})
    instants = [pl.col(name).cast(_stored_type(dtype)) for name, dtype in columns.items() if _has_time(dtype)]
    return raw.with_columns(instants).rename({"_feature": FEATURE_TIMESTAMP, "_created": CREATED_TIMESTAMP})


def _json_type(dtype: DType) -> pl.DataType:
    return pl.List(_json_type(dtype.item)) if dtype.item is not None else _POLARS[dtype.kind]()


def _stored_type(dtype: DType) -> pl.DataType:
    return pl.List(_INSTANT) if dtype.item is not None else _INSTANT


def _has_time(dtype: DType) -> bool:
    return TIMESTAMP in (dtype, dtype.item)


def _is_row(message: Message) -> bool:
    from confluent_kafka import KafkaError

    error = message.error()
    if error is not None and error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
        log.warning("kafka: %s", error)
    return error is None
