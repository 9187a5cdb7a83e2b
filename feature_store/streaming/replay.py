"""Replay: dead letters are sent to their topic again, each at most once, and it is recorded.

What is to be sent is recorded first, with the ends of the topic's partitions; then it is sent, each message with a
header that names the letter; then the replay is recorded as done. A replay that was killed is finished by the next one:
what lies behind those ends with such a header has been sent, the rest has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_store.errors import ConflictError, InputError, NotFoundError, StackError
from feature_store.kafka_address import kafka_client
from feature_store.registry.replays import Place, Replay, Replays
from feature_store.streaming.dead_letters import LOOK_BACK, read_dead_letters

if TYPE_CHECKING:
    from feature_store.dsl.source import StreamSource
    from feature_store.streaming.jobs import Streams

SEND_SECONDS = 60.0
REPLAY_OF = "replay-of"
"""Header of a message that was sent again: topic, partition and offset of the letter, "clicks/0/17"."""


def replay(
    streams: Streams,
    source: str,
    *,
    reason: str = "malformed",
    since: str | None = None,
    dry_run: bool = False,
    by: str = "client",
) -> int:
    """Sends dead letters to their topic again that were not sent again before; gives their number.

    An event that was too late is too late again: the daily reconcile takes it from the event log.

    Args:
        since: the instant since which they were recorded, seven days ago unless given.
        by: who asks for it.

    Raises:
        NotFoundError: if no stream has this name.
        InputError: if `since` is not an instant.
        ConflictError: if another replay of the source runs.
        StackError: if Kafka does not take all of them; the next replay sends the rest.
    """
    stream = _stream(streams, source)
    first = _instant(since) or datetime.now(UTC) - LOOK_BACK
    replays = Replays(streams.records.engine)
    with streams.records.only_one(f"replay of {source}") as alone:
        if not alone:
            raise ConflictError(
                f"another replay of {source} runs", where=f"source {source}", remedy="wait for it", code="replay-runs"
            )
        unfinished = [begun for begun in replays.of_source(source) if begun.done_at is None]
        if not dry_run:
            for begun in unfinished:
                _finish(streams, replays, stream, begun)
        letters = _payloads(streams, source, reason, first)
        left = {place: letters[place] for place in letters.keys() - replays.letters(stream.topic)}
        if dry_run or not left:
            return len(left)
        ends = {number: kept.end for number, kept in streams.topics.offsets(stream.topic).items()}
        asked = Replay(0, source, reason, first, ends, datetime.now(UTC), by, None)
        begun = replays.begin(asked, left)
        _send(streams, stream, left)
        replays.end(begun)
        return len(left)


def _finish(streams: Streams, replays: Replays, stream: StreamSource, begun: Replay) -> None:
    """Sends what a replay that was killed did not send."""
    letters = _payloads(streams, begun.source, begun.reason, begun.recorded_since)
    left = replays.letters(stream.topic, begun) - _sent_again(streams, stream.topic, begun.ends)
    _send(streams, stream, {place: letters[place] for place in left if place in letters})
    replays.end(begun)


def _payloads(streams: Streams, source: str, reason: str, since: datetime) -> dict[Place, bytes]:
    """The message of each dead letter as it came; several groups may have found the same message to be one."""
    columns = ["kafka_topic", "kafka_partition", "kafka_offset", "payload"]
    return {
        (row["kafka_topic"], row["kafka_partition"], row["kafka_offset"]): row["payload"]
        for row in read_dead_letters(streams.catalog, source, reason, since).select(columns).to_pylist()
        if row["payload"] is not None
    }


def _send(streams: Streams, stream: StreamSource, letters: Mapping[Place, bytes]) -> None:
    from confluent_kafka import Producer

    options = {**kafka_client(streams.settings.kafka_servers), "log_level": 3, "enable.idempotence": True}
    producer = Producer(options)
    for (topic, partition, offset), payload in sorted(letters.items()):
        header: list[tuple[str, str | bytes | None]] = [(REPLAY_OF, f"{topic}/{partition}/{offset}")]
        producer.produce(topic, payload, partition=partition, headers=header)
        producer.poll(0)
    left = producer.flush(SEND_SECONDS)
    if left:
        raise StackError(
            f"Kafka did not take {left} of {len(letters)} messages", where=stream.topic, code="kafka-refused"
        )


def _sent_again(streams: Streams, topic: str, ends: Mapping[int, int]) -> set[Place]:
    """The letters whose header is on a message of a topic from these offsets on."""
    found = set()
    for message in streams.topics.messages(topic, ends):
        for header in message.headers() or []:
            name, value = header[0], header[1]
            if name == REPLAY_OF and isinstance(value, bytes):
                of_topic, partition, offset = value.decode().rsplit("/", 2)
                found.add((of_topic, int(partition), int(offset)))
    return found


def _stream(streams: Streams, source: str) -> StreamSource:
    known = {wanted.stream.name: wanted.stream for wanted in streams.wanted.values()}
    if source not in known:
        raise NotFoundError(
            f"there is no stream {source!r}", remedy=f"streams are: {', '.join(known) or 'none'}", code="unknown-stream"
        )
    return known[source]


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InputError(
            f"{text!r} is not an instant", where="--since", remedy="write 2026-01-31T00:00:00Z", code="not-an-instant"
        )
    return found
