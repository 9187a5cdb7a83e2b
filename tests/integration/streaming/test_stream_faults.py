"""Every service of the streaming path is killed under load: no event is lost or counts twice, Redis comes to agree."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis

from feature_store import FLOAT, INT, Feature, agg, session, stack_file
from feature_store.client import FeatureStore
from feature_store.compile.flink import updates_topic
from feature_store.errors import FeatureStoreError
from feature_store.local import stack as local_stack
from feature_store.online.connection import connect
from feature_store.online.progress import last_updated
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.stack_file import ServiceRecord
from feature_store.stack_settings import StackSettings
from feature_store.streaming.jobs import Streams
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.topics import Topics
from tests.conftest import RecordingReporter
from tests.integration.streaming.stream_cases import Sender, activity, compare_when_settled, deploy, now_micros, source

pytestmark = pytest.mark.timeout(3600)  # of a machine with other work; alone it takes a tenth of that

Eventually = Callable[..., None]

CLICKS = source("clicks")
GROUP = activity(
    CLICKS,
    columns={},
    derived={},
    features=[
        Feature("user_click_count_2s", agg.count(), window="2s", where="kind = 'click'", dtype=INT, default=0),
        Feature("user_amount_sum_3s", agg.sum("amount"), window="3s", dtype=FLOAT),
        Feature("user_cart_sum_all_time", agg.sum("step"), window="all_time", dtype=INT),
        Feature("user_session_count", agg.count(), window=session("1s"), dtype=INT),
    ],
)
SCHEMA = build_plan(GROUP).schema
RATE = 100.0
RECOVERY_SECONDS = 900.0
"""Far too long: most of it is for a machine with other work."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, jars_folder: Path, flink_python: Path) -> Iterator[Path]:
    """The state folder of a running stack of this module alone: what is killed is nobody else's."""
    folder = tmp_path_factory.mktemp("faults")
    environment = {"FS_HOME": str(folder), "FS_JARS_DIR": str(jars_folder), "FS_FLINK_PYTHON": str(flink_python)}
    settings = replace(StackSettings.load(environment), port=31_000 + os.getpid() % 150 * 10)
    try:
        local_stack.up(settings, dagster=False, streams=True, report=RecordingReporter())
        yield folder
    finally:
        local_stack.down(folder, RecordingReporter())


@pytest.fixture(scope="module")
def store(home: Path) -> FeatureStore:
    return FeatureStore(Settings.load({"FS_HOME": str(home)}))


@pytest.fixture(scope="module")
def streams(store: FeatureStore) -> Streams:
    """The jobs of GROUP and of its log."""
    return deploy(store, GROUP)


@pytest.fixture(scope="module")
def redis(store: FeatureStore) -> Iterator[Redis]:
    with connect(store.settings.redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def sender(streams: Streams) -> Sender:
    """What was sent to CLICKS by all tests of this module."""
    return Sender(streams.settings.kafka_servers, CLICKS.topic, seed=3, users=40)


@contextmanager
def load_on(sender: Sender) -> Iterator[None]:
    """Sends all the while the block lasts; after it, Kafka has taken every event."""
    stopped, failures = threading.Event(), list[BaseException]()

    def send() -> None:
        try:
            sender.send_until(stopped, RATE)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(120)
    assert not failures, failures


def service(home: Path, name: str) -> ServiceRecord:
    record = stack_file.read(home)
    assert record is not None
    return next(service for service in record.services if service.name == name)


def kill(home: Path, name: str) -> int:
    """Kills a service with SIGKILL; gives the time (microseconds)."""
    process = service(home, name).process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    return now_micros()


def newest(redis: Redis) -> int:
    """How far the group's rows in Redis are, as the loader says (microseconds); 0 where Redis does not know or say."""
    with suppress(FeatureStoreError):
        found = last_updated(redis, SCHEMA)
        return found.newest or 0 if found is not None else 0
    return 0


def restarts_told(redis: Redis) -> int:
    """How often Flink had restarted the job when it wrote the newest marks that are loaded."""
    known = LoadedPlaces(redis, SCHEMA).marks([0, 1])
    return max((marks.marks()[-1].attempt.number for marks in known.values() if marks.marks()), default=0)


def jobs_told(redis: Redis) -> set[str]:
    """Flink's ids of the jobs that wrote the newest marks that are loaded, of each partition."""
    known = LoadedPlaces(redis, SCHEMA).marks([0, 1])
    return {marks.marks()[-1].attempt.job for marks in known.values() if marks.marks()}


def has_checkpoint(streams: Streams) -> bool:
    """Whether the group's job has made one, or went on from one."""
    return "/chk-" in streams.records.read()[GROUP.id].state_path


def restored_from(streams: Streams) -> str:
    """The checkpoint that the group's job went on from, as Flink says."""
    job = streams.records.read()[GROUP.id].flink_job_id
    latest = streams.flink.cluster_of(GROUP.id).get(f"/jobs/{job}/checkpoints")["latest"]
    return str(latest["restored"]["external_path"])


def supervise_until(streams: Streams, condition: Callable[[], bool], seconds: float = RECOVERY_SECONDS) -> None:
    """Looks after the jobs every three seconds, as the sensor does every 30, until a condition holds."""
    deadline = time.monotonic() + seconds
    look_at = time.monotonic()
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        if time.monotonic() >= look_at:
            with suppress(FeatureStoreError):  # a service is down; the sensor tries again, too
                streams.supervise()
            look_at = time.monotonic() + 3.0
        time.sleep(0.25)


def assert_nothing_lost(store: FeatureStore, sender: Sender, since: int) -> None:
    """Every event that Kafka took is in the log once; rows and Redis are those of the reference over the log."""
    found = compare_when_settled(store, sender, GROUP, since, seconds=RECOVERY_SECONDS)
    assert found.is_equal, found
    log = store.catalog.load_table(str(CLICKS.log.table)).scan().to_arrow()
    places = list(zip(log["kafka_partition"].to_pylist(), log["kafka_offset"].to_pylist(), strict=True))
    assert sorted(places) == sorted(sender.taken)
    rows = store.catalog.load_table(SCHEMA.table).scan().to_arrow()
    names = ("user_id", "feature_timestamp", "created_timestamp")
    written = list(zip(*(rows[name].to_pylist() for name in names), strict=True))
    assert len(set(written)) == len(written)


def forget_updates(store: FeatureStore) -> None:
    """Lets Kafka delete all updates of the group, as it does when they are old."""
    topic, servers = updates_topic(SCHEMA), store.settings.kafka_servers
    ends = [TopicPartition(topic, number, place.end) for number, place in Topics(servers).offsets(topic).items()]
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.delete_records(ends).values():
        done.result(30)


def test_every_service_may_be_killed_under_load(
    home: Path, store: FeatureStore, streams: Streams, redis: Redis, sender: Sender
) -> None:
    recovered = {}
    with load_on(sender):
        supervise_until(streams, lambda: newest(redis) >= sender.earliest and has_checkpoint(streams))
        names = ("flink-taskmanager", "flink-jobmanager", "stream-loader", "kafka", "valkey", "postgres")
        for name in names:
            began = newest(redis)
            job, killed = jobs_told(redis), kill(home, name)
            supervise_until(streams, lambda killed=killed: newest(redis) > killed)  # type: ignore[misc]
            if name == "flink-jobmanager":  # Flink has forgotten the job, whose last rows came after the kill
                supervise_until(streams, lambda job=job: jobs_told(redis).isdisjoint(job))  # type: ignore[misc]
            recovered[name] = (now_micros() - killed) / 1e6
            print(f"{name}: fresh again after {recovered[name]:.1f} s")  # noqa: T201 - for pytest -s
            assert newest(redis) > began
            if name == "flink-taskmanager":
                assert restarts_told(redis) > 0, "the progress is that of the attempt after the kill"
            if name == "flink-jobmanager":
                assert has_checkpoint(streams)
                assert "/chk-" in restored_from(streams), "without one it would have begun where it first did"
    supervise_until(streams, lambda: all(service(home, name).state == "ready" for name in names))
    assert_nothing_lost(store, sender, sender.earliest)
    assert len(recovered) == len(names)


def test_a_redis_that_lost_rows_gets_them_again(
    home: Path, store: FeatureStore, streams: Streams, redis: Redis, sender: Sender, eventually: Eventually
) -> None:
    """As when a server is killed that writes to its disk now and then, or a replica that lagged takes over."""
    since = now_micros()
    keys = list(redis.scan_iter(count=1000))
    with redis.pipeline() as together:
        for key in keys:
            together.dump(key)
        kept = {key: value for key, value in zip(keys, together.execute(), strict=True) if value is not None}
    with load_on(sender):
        began = newest(redis)
        eventually(lambda: newest(redis) > began + 3_000_000)
        with redis.pipeline() as older:
            older.flushall()
            for key, value in kept.items():
                older.restore(key, 0, value)
            older.execute()
    assert_nothing_lost(store, sender, since)


def test_an_emptied_redis_is_filled(
    home: Path, store: FeatureStore, streams: Streams, redis: Redis, sender: Sender
) -> None:
    """Entities without events since then come from the table, the others from the updates that are not in it yet."""
    since = now_micros()
    forget_updates(store)
    sender.users = 3
    with load_on(sender):
        supervise_until(streams, lambda: newest(redis) > since + 2_000_000)
        redis.flushall()
        supervise_until(streams, lambda: newest(redis) > since)
    assert_nothing_lost(store, sender, since)
