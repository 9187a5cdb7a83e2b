"""From the topics of updates into Redis: batches of rows through the guard, the place in Kafka noted after the write.

One process keeps up with 100,000 rows a second; more of them share the partitions. A row that comes twice is written
twice, and the guard keeps an older one from replacing a newer one, so the effect is that of once. Where reading goes on
is what Redis says (`loaded.py`): rows that it has lost are read again. How far a group is loaded follows from marks
among the updates (`marks.py`).

Updates that Kafka has deleted before they were read come from the group's table. What the stream had not committed yet
is missing from both until its next commit: the table is looked at again until it has all of that time, and no progress
is told meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_store.compile.flink import updates_topic
from feature_store.dtypes import to_micros
from feature_store.kafka_address import kafka_client
from feature_store.plan.schema import GroupSchema
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.marks import PartitionMarks, Reached, reached
from feature_store.streaming.updates import UpdateWriter

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

log = logging.getLogger("feature_store.loader")

GAP_SECONDS = 60.0
"""How often the table is looked at for updates that Kafka has deleted."""

RedisOf = Callable[[GroupSchema], "Redis"]
"""Gives the client of a group's online store."""
Refill = Callable[[GroupSchema, bool], int | None]
"""Fills Redis from a group's table, the whole of it or what is new in it; the instant (microseconds) from which on
updates have to be read, None for all."""
Tell = Callable[[GroupSchema, Reached], None]
"""Takes note of how far a group is loaded."""


@dataclass
class Reading:
    """How far the partitions of one topic that are this process's have been read.

    Args:
        places: the next offset of each, as Redis has it.
        marks: those before these places, and before those that were passed.
        passed: places further on, with no rows in between: Redis learns them with the next rows, or soon.
        told: the progress that was told last.
    """

    places: dict[int, int]
    marks: dict[int, PartitionMarks]
    passed: dict[int, int] = field(default_factory=dict)
    told: Reached | None = None


class Loader:
    """Reads the updates of some groups and writes them. What fails for one group is tried again, and stops no other.

    Args:
        kafka_servers: the address of Kafka.
        redis_of: gives the client of a group's online store.
        refill: called for a group of which Redis knows nothing, or of which Kafka has deleted updates.
        tell: called when a group has come further.
    """

    def __init__(self, kafka_servers: str, redis_of: RedisOf, refill: Refill, tell: Tell) -> None:
        from confluent_kafka import Consumer

        self._redis_of = redis_of
        self._refill = refill
        self._tell = tell
        self._groups: dict[str, GroupSchema] = {}
        self._writers: dict[str, UpdateWriter] = {}
        self._given: dict[str, list[int]] = {}
        """The partitions that are this process's, by topic."""
        self._reading: dict[str, Reading] = {}
        self._gaps: dict[str, int] = {}
        """When (microseconds) a gap was found whose rows may not be in the table yet, by topic."""
        self._gaps_at = 0.0
        self._look_at = 0.0
        self._wait = WAIT_SECONDS
        self._consumer: Consumer = Consumer(
            {
                **kafka_client(kafka_servers),
                "group.id": CONSUMER_GROUP,
                "auto.offset.reset": "error",  # a place that Kafka does not have any more is a gap to be filled
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",  # rows are idempotent: waiting for a commit would cost seconds
                "fetch.wait.max.ms": 100,  # with data Kafka answers at once; asked more often it takes a core's tenth
                "topic.metadata.refresh.interval.ms": 5_000,
                "reconnect.backoff.max.ms": 1_000,
                "session.timeout.ms": 6_000,  # how long a killed loader keeps its partitions
                "heartbeat.interval.ms": 1_500,
                "max.poll.interval.ms": 1_800_000,  # a large table takes a while
                "log_level": 0,
                "error_cb": _warn_of_refusal,
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
        from confluent_kafka import KafkaError

        if time.monotonic() >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + LOOK_SECONDS
        if self._gaps and time.monotonic() >= self._gaps_at:
            self._fill_gaps()
        by_topic: dict[str, list[Message]] = {}
        for message in self._consumer.consume(ROWS_AT_ONCE, self._wait):
            if (error := message.error()) is None:
                by_topic.setdefault(str(message.topic()), []).append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its documented name
                self._look_again(str(message.topic()))
            else:
                _warn(error)
        rows = sum(self._take_in(topic, messages) for topic, messages in by_topic.items())
        self._wait = BUSY_WAIT_SECONDS if rows >= MANY_ROWS else WAIT_SECONDS
        return rows

    def close(self) -> None:
        """Gives the partitions back."""
        self._consumer.close()

    def _take(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        given: dict[str, list[int]] = {}
        for partition in partitions:
            given.setdefault(partition.topic, []).append(partition.partition)
        self._given, self._reading, self._look_at = given, {}, 0.0
        self._consumer.assign([])  # not to be read before Redis has said from where on

    def _give_back(self, _: Consumer, __: Sequence[TopicPartition]) -> None:
        self._given, self._reading = {}, {}

    def _look(self) -> None:
        """Begins to read what is not read yet, and begins anew where Redis is not as it was left; tells of progress."""
        changed = False
        for topic, partitions in self._given.items():
            schema, reading = self._groups.get(topic), self._reading.get(topic)
            if schema is None:
                continue
            try:
                known = LoadedPlaces(self._redis_of(schema), schema).read(partitions)
                if reading is None or known != reading.places:
                    self._reading[topic] = self._place(topic, schema, partitions, known)
                    changed = True
                else:
                    self._tell_progress(schema, topic, reading)
            except Exception as error:
                log.warning("%s: %s", topic, error)
                changed |= self._reading.pop(topic, None) is not None
        if changed:
            self._read_from_places()

    def _place(self, topic: str, schema: GroupSchema, partitions: Sequence[int], known: dict[int, int]) -> Reading:
        """From where on to read a group's partitions; Redis knows these places then."""
        places = LoadedPlaces(self._redis_of(schema), schema)
        self._writers.pop(topic, None)  # an emptied Redis has forgotten the layout, too
        lost = self._lost(topic, known)
        unknown = [number for number in partitions if number not in known or number in lost]
        if unknown:
            log.info("%s: filling Redis from %s", topic, schema.table)
            now = to_micros(datetime.now(UTC))
            since = self._refill(schema, True)
            if lost and since is not None:
                self._gaps[topic] = now
            found = self._since(topic, unknown, since)
            places.write(found)
            known = known | found
        log.info("%s: reading from %s", topic, known)
        return Reading({number: known[number] for number in partitions}, places.marks(partitions))

    def _lost(self, topic: str, known: dict[int, int]) -> set[int]:
        """The partitions in which Kafka does not have the updates any more at which reading would go on."""
        from confluent_kafka import TopicPartition

        lost = set()
        for number, place in known.items():
            first, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
            if not first <= place <= end:
                lost.add(number)
                log.error(
                    "%s: a gap in partition %d: updates are loaded up to offset %d, Kafka has %d to %d; raise the "
                    "retention of the topic, or look why the loader was behind",
                    topic, number, place, first, end,
                )  # fmt: skip
        return lost

    def _fill_gaps(self) -> None:
        """Takes what is new in the tables of groups with gaps, until they have all of the time of the gap."""
        self._gaps_at = time.monotonic() + GAP_SECONDS
        for topic, found_at in list(self._gaps.items()):
            schema = self._groups.get(topic)
            try:
                since = found_at if schema is None else self._refill(schema, False)
            except Exception as error:
                log.warning("%s: %s", topic, error)
                continue
            if since is not None and since >= found_at:
                log.info("%s: the gap is filled", topic)
                del self._gaps[topic]

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

    def _look_again(self, topic: str) -> None:
        """Reads no more of a topic before Redis and Kafka have said from where on."""
        if self._reading.pop(topic, None) is not None:
            self._read_from_places()

    def _read_from_places(self) -> None:
        from confluent_kafka import TopicPartition

        self._consumer.assign(
            [
                TopicPartition(topic, number, at)
                for topic, reading in self._reading.items()
                for number, at in (reading.places | reading.passed).items()
            ]
        )

    def _take_in(self, topic: str, messages: Sequence[Message]) -> int:
        """Takes the next messages of a topic in, and gives the number of rows; if they cannot be written, none."""
        schema, reading = self._groups.get(topic), self._reading.get(topic)
        if schema is None or reading is None:
            return 0
        values = [message.value() for message in messages]
        rows = [value for value in values if value is not None]
        try:
            if len(rows) < len(values) and topic not in self._gaps:  # else rows before a mark are missing
                for message, value in zip(messages, values, strict=True):
                    if value is None:
                        reading.marks[message.partition() or 0].take(message.key() or b"")
            for message in messages:
                reading.passed[message.partition() or 0] = (message.offset() or 0) + 1
            if rows:
                self._move(schema, topic, reading, rows)
        except Exception as error:
            log.warning("%s: %s", topic, error)
            self._look_again(topic)
            return 0
        return len(rows)

    def _move(self, schema: GroupSchema, topic: str, reading: Reading, rows: Sequence[bytes]) -> None:
        """Writes rows and moves the places behind them, and behind all marks that were passed."""
        from confluent_kafka import TopicPartition

        after = dict(reading.passed)
        before = {number: reading.places[number] for number in after}
        marks = {number: reading.marks[number] for number in after}
        with LoadedPlaces(self._redis_of(schema), schema).moving(before, after, marks):
            if rows:
                self._writer(schema, topic).write(rows)
        reading.places.update(after)
        reading.passed.clear()
        offsets = [TopicPartition(topic, number, at) for number, at in after.items()]
        self._consumer.commit(offsets=offsets, asynchronous=True)  # for those who look at the lag

    def _writer(self, schema: GroupSchema, topic: str) -> UpdateWriter:
        if topic not in self._writers:
            self._writers[topic] = UpdateWriter(self._redis_of(schema), schema)
        return self._writers[topic]

    def _tell_progress(self, schema: GroupSchema, topic: str, reading: Reading) -> None:
        """Says up to when all rows of a group are there, as all its loaders know together."""
        if reading.passed:
            self._move(schema, topic, reading, ())
        known = [mark for marks in reading.marks.values() for mark in marks.marks()]
        partitions = range(max((mark.partitions for mark in known), default=0))
        everywhere = LoadedPlaces(self._redis_of(schema), schema).marks(partitions)
        found = reached({number: marks.marks() for number, marks in everywhere.items()})
        if found is not None and found.watermark > 0 and found != reading.told:
            self._tell(schema, found)
            reading.told = found


def _warn(error: KafkaError) -> None:
    from confluent_kafka import KafkaError

    if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # it is made with the first job
        log.warning("kafka: %s", error)


def _warn_of_refusal(error: KafkaError) -> None:
    """Says why a connection is refused; one that fails in another way is tried again without a word."""
    from confluent_kafka import KafkaError

    if error.code() in (KafkaError._SSL, KafkaError._AUTHENTICATION):  # noqa: SLF001 - their documented names
        log.warning("kafka: %s", error)
