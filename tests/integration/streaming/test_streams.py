"""The whole way of a stream on the real parts, from Kafka to Iceberg and Redis, against the reference and Spark."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from feature_store import FLOAT, INT, STRING, Entity, Feature, StreamSource, agg, session
from feature_store.client import FeatureStore
from feature_store.compile.flink import FlinkJob, Start, Target, consumer_group
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, SECOND
from feature_store.errors import ConflictError, StackError
from feature_store.offline.reconcile import reconcile_span
from feature_store.offline.standing import standing_rows
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings
from feature_store.streaming.dead_letters import read_dead_letters
from feature_store.streaming.jobs import Streams, target_of
from feature_store.streaming.progress import job_states
from feature_store.streaming.replay import replay
from feature_store.streaming.wanted import Wanted
from tests.conftest import Eventually
from tests.integration.streaming.stream_cases import (
    AVRO,
    QUIET,
    Row,
    Sender,
    activity,
    as_avro,
    as_json,
    compare_when_settled,
    deploy,
    now_micros,
    prepare,
    source,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLICKS = source("clicks")
GROUP = activity(CLICKS)
WIDER = source("clicks", schema={**CLICKS.schema, "page": STRING})
"""CLICKS with one more column."""
SMALLER = activity(WIDER, parallelism=1)
LOG = "log of clicks"
LATE = 13 * SECOND
"""No event that is sent after an instant is older by this much."""


@pytest.fixture(scope="module")
def store(streaming_stack: Settings) -> FeatureStore:
    return FeatureStore(streaming_stack)


@pytest.fixture(scope="module")
def streams(store: FeatureStore) -> Iterator[Streams]:
    """The jobs of GROUP and of its log, running."""
    running = deploy(store, GROUP)
    yield running
    for name in running.wanted:
        running.stop(name)


@pytest.fixture(scope="module")
def sender(streams: Streams) -> Sender:
    """What was sent to CLICKS by all tests of this module; the first seconds of it at once."""
    sender = Sender(streams.settings.kafka_servers, CLICKS.topic, seed=1)
    sender.send(seconds=8, rate=100)
    return sender


def test_stream_writes_what_the_reference_computes(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found
    assert found.rows > 60


def test_rocksdb_has_the_memory_it_was_given(store: FeatureStore, streams: Streams) -> None:
    """Flink says so at the start of a job when its blocks and write buffers do not fit, which makes it slow."""
    said = (store.settings.home / "logs" / "flink-taskmanager.log").read_text()
    assert "EmbeddedRocksDBStateBackend" in said
    assert "performance will be poor" not in said


def test_what_could_not_be_used_is_a_dead_letter(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    letters = read_dead_letters(store.catalog, CLICKS.name).to_pylist()
    reasons = Counter(letter["reason"] for letter in letters)
    assert reasons["malformed"] == sender.malformed > 0
    assert reasons["no key"] == sender.nobody > 0
    assert reasons["too late"] > 0
    assert reasons["overflow"] == sender.overflowing > 0
    for letter in letters:
        assert letter["payload"] is not None
        assert letter["detail"]
        if letter["reason"] == "too late":
            assert json.loads(letter["payload"])["user_id"]
        if letter["reason"] == "overflow":
            assert json.loads(letter["payload"])["step"] == 2**62


def test_malformed_events_are_sent_again(
    store: FeatureStore, streams: Streams, sender: Sender, eventually: Eventually
) -> None:
    before = read_dead_letters(store.catalog, CLICKS.name, "malformed").num_rows
    assert replay(streams, CLICKS.name, dry_run=True) == before
    assert replay(streams, CLICKS.name) == before
    eventually(lambda: read_dead_letters(store.catalog, CLICKS.name, "malformed").num_rows == 2 * before)


def test_a_stopped_job_goes_on_where_it_was(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    since = now_micros() - LATE
    stopped = streams.stop(GROUP.id)
    assert stopped is not None
    assert "savepoint" in stopped.state_path
    (outcome,) = streams.supervise([GROUP.id])
    assert outcome.did == "is stopped"
    sender.send(seconds=1, rate=100)
    (outcome,) = streams.start(GROUP.id)
    assert outcome.did == "resumed"
    sender.send(seconds=1, rate=100)
    found = compare_when_settled(store, sender, GROUP, since)
    assert found.is_equal, found


def test_there_are_never_two_jobs_of_one_version(store: FeatureStore, streams: Streams, eventually: Eventually) -> None:
    wanted, cluster = streams.wanted[LOG], streams.flink.cluster_of(LOG)
    record = streams.records.read()[wanted.name]
    ends = {number: place.end for number, place in streams.topics.offsets(CLICKS.topic).items()}

    def has_read_all() -> bool:
        read = streams.topics.committed(consumer_group(LOG), CLICKS.topic, list(ends))
        return all(read[number] >= end for number, end in ends.items())

    eventually(has_read_all)
    second = streams.flink.submit(  # from where the first is, where only heartbeats follow: it writes nothing
        wanted.job(target_of(streams.settings), Start()), wanted.config(streams.settings.flink_state)
    )
    streams.supervise([wanted.name])
    eventually(lambda: second not in [job.id for job in cluster.jobs()])
    assert record.flink_job_id in [job.id for job in cluster.jobs()]


def test_a_start_that_was_not_noted_is_found(store: FeatureStore, streams: Streams) -> None:
    """Whoever starts a job may be killed when Flink has it and the registry does not know."""
    noted = streams.records.read()[GROUP.id]
    streams.records.note(noted, starts=0)
    (outcome,) = streams.supervise([GROUP.id])
    assert outcome.did == "started"
    assert outcome.record.flink_job_id == noted.flink_job_id
    assert streams.supervise([GROUP.id])[0].did == "runs"


def test_a_savepoint_that_was_not_noted_is_found(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    """The job is gone and has committed all up to its savepoint: from an older checkpoint, rows would come again."""
    since = now_micros() - LATE
    sender.send(seconds=1, rate=100)
    noted = streams.records.read()[LOG]
    streams.stop(LOG)
    streams.records.write(noted)
    sender.send(seconds=1, rate=50)
    (outcome,) = streams.supervise([LOG])
    assert outcome.did == "resumed"
    assert "/savepoint-" in outcome.record.state_path
    found = compare_when_settled(store, sender, GROUP, since)
    assert found.is_equal, found


def test_a_new_version_takes_over_from_the_history(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    """It fills its windows from the event log and Kafka: its rows are right from the first one on."""
    newer = activity(CLICKS, version=2)
    both = deploy(store, GROUP, newer)
    try:
        assert both.records.read()[newer.id].start["snapshot"] is not None
        found = compare_when_settled(store, sender, newer)
        assert found.is_equal, found
    finally:
        both.stop(newer.id)


def test_a_change_that_keeps_the_state_is_redeployed_with_it(
    store: FeatureStore, streams: Streams, sender: Sender
) -> None:
    """Here with half the parallelism: parts of the state come together. The log gets the columns of its source."""
    since = now_micros() - LATE
    sender.send(seconds=1, rate=100)
    starts = streams.records.read()[GROUP.id].starts
    changed = deploy(store, SMALLER)
    assert changed.records.read()[GROUP.id].starts == starts + 1, "it is not begun anew"
    assert "page" in store.catalog.load_table(str(CLICKS.log.table)).schema().column_names
    assert {state.name: state.desired for state in job_states(changed)}[GROUP.id] == "running"
    sender.send(seconds=1, rate=100)
    found = compare_when_settled(store, sender, GROUP, since)
    assert found.is_equal, found


def test_a_changed_job_that_flink_refuses_leaves_the_running_one_alone(store: FeatureStore, streams: Streams) -> None:
    now = prepare(store, SMALLER)
    before = now.records.read()[GROUP.id]
    now.wanted[GROUP.id] = Untranslatable(*_fields(now.wanted[GROUP.id]))
    with pytest.raises(StackError, match="nowhere"):
        now.supervise([GROUP.id])
    now.wanted[LOG] = Wanted(source("clicks", schema={**CLICKS.schema, "page": INT}), None, now.wanted[LOG].commit)
    with pytest.raises(ConflictError, match=r"column .page. of events\.clicks is string, the definition says int64"):
        now.supervise([LOG])
    assert now.records.read()[GROUP.id] == before
    assert {job.name: job.state for job in now.flink.jobs([GROUP.id, LOG])} == {GROUP.id: "RUNNING", LOG: "RUNNING"}


@pytest.mark.parametrize("failing", ["Unrestorable", "Unstartable"])
def test_the_job_before_goes_on_when_the_changed_one_does_not_come_up(
    store: FeatureStore,
    streams: Streams,
    sender: Sender,
    eventually: Eventually,
    failing: str,
) -> None:
    since = now_micros() - LATE
    now = prepare(store, SMALLER)
    before = now.records.read()[GROUP.id]
    changed, cause = {
        "Unrestorable": (Unrestorable, "changed in a non-compatible way"),
        "Unstartable": (Unstartable, "bootstrap.servers"),
    }[failing]
    now.wanted[GROUP.id] = changed(*_fields(now.wanted[GROUP.id]))
    now.supervise([GROUP.id])

    def is_settled() -> bool:
        if GROUP.id not in now.settled():
            now.supervise([GROUP.id])
        return GROUP.id in now.settled()

    eventually(is_settled)
    kept = now.settled()[GROUP.id]
    assert kept.did == "kept"
    assert (kept.record.fingerprint, kept.record.texts) == (before.fingerprint, before.texts)
    assert cause in kept.record.message
    (state,) = [state for state in job_states(now) if state.name == GROUP.id]
    assert not state.is_good
    assert "the one before goes on" in state.note
    sender.send(seconds=1, rate=100)
    found = compare_when_settled(store, sender, GROUP, since)
    assert found.is_equal, found
    assert now.supervise([GROUP.id])[0].did == "kept", "it is not tried again and again"
    assert prepare(store, SMALLER).supervise([GROUP.id])[0].did == "runs"


@dataclass(frozen=True)
class Untranslatable(Wanted):
    """A job that writes into a table that is not there."""

    def job(self, target: Target, start: Start) -> FlinkJob:
        given = super().job(target, start)
        return replace(given, inserts=(*given.inserts, "INSERT INTO nowhere SELECT 1"))


@dataclass(frozen=True)
class Unrestorable(Wanted):
    """A job of fewer key groups than the state has: Flink takes it and cannot restore it."""

    @property
    def parallelism(self) -> int:
        return 2

    def config(self, state: str) -> dict[str, str]:
        return super().config(state) | {"pipeline.max-parallelism": "4"}


@dataclass(frozen=True)
class Unstartable(Wanted):
    """A job with an address of Kafka that is none: Flink takes it, and its tasks fail."""

    def job(self, target: Target, start: Start) -> FlinkJob:
        return super().job(replace(target, kafka={**target.kafka, "bootstrap.servers": "nowhere"}), start)


def _fields(wanted: Wanted) -> tuple[StreamSource, GroupPlan | None, int]:
    return wanted.stream, wanted.plan, wanted.commit


def test_batch_computes_the_same_rows(
    store: FeatureStore, streams: Streams, sender: Sender, spark: SparkSession
) -> None:
    """What the stream refused is found by the reconcile and corrected."""
    plan, end = build_plan(GROUP), from_micros((sender.latest + QUIET) // SECOND * SECOND)
    begin = from_micros(sender.earliest // SECOND * SECOND)
    found = reconcile_span(spark, store.settings, store.catalog, plan, begin, end)[1]
    assert found.batch > 60
    assert found.extra == 0
    assert found.corrected > 0, "events that were too late change rows"
    assert found.by_feature["user_click_count_2s"] < found.batch / 10, "but few of those with a short memory"


def test_a_group_with_another_feature_is_begun_anew(
    store: FeatureStore, streams: Streams, sender: Sender, eventually: Eventually
) -> None:
    """Its state is of no use, whether the job runs or not: all of today is computed again, and the stream goes on."""
    more = [_views(2), _views(3)]
    first = deploy(store, activity(WIDER, more[0]))
    begun = streams.records.read()[GROUP.id]
    assert not begun.state_path or begun.flink_job_id in begun.state_path, "the state of a former job"
    assert begun.start["snapshot"] is not None
    first.flink.cluster_of(GROUP.id).cancel(begun.flink_job_id)
    eventually(lambda: not streams.flink.jobs([GROUP.id]))
    now, extended = datetime.now(UTC), activity(WIDER, *more)
    deploy(store, extended)
    assert streams.records.read()[GROUP.id].state_fingerprint != begun.state_fingerprint
    sender.send(seconds=1, rate=100)
    found = compare_when_settled(store, sender, extended, anew=now)
    assert found.is_equal, found


def _views(seconds: int) -> Feature:
    name, window = f"user_view_count_{seconds}s", f"{seconds}s"
    return Feature(name, agg.count(), window=window, where="kind = 'view'", dtype=INT, default=0)


def test_a_composite_key(store: FeatureStore, streaming_stack: Settings) -> None:
    """One of its columns is an INT, and often NULL: then the event is nobody's."""
    steps = source("steps")
    group = activity(
        steps,
        entity=Entity("user_step", join_key=("user_id", "step"), dtype=(STRING, INT)),
        features=[
            Feature("user_step_count_2s", agg.count(), window="2s", dtype=INT, default=0),
            Feature("user_step_category_last_all_time", agg.last("category"), window="all_time", dtype=STRING),
            Feature("user_step_session_count", agg.count(), window=session("1s"), dtype=INT),
        ],
        derived={},
    )
    running = deploy(store, group)
    try:
        sender = Sender(store.settings.kafka_servers, steps.topic, seed=3, users=3)
        sender.send(seconds=4, rate=60)
        found = compare_when_settled(store, sender, group)
        assert found.is_equal, found
        assert found.rows > 30
        reasons = Counter(read_dead_letters(store.catalog, steps.name)["reason"].to_pylist())
        assert reasons["no key"] > sender.nobody
    finally:
        for name in running.wanted:
            running.stop(name)


def test_of_copies_the_earliest_counts(store: FeatureStore, streaming_stack: Settings) -> None:
    """Events of one id follow each other with other contents, some earlier than the one that was counted.

    Where that one came or went, a row may stay.
    """
    schema = {**CLICKS.schema, "order_id": INT}
    orders = source("orders", schema=schema, event_id="order_id", deduplicate_within="1s")
    features = [
        Feature("user_order_count_2s", agg.count(), window="2s", dtype=INT, default=0),
        Feature("user_order_amount_sum_all_time", agg.sum("amount"), window="all_time", dtype=FLOAT),
        Feature("user_order_category_last_3s", agg.last("category"), window="3s", dtype=STRING),
    ]
    group = activity(orders, features=features, derived={}, columns={}, where="kind <> 'view'")
    running = deploy(store, group)
    try:
        sender = Sender(store.settings.kafka_servers, orders.topic, seed=6, users=2, written=_with_order_id)
        sender.send(seconds=4, rate=60)
        compared = compare_when_settled(store, sender, group)
        assert replace(compared, extra=[]).is_equal, compared
        assert compared.rows > 10
    finally:
        for name in running.wanted:
            running.stop(name)


def _with_order_id(event: Row) -> bytes:
    return as_json(event | {"order_id": event["event_ts"] // 150_000})


def test_a_restored_job_refuses_what_it_would_have_refused(
    store: FeatureStore, streaming_stack: Settings, eventually: Eventually
) -> None:
    """It reads an old event before it knows the watermark, and nothing is left of the event's entity."""
    visits = source("forgotten_visits")
    count = Feature("user_visit_count_2s", agg.count(), window="2s", dtype=INT, default=0)
    group = activity(visits, features=[count], derived={}, columns={})
    running = deploy(store, group)
    try:
        servers, table = store.settings.kafka_servers, store.catalog.load_table(build_plan(group).schema.table)
        user = Sender(servers, visits.topic, seed=4, users=1)
        other = Sender(servers, visits.topic, seed=5, written=lambda event: as_json(event | {"user_id": "other"}))
        happened = now_micros() // SECOND * SECOND
        user.send_of([happened, happened + 1])
        # state is kept for 2 + 4 s, and dropped in the second after the next
        eventually(lambda: now_micros() > happened + 11 * SECOND)
        other.send_of([now_micros()])
        eventually(lambda: "other" in table.refresh().scan().to_arrow()["user_id"].to_pylist())
        running.stop(group.id)
        user.send_of([happened + 2])
        assert running.start(group.id)[0].did == "resumed"
        eventually(lambda: read_dead_letters(store.catalog, visits.name).num_rows > 0)
        (letter,) = read_dead_letters(store.catalog, visits.name).to_pylist()
        assert (letter["reason"], letter["group_id"]) == ("too late", group.id)
        assert json.loads(letter["payload"])["event_ts"] == happened + 2
        rows = standing_rows(table.refresh().scan().to_arrow()).to_pylist()  # the second event may correct a row
        assert sorted(row[count.name] for row in rows if row["user_id"] == "u1") == [0, 2]
    finally:
        for name in running.wanted:
            running.stop(name)


def test_stream_and_batch_meet_at_the_cut(
    store: FeatureStore, streams: Streams, spark: SparkSession, eventually: Eventually
) -> None:
    """A log of two days, in Avro: batch computes yesterday, the stream what follows, with full windows."""
    views = source("views", format="avro", avro_schema=AVRO)
    group = activity(views)
    both = prepare(store, group)
    sender = Sender(store.settings.kafka_servers, views.topic, seed=2, users=3, written=as_avro)
    midnight = (now_micros() - 20 * SECOND) // DAY * DAY
    around = [midnight + i * SECOND // 3 for i in range(-15, 30)]  # one of them at midnight
    sender.send_of([*around[::-1], midnight - 1, midnight - SECOND, midnight + SECOND - 1])
    both.supervise(["log of views"])
    try:
        log = store.catalog.load_table("events.views")
        eventually(lambda: log.refresh().scan().count() == sender.good)
        (outcome,) = both.supervise([group.id])
        assert outcome.record.start["cut"] == midnight
        yesterday = from_micros(midnight - DAY), from_micros(midnight)
        filled = reconcile_span(spark, store.settings, store.catalog, build_plan(group), *yesterday)[1]
        assert filled.missing == filled.batch > 5
        since = now_micros() - LATE
        sender.send_of([now_micros() - i * SECOND // 20 for i in range(30)][::-1])
        at_the_cut = midnight - 10 * SECOND, midnight + 20 * SECOND
        found = compare_when_settled(store, sender, group, since, before=[at_the_cut])
        assert found.is_equal, found
    finally:
        for name in both.wanted:
            both.stop(name)
