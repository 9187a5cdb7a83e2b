"""What the stream benchmarks share: their definitions and events, and a workbench that leaves nothing behind.

They need a running stack with streams (`./fs up --streams`), take names of their own in it, and clean up at the end:
jobs, topics, tables, keys in Redis, records in the registry.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyarrow import fs
from sqlalchemy import delete
from sqlalchemy.orm import Session

from feature_store import FLOAT, INT, LIST, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.client import FeatureStore
from feature_store.compile.flink import updates_topic
from feature_store.dsl.collect import Project
from feature_store.dtypes import to_micros
from feature_store.duration import MINUTE
from feature_store.errors import StackError
from feature_store.online.connection import connect
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.registry.streams import StreamJob, StreamJobs
from feature_store.registry.tables import EntityTypeRow, FeatureGroupRow, StreamJobRow
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.deployment import SessionCluster
from feature_store.streaming.loader import CONSUMER_GROUP
from feature_store.streaming.service import LOOK_SECONDS
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted

START = "2026-01-01"
BEGIN = to_micros(datetime.fromisoformat(START).replace(tzinfo=UTC))
PARTITIONS = 2
CATEGORIES = 40
DISORDER = 400_000
"""Microseconds by which neighbours may be exchanged: less than the sources' max_out_of_orderness of 500 ms."""
SEED = 20260101
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Load:
    """Events to preload: how many, of how many users, over how many minutes of event time."""

    events: int
    users: int
    minutes: int = 60

    def __str__(self) -> str:
        return f"{self.events:,} events of {self.users:,} users in {self.minutes} min of event time"

    @property
    def end(self) -> int:
        """The instant behind the last event (microseconds)."""
        return BEGIN + self.minutes * MINUTE

    def times(self) -> np.ndarray:
        """Event times in the order of sending (microseconds): nearly sorted."""
        random = np.random.default_rng([SEED, self.events])
        even = np.linspace(0, self.minutes * MINUTE - DISORDER, self.events, endpoint=False).astype(np.int64)
        return BEGIN + even + random.integers(0, DISORDER, self.events)

    def columns(self) -> tuple[list[int], list[int], list[int], list[int]]:
        """Users, categories, amounts in cents and times of the events, in the order of sending."""
        random = np.random.default_rng([SEED, self.events, self.users])
        users = random.integers(0, self.users, self.events)
        categories = np.minimum(random.geometric(0.15, self.events), CATEGORIES)
        cents = random.integers(1, 20_000, self.events)
        return users.tolist(), categories.tolist(), cents.tolist(), self.times().tolist()


@dataclass
class Workbench:
    """Names of one run of a benchmark, and all that was made under them."""

    store: FeatureStore
    flink: SessionCluster
    topics: Topics
    admin: AdminClient
    name: str
    streams: list[StreamSource] = field(default_factory=list)
    plans: list[GroupPlan] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @property
    def cluster(self) -> FlinkCluster:
        return self.flink.cluster

    @property
    def entity(self) -> Entity:
        return Entity(f"{self.name}_user", join_key="user_id")

    def source(self, what: str, *, heartbeats: bool = False) -> StreamSource:
        """A source of clicks with a topic of its own, which is made."""
        stream = StreamSource(
            f"{self.name}_{what}",
            topic=f"{self.name}.{what}",
            schema={
                "user_id": STRING,
                "item_id": STRING,
                "category": STRING,
                "event_type": STRING,
                "amount": FLOAT,
                "event_ts": TIMESTAMP,
            },
            event_timestamp="event_ts",
            time_format="us",
            heartbeats=heartbeats,
        )
        self.topics.ensure(stream.topic, PARTITIONS)
        self.streams.append(stream)
        return stream

    def group(
        self, stream: StreamSource, *, window: str = "30m", version: int = 1, commit: str = "10s", start: str = START
    ) -> GroupPlan:
        """Five features of one window at a slide of 1 s: count, sum, mean, last, top_k."""
        user = self.entity.name
        features = (
            Feature(f"{user}_event_count_{window}", agg.count(), window=window, dtype=INT, default=0),
            Feature(f"{user}_amount_sum_{window}", agg.sum("amount"), window=window, dtype=FLOAT),
            Feature(f"{user}_amount_mean_{window}", agg.mean("amount"), window=window, dtype=FLOAT),
            Feature(f"{user}_category_last_{window}", agg.last("category"), window=window, dtype=STRING),
            Feature(f"{user}_category_top_{window}", agg.top_k("category", 3), window=window, dtype=LIST(STRING)),
        )
        plan = build_plan(
            FeatureGroup(
                f"{self.name}_{window}",
                version=version,
                entity=self.entity,
                source=stream,
                owner="team:bench",
                start=start,
                slide="1s",
                commit_interval=commit,
                parallelism=2,
                features=features,
            )
        )
        self.plans.append(plan)
        return plan

    def preload(self, stream: StreamSource, load: Load) -> float:
        """Sends the events of a load, by turns into each partition; gives the seconds it took."""
        began = time.perf_counter()
        producer = Producer({"bootstrap.servers": self.topics.servers, "compression.type": "lz4", "linger.ms": 20})
        for number, (user, category, cents, at) in enumerate(zip(*load.columns(), strict=True)):
            event = event_json(f"u{user}", category, cents, at)
            while True:
                try:
                    producer.produce(stream.topic, event, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.5)
            if number % 10_000 == 0:
                producer.poll(0)
        if producer.flush(PATIENCE_SECONDS):
            raise StackError("Kafka did not take all events", where=stream.topic, code="benchmark")
        return time.perf_counter() - began

    def record(self, plan: GroupPlan) -> StreamJob:
        """Records a group and a job of it, so that the loader serves it; waits until it does."""
        self.store.apply(Project((plan.group,), (), {plan.group.id: "benchmark"}), by="benchmark")
        self.topics.ensure(updates_topic(plan.schema), PARTITIONS)
        assert plan.stream is not None
        wanted = Wanted(plan.stream, plan, plan.group.commit_size)
        job = StreamJob(wanted.name, "running", wanted.fingerprint, wanted.state_fingerprint)
        StreamJobs(self.store.registry.engine).write(job)
        until(lambda: updates_topic(plan.schema) in self._loaded_topics(), "the loader does not serve the group")
        return job

    def entities_online(self, plan: GroupPlan) -> int:
        """How many entities of a group Redis holds."""
        with connect(self.store.settings.redis_url) as redis:
            return sum(1 for _ in redis.scan_iter(match=f"{plan.group.id}:{{*", count=10_000))

    def rows_in_updates(self, plan: GroupPlan) -> int:
        """How many rows a group's topic of updates holds, without the marks among them."""
        topic = updates_topic(plan.schema)
        ends = {number: place.end for number, place in self.topics.offsets(topic).items() if place.end}
        settings = {"bootstrap.servers": self.topics.servers, "group.id": self.name, "enable.auto.commit": False}
        consumer = Consumer(settings)
        try:
            consumer.assign([TopicPartition(topic, number, 0) for number in ends])
            rows, left = 0, sum(ends.values())
            while left > 0:
                messages = consumer.consume(10_000, 1.0)
                rows += sum(message.value() is not None for message in messages)
                left -= len(messages)
            return rows
        finally:
            consumer.close()

    def clean(self) -> None:
        """Removes all that was made. The registry keeps a line in its list of applied plans."""
        for job in self.cluster.jobs():
            if job.id in self.jobs:
                self.cluster.cancel(job.id)
        until(lambda: not {job.id for job in self.cluster.jobs()} & set(self.jobs), "a job does not end")
        self._forget()
        updates = {updates_topic(plan.schema) for plan in self.plans}
        time.sleep(2 * LOOK_SECONDS)  # until the service has looked, and sends no heartbeats to a topic that is gone
        present = self.admin.list_topics(timeout=10).topics
        gone = [topic for topic in (*updates, *(stream.topic for stream in self.streams)) if topic in present]
        for done in self.admin.delete_topics(gone).values() if gone else ():
            done.result()
        catalog = self.store.catalog
        folders = [f"{self.store.settings.flink_state}/checkpoints/{job_id}" for job_id in self.jobs]
        for table in (*(plan.schema.table for plan in self.plans), *(str(s.log.table) for s in self.streams)):
            if catalog.table_exists(table):
                folders.append(catalog.load_table(table).location())
                catalog.drop_table(table)  # a purge would leave the checksums that Flink puts beside its files
        for folder in folders:
            delete_folder(folder)
        with connect(self.store.settings.redis_url) as redis:
            for key in redis.scan_iter(match=f"{self.name}_*", count=10_000):
                redis.unlink(key)

    def _forget(self) -> None:
        with Session(self.store.registry.engine) as session, session.begin():
            session.execute(delete(StreamJobRow).where(StreamJobRow.name.startswith(f"{self.name}_")))
            session.execute(delete(FeatureGroupRow).where(FeatureGroupRow.name.startswith(f"{self.name}_")))
            session.execute(delete(EntityTypeRow).where(EntityTypeRow.name == self.entity.name))

    def _loaded_topics(self) -> set[str]:
        """The topics that the loader has partitions of."""
        found = self.admin.describe_consumer_groups([CONSUMER_GROUP])[CONSUMER_GROUP].result()
        return {place.topic for member in found.members for place in member.assignment.topic_partitions}


@contextmanager
def workbench() -> Iterator[Workbench]:
    """A workbench on the running stack; it is cleaned whatever happens.

    Raises:
        StackError: if no stack runs, or one without Kafka and Flink.
    """
    store = FeatureStore()
    settings = store.settings
    settings.require_streams()
    servers = settings.kafka_servers
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    bench = Workbench(store, SessionCluster(settings), Topics(servers), admin, f"bench_{secrets.token_hex(3)}")
    try:
        yield bench
    finally:
        bench.clean()


def delete_folder(url: str) -> None:
    """Deletes a folder with all in it, if it is there."""
    files, path = fs.FileSystem.from_uri(url)
    if files.get_file_info(path).type == fs.FileType.Directory:
        files.delete_dir(path)


def event_json(user: str, category: int, cents: int, at: int) -> str:
    """One event as it is sent; `at` in microseconds."""
    return (
        f'{{"user_id":"{user}","item_id":"i{cents}","category":"c{category}","event_type":"click",'
        f'"amount":{cents / 100},"event_ts":{at}}}'
    )


def until(holds: Callable[[], bool], problem: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Waits for a condition.

    Raises:
        StackError: if it does not hold after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StackError(f"{problem} (waited {seconds:.0f} s)", remedy="see ./fs logs", code="benchmark")
        time.sleep(0.1)


def show(what: str, values: Sequence[float], unit: str, note: str = "", digits: int = 0) -> None:
    """One line of a result: the median, and from least to greatest where there are several."""
    spread = f"({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else ""
    print(f"  {what:38} {statistics.median(values):12,.{digits}f} {unit:9} {spread:24} {note}".rstrip())
