"""The whole way of a stream on the real parts, from Kafka to Iceberg and Redis, against the reference and Spark."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from feature_store.client import FeatureStore
from feature_store.compile.flink import Start
from feature_store.offline.reconcile import reconcile_span
from feature_store.plan.build import build_plan
from feature_store.settings import Settings
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.dead_letters import read_dead_letters, replay
from feature_store.streaming.jobs import Streams
from feature_store.streaming.progress import job_states
from tests.integration.stream_cases import Sender, activity, compare_when_settled, deploy, source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLICKS = source("clicks")
GROUP = activity(CLICKS)


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
    """What was sent to CLICKS by all tests of this module; the first 15 seconds of it at once."""
    sender = Sender(streams.settings.kafka_servers, CLICKS.topic, seed=1)
    sender.send(seconds=15, rate=120)
    return sender


def test_stream_writes_what_the_reference_computes(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found
    assert found.rows > 100


def test_what_could_not_be_used_is_a_dead_letter(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    compare_when_settled(store, sender, GROUP)
    letters = read_dead_letters(store.catalog, CLICKS.name).to_pylist()
    reasons = Counter(letter["reason"] for letter in letters)
    assert reasons["malformed"] == sender.malformed
    assert reasons["no key"] == sender.nobody
    assert reasons["too late"] > 0
    for letter in letters:
        assert letter["payload"] is not None
        assert letter["detail"]
        if letter["reason"] == "too late":
            assert json.loads(letter["payload"])["user_id"]


def test_a_new_version_takes_over_from_the_history(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    """It fills its windows from the event log and Kafka: its rows are right from the first one on."""
    newer = activity(CLICKS, version=2)
    both = deploy(store, GROUP, newer)
    try:
        start = both.records.read()[newer.id].start
        assert start["snapshot"] is not None
        sender.send(seconds=5, rate=100)
        found = compare_when_settled(store, sender, newer)
        assert found.is_equal, found
    finally:
        both.stop(newer.id)


def test_a_stopped_job_goes_on_where_it_was(store: FeatureStore, streams: Streams, sender: Sender) -> None:
    stopped = streams.stop(GROUP.id)
    assert stopped is not None
    assert "savepoint" in stopped.state_path
    (outcome,) = streams.supervise([GROUP.id])
    assert outcome.did == "is stopped"
    sender.send(seconds=3, rate=100)
    (outcome,) = streams.start(GROUP.id)
    assert outcome.did == "resumed"
    sender.send(seconds=3, rate=100)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found


def test_a_cancelled_job_is_resumed_from_its_checkpoint(
    store: FeatureStore, streams: Streams, sender: Sender, eventually: Callable[..., None]
) -> None:
    (outcome,) = streams.supervise([GROUP.id])
    eventually(lambda: streams.supervise([GROUP.id])[0].record.state_path.count("/chk-") == 1, seconds=60)
    sender.send(seconds=2, rate=100)
    streams.cluster.cancel(outcome.record.flink_job_id)
    eventually(lambda: GROUP.id not in [job.name for job in streams.cluster.jobs()], seconds=30)
    (resumed,) = streams.supervise([GROUP.id])
    assert resumed.did == "resumed"
    assert "/chk-" in resumed.record.state_path
    sender.send(seconds=2, rate=100)
    found = compare_when_settled(store, sender, GROUP)
    assert found.is_equal, found


def test_there_are_never_two_jobs_of_one_version(
    store: FeatureStore, streams: Streams, eventually: Callable[..., None]
) -> None:
    wanted = streams.wanted["log of clicks"]
    cluster = FlinkCluster(streams.settings)
    record = streams.records.read()[wanted.name]
    second = cluster.submit(wanted.job(streams._target(), Start()), wanted.config(streams.settings.flink_state))
    streams.supervise([wanted.name])
    eventually(lambda: second not in [job.id for job in cluster.jobs()], seconds=30)
    assert record.flink_job_id in [job.id for job in cluster.jobs()]


def test_a_change_that_keeps_the_state_is_redeployed_with_it(store: FeatureStore, streams: Streams) -> None:
    changed = deploy(store, activity(CLICKS, commit_interval="1s"))
    record = changed.records.read()[GROUP.id]
    assert "savepoint" in record.state_path
    assert {state.name: state.desired for state in job_states(changed)}[GROUP.id] == "running"
    deploy(store, GROUP)


def test_malformed_events_are_sent_again(
    store: FeatureStore, streams: Streams, sender: Sender, eventually: Callable[..., None]
) -> None:
    before = read_dead_letters(store.catalog, CLICKS.name, "malformed").num_rows
    assert replay(streams, CLICKS.name, dry_run=True) == before
    assert replay(streams, CLICKS.name) == before
    eventually(lambda: read_dead_letters(store.catalog, CLICKS.name, "malformed").num_rows == 2 * before, seconds=60)


def test_batch_computes_the_same_rows(
    store: FeatureStore, streams: Streams, sender: Sender, spark: SparkSession
) -> None:
    """What the stream refused is found by the reconcile and corrected; a second one finds nothing."""
    compare_when_settled(store, sender, GROUP)
    plan = build_plan(GROUP)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = [
        reconcile_span(spark, store.settings, store.catalog, plan, day, day + timedelta(days=1))[1]
        for day in (today - timedelta(days=1), today)
    ]
    assert sum(found.batch for found in first) > 100
    assert sum(found.extra for found in first) == 0
    assert sum(found.corrected for found in first) > 0, "events that were too late change rows"
    again = [
        reconcile_span(spark, store.settings, store.catalog, plan, day, day + timedelta(days=1))[1]
        for day in (today - timedelta(days=1), today)
    ]
    assert [(found.missing, found.extra, found.mismatched, found.corrected) for found in again] == [(0, 0, 0, 0)] * 2
