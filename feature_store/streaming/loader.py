"""From the topics of updates into Redis: batches of rows through the guard, the place in Kafka noted after the write.

One process keeps up with 100,000 rows a second; more of them share the partitions. A row that comes twice is written
twice, and the guard keeps an older one from replacing a newer one, so the effect is that of once. Where reading goes on
is what Redis says (`loaded.py`): rows that it has lost are read again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from feature_store.compile.flink import updates_topic
from feature_store.dtypes import TIMESTAMP, DType, to_micros
from feature_store.kafka_address import kafka_client
from feature_store.online.frames import encode_rows, newest_rows
from feature_store.online.keys import entity_keys
from feature_store.online.writer import GuardedWriter
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema
from feature_store.streaming.loaded import LoadedPlaces

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
    from redis import Redis

CONSUMER_GROUP = "feature-store.loader"
ROWS_AT_ONCE = 10_000
WAIT_SECONDS = 0.02
MANY_ROWS = 500
BUSY_WAIT_SECONDS = 0.1
"""How long rows are gathered when there are many: the cost of a batch is then shared by more of them."""
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0
_POLARS = {"STRING": pl.String, "INT": pl.Int64, "FLOAT": pl.Float64, "BOOL": pl.Boolean, "TIMESTAMP": pl.Int64}
_INSTANT = pl.Datetime("us", "UTC")

log = logging.getLogger("feature_store.loader")

Refill = Callable[[GroupSchema], int | None]
"""Fills Redis from a group's table; the instant (microseconds) from which on updates have to be read, None for all."""


class Loader:
    """Reads the updates of some groups and writes them. What fails for one group is tried again, and stops no other.

    Args:
        kafka_servers: the address of Kafka.
        redis: from `connect`.
        refill: called for a group of which Redis knows nothing.
    """

    def __init__(self, kafka_servers: str, redis: Redis, refill: Refill) -> None:
        from confluent_kafka import Consumer

        self._redis = redis
        self._refill = refill
        self._groups: dict[str, GroupSchema] = {}
        self._writers: dict[str, GuardedWriter] = {}
        self._given: dict[str, list[int]] = {}
        """The partitions that are this process's, by topic."""
        self._places: dict[str, dict[int, int]] = {}
        """The next offset of each partition that is being read."""
        self._look_at = 0.0
        self._wait = WAIT_SECONDS
        self._consumer: Consumer = Consumer(
            {
                **kafka_client(kafka_servers),
                "group.id": CONSUMER_GROUP,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",  # rows are idempotent: waiting for a commit would cost seconds
                "fetch.wait.max.ms": 100,  # with data Kafka answers at once; asked more often it takes a core's tenth
                "topic.metadata.refresh.interval.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "session.timeout.ms": 6_000,  # how long a killed loader keeps its partitions
                "heartbeat.interval.ms": 1_500,
                "max.poll.interval.ms": 1_800_000,  # a large table takes a while
                "log_level": 0,
            }
        )

    def serve(self, schemas: Sequence[GroupSchema]) -> None:
        """Reads the updates of these groups from now on."""
        wanted = {updates_topic(schema): schema for schema in schemas}
        if wanted == self._groups:
            return
        topics_change = set(wanted) != set(self._groups)
        self._groups = wanted
        self._writers = {}
        if not wanted:
            self._consumer.unsubscribe()
        elif topics_change:
            self._consumer.subscribe(
                sorted(wanted), on_assign=self._take, on_revoke=self._give_back, on_lost=self._give_back
            )

    def step(self) -> int:
        """Writes what has arrived, waiting a moment if nothing has; gives the number of rows read."""
        if time.monotonic() >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + LOOK_SECONDS
        by_topic: dict[str, list[Message]] = {}
        for message in self._consumer.consume(ROWS_AT_ONCE, self._wait):
            if (error := message.error()) is None:
                by_topic.setdefault(str(message.topic()), []).append(message)
            else:
                _tell(error)
        for topic, messages in by_topic.items():
            self._write(topic, messages)
        rows = sum(map(len, by_topic.values()))
        self._wait = BUSY_WAIT_SECONDS if rows >= MANY_ROWS else WAIT_SECONDS
        return rows

    def ends(self, schema: GroupSchema) -> dict[int, int]:
        """Where the updates of a group end now, by partition; of those that are this process's. Safe in any thread.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        from confluent_kafka import TopicPartition

        topic = updates_topic(schema)
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)[1]
            for number in self._given.get(topic, ())
        }

    def has_passed(self, schema: GroupSchema, ends: dict[int, int]) -> bool:
        """Whether all updates before some offsets are in Redis. Safe in any thread."""
        places = self._places.get(updates_topic(schema), {})
        return bool(ends) and all(places.get(number, -1) >= end for number, end in ends.items())

    def close(self) -> None:
        """Gives the partitions back."""
        self._consumer.close()

    def _take(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        given: dict[str, list[int]] = {}
        for partition in partitions:
            given.setdefault(partition.topic, []).append(partition.partition)
        self._given, self._places, self._look_at = given, {}, 0.0
        self._consumer.assign([])  # not to be read before Redis has said from where on

    def _give_back(self, _: Consumer, __: Sequence[TopicPartition]) -> None:
        self._given, self._places = {}, {}

    def _look(self) -> None:
        """Begins to read what is not read yet, and begins anew where Redis is not as it was left."""
        changed = False
        for topic, partitions in self._given.items():
            schema, before = self._groups.get(topic), self._places.get(topic)
            if schema is None:
                continue
            try:
                known = LoadedPlaces(self._redis, schema).read(partitions)
                if before is None or known != before:
                    self._places[topic] = self._place(topic, schema, partitions, known)
                    changed = True
            except Exception as error:
                log.warning("%s: %s", topic, error)
                changed |= self._places.pop(topic, None) is not None
        if changed:
            self._read_from_places()

    def _place(
        self, topic: str, schema: GroupSchema, partitions: Sequence[int], known: dict[int, int]
    ) -> dict[int, int]:
        """From where on to read a group's partitions; Redis knows these places then."""
        places = LoadedPlaces(self._redis, schema)
        self._writers.pop(topic, None)  # an emptied Redis has forgotten the layout, too
        unknown = [number for number in partitions if number not in known]
        if unknown:
            log.info("%s: filling Redis from %s", topic, schema.table)
            since = self._refill(schema)
            found = self._since(topic, unknown, since)
            places.write(found)
            known = known | found
        log.info("%s: reading from %s", topic, known)
        return {number: known[number] for number in partitions}

    def _since(self, topic: str, partitions: Iterable[int], instant: int | None) -> dict[int, int]:
        """The first offset of each partition that Kafka has since an instant (microseconds)."""
        from confluent_kafka import TopicPartition

        found = {}
        for number in partitions:
            first, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
            found[number] = first
            if instant is not None:
                wanted = [TopicPartition(topic, number, instant // 1000)]
                offset = self._consumer.offsets_for_times(wanted, timeout=ANSWER_SECONDS)[0].offset
                found[number] = offset if offset >= 0 else end
        return found

    def _read_from_places(self) -> None:
        from confluent_kafka import TopicPartition

        self._consumer.assign(
            [TopicPartition(t, number, at) for t, places in self._places.items() for number, at in places.items()]
        )

    def _write(self, topic: str, messages: Sequence[Message]) -> None:
        """Writes rows and moves the places behind them; if that fails, they are read again."""
        from confluent_kafka import TopicPartition

        schema, places = self._groups.get(topic), self._places.get(topic)
        if schema is None or places is None:
            return
        after = {message.partition() or 0: (message.offset() or 0) + 1 for message in messages}  # the last one counts
        before = {number: places[number] for number in after}
        try:
            with LoadedPlaces(self._redis, schema).moving(before, after):
                self._write_rows(schema, topic, [message.value() or b"" for message in messages])
        except Exception as error:
            log.warning("%s: %s", topic, error)
            self._places.pop(topic)
            self._read_from_places()
            return
        places.update(after)
        offsets = [TopicPartition(topic, number, at) for number, at in after.items()]
        self._consumer.commit(offsets=offsets, asynchronous=True)  # for those who look at the lag

    def _write_rows(self, schema: GroupSchema, topic: str, values: Sequence[bytes]) -> None:
        writer = self._writers.get(topic)
        if writer is None:
            writer = self._writers[topic] = GuardedWriter(self._redis, schema)
        frame = newest_rows(schema, read_updates(schema, values))
        times, now = frame[FEATURE_TIMESTAMP].to_physical(), to_micros(datetime.now(UTC))
        expired = pl.repeat(False, len(frame), eager=True) if schema.ttl is None else times + schema.ttl < now
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


def _tell(error: KafkaError) -> None:
    from confluent_kafka import KafkaError

    if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # it is made with the first job
        log.warning("kafka: %s", error)
