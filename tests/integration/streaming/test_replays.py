"""Dead letters are counted, and sent again once each, whenever a replay is killed; a gap before a stream is found."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from feature_store.client import FeatureStore
from feature_store.errors import ConflictError
from feature_store.kafka_address import kafka_client
from feature_store.plan.build import build_plan
from feature_store.registry.replays import Replays
from feature_store.settings import REPOSITORY, Settings
from feature_store.streaming import replay as replay_module
from feature_store.streaming.dead_letters import count_dead_letters, read_dead_letters
from feature_store.streaming.jobs import Streams
from feature_store.streaming.replay import REPLAY_OF, replay
from feature_store.streaming.tables import DEAD_LETTER_SCHEMA, ensure_dead_letters, ensure_log
from feature_store.streaming.takeover import take_over
from feature_store.streaming.topics import Offsets
from tests.conftest import Eventually
from tests.integration.streaming.stream_cases import activity, prepare, source

CLICKS = source(f"replayed_{secrets.token_hex(3)}", dead_letter_rate=0.25)
GROUP = activity(CLICKS)
TRACED = frozenset(["replay", "_finish", "_send"])


class KilledError(BaseException):
    """Ends a replay where a real kill would: nothing in it may catch this."""


@pytest.fixture(scope="module")
def streams(streaming_stack: Settings) -> Streams:
    """The streams of GROUP, none of whose jobs runs; its topic has two partitions."""
    store = FeatureStore(streaming_stack)
    streams = prepare(store, GROUP)
    ensure_dead_letters(store.catalog)
    return streams


def add_letters(streams: Streams, *letters: dict[str, Any]) -> None:
    usual = {"source": CLICKS.name, "kafka_topic": CLICKS.topic, "kafka_partition": 0, "detail": "none",
             "recorded_at": datetime.now(UTC)}  # fmt: skip
    ensure_dead_letters(streams.catalog).append(
        pa.Table.from_pylist([usual | letter for letter in letters], DEAD_LETTER_SCHEMA)
    )


def sent_again(streams: Streams) -> Counter[bytes]:
    """The payloads in the topic that have the header, and how often."""
    begin = dict.fromkeys(streams.topics.offsets(CLICKS.topic), 0)
    messages = streams.topics.messages(CLICKS.topic, begin)
    return Counter(
        message.value() or b""
        for message in messages
        if any(header[0] == REPLAY_OF for header in message.headers() or [])
    )


def raise_killed() -> None:
    raise KilledError


@contextmanager
def killed_at(step: int, kill: Callable[[], None] = raise_killed) -> Iterator[None]:
    """Ends what runs inside at the given line of the replay, counted as they are executed."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != replay_module.__file__ or frame.f_code.co_name not in TRACED:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                kill()
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def test_a_replay_that_is_killed_at_any_line_sends_each_letter_once(streams: Streams) -> None:
    steps = 60
    letters = [
        {"reason": f"reason {step}", "kafka_partition": i, "kafka_offset": step, "payload": f"{step}/{i}".encode()}
        for step in range(steps)
        for i in range(2)
    ]
    add_letters(streams, *letters)
    killed = 0
    for step in range(steps):
        try:
            with killed_at(step):
                replay(streams, CLICKS.name, reason=f"reason {step}", by="ann")
        except KilledError:
            killed += 1
        replay(streams, CLICKS.name, reason=f"reason {step}", by="bob")
        assert replay(streams, CLICKS.name, reason=f"reason {step}") == 0
        if killed <= step:  # a replay has no more lines
            break
    assert 20 < killed < steps - 1
    assert sent_again(streams) == Counter(f"{step}/{i}".encode() for step in range(killed + 1) for i in range(2))
    recorded = Replays(streams.records.engine).of_source(CLICKS.name)
    assert all(done.done_at is not None for done in recorded)
    assert {done.begun_by for done in recorded} == {"ann", "bob"}
    assert {done.reason for done in recorded} == {f"reason {step}" for step in range(killed + 1)}


def replay_and_die(home: str, name: str, reason: str, step: int) -> None:
    """In a process of its own: a replay whose process is killed at the given line."""
    store = FeatureStore(Settings.load({"FS_HOME": home}))
    streams = prepare(store, activity(source(name, dead_letter_rate=0.25)))
    with killed_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        replay(streams, name, reason=reason, by="ann")


@pytest.mark.parametrize("step", [14, 19, 23, 27])
def test_a_replay_whose_process_is_killed_sends_each_letter_once(
    streams: Streams, step: int, eventually: Eventually
) -> None:
    """Before the first message, between two, before they are flushed, and before the end is recorded."""

    def goes_on() -> bool:
        """Not before Postgres has noticed that the process is gone, and with it who held the lock."""
        try:
            replay(streams, CLICKS.name, reason=reason, by="bob")
        except ConflictError:
            return False
        return True

    reason, before = f"process {step}", sent_again(streams)
    letters = [
        {"reason": reason, "kafka_partition": i, "kafka_offset": 1000 + step, "payload": f"{reason}/{i}".encode()}
        for i in range(2)
    ]
    add_letters(streams, *letters)
    call = f"test_replays.replay_and_die({str(streams.settings.home)!r}, {CLICKS.name!r}, {reason!r}, {step})"
    child = subprocess.run(
        [sys.executable, "-c", f"from tests.integration.streaming import test_replays; {call}"],
        cwd=REPOSITORY,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    eventually(goes_on)
    assert replay(streams, CLICKS.name, reason=reason) == 0
    assert sent_again(streams) - before == Counter(f"{reason}/{i}".encode() for i in range(2))


def test_letters_are_counted_by_reason_over_the_last_hour(streams: Streams) -> None:
    """A message that two groups could not use counts once; the share is of all messages of the hour."""
    stream, now = source(f"counted_{secrets.token_hex(3)}", dead_letter_rate=0.25), datetime.now(UTC)
    letters = [("malformed", 1, "", 5), ("malformed", 2, "", 5), ("too late", 3, "a@1", 5), ("too late", 3, "b@1", 5),
               ("no key", 4, "a@1", 61)]  # fmt: skip
    add_letters(
        streams,
        *(
            {"source": stream.name, "reason": reason, "kafka_offset": offset, "group_id": group,
             "recorded_at": now - timedelta(minutes=ago)}
            for reason, offset, group, ago in letters
        ),
    )  # fmt: skip
    log = ensure_log(streams.catalog, stream)
    found = count_dead_letters(streams.catalog, stream, now)
    assert (found.by_reason, found.events, found.is_high) == ({"malformed": 2, "too late": 1}, 0, True)
    for events, is_high in ((9, True), (10, False)):
        log.append(pa.Table.from_pylist([{"kafka_partition": 0}] * (events - found.events), log.schema().as_arrow()))
        found = count_dead_letters(streams.catalog, stream, now)
        assert (found.events, found.is_high) == (events, is_high), found


def test_a_read_of_dead_letters_opens_the_days_that_it_asks_for_only(streams: Streams) -> None:
    table = ensure_dead_letters(streams.catalog)
    old = datetime.now(UTC) - timedelta(days=400)
    add_letters(streams, {"reason": "malformed", "kafka_offset": 1, "recorded_at": old})
    table.refresh()
    paths = {row["path"] for row in table.inspect.files().select(["file_path"]).rename_columns(["path"]).to_pylist()}
    old_path = next(path for path in paths if f"recorded_at_day={old:%Y-%m-%d}" in path)
    table.io.delete(old_path)  # whoever opened it would fail
    assert read_dead_letters(streams.catalog, CLICKS.name).num_rows > 0
    with pytest.raises(FileNotFoundError):
        read_dead_letters(streams.catalog, CLICKS.name, since=old - timedelta(days=1))
    table.delete(f"recorded_at < '{(old + timedelta(days=2)).isoformat()}'")


@pytest.mark.parametrize(
    ("logged", "read", "gap"), [(2, 0, "2 to 4"), (5, 0, ""), (2, 4, "4 to 4"), (2, 5, ""), (7, 0, "")]
)
def test_a_gap_between_the_log_and_the_topic_is_refused(streams: Streams, logged: int, read: int, gap: str) -> None:
    """The topic begins at 5; the log's last event is before `logged`, its job has read up to `read`."""
    stream = source(f"gap_{secrets.token_hex(3)}")
    plan, servers = build_plan(activity(stream)), kafka_client(streams.settings.kafka_servers)
    streams.topics.ensure(stream.topic, 1)
    producer = Producer(servers)
    for _ in range(10):
        producer.produce(stream.topic, b"{}", partition=0)
    producer.flush(30)
    admin, first = AdminClient(servers), TopicPartition(stream.topic, 0, 5)
    for deleted in admin.delete_records([first]).values():
        deleted.result(30)
    log = ensure_log(streams.catalog, stream)
    event = {"event_ts": datetime.now(UTC), "kafka_partition": 0, "kafka_offset": logged - 1}
    log.append(pa.Table.from_pylist([event], log.schema().as_arrow()))
    kept = streams.topics.offsets(stream.topic)
    assert kept == {0: Offsets(5, 10)}
    read_by_log = {0: read} if read else {}
    if gap:
        with pytest.raises(ConflictError, match=rf"'{stream.topic}' begins: .*\(partition 0: {gap}\)") as caught:
            take_over(streams.catalog, plan, kept, read_by_log)
        assert "--accept-gap" in caught.value.remedy
    assert take_over(streams.catalog, plan, kept, read_by_log, accept_gap=bool(gap)).offsets == {0: max(logged, 5)}
