"""Dead letters: reading them, and sending them to their topic again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual

from feature_store.errors import InputError, NotFoundError, StackError
from feature_store.kafka_address import kafka_client
from feature_store.streaming.tables import ensure_dead_letters

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

    from feature_store.streaming.jobs import Streams

SEND_SECONDS = 60.0


def read_dead_letters(catalog: Catalog, source: str, reason: str = "", since: datetime | None = None) -> pa.Table:
    """The dead letters of a source, of one reason if it is given, recorded since an instant, in Kafka's order."""
    wanted: BooleanExpression = EqualTo(term="source", value=source)
    if reason:
        wanted = And(wanted, EqualTo(term="reason", value=reason))
    if since is not None:
        wanted = And(wanted, GreaterThanOrEqual(term="recorded_at", value=since.isoformat()))
    rows = ensure_dead_letters(catalog).scan(row_filter=wanted).to_arrow()
    return rows.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])


def replay(
    streams: Streams, source: str, *, reason: str = "malformed", since: str | None = None, dry_run: bool = False
) -> int:
    """Sends dead letters to their topic again, each message once; gives their number.

    An event that was too late is too late again: the daily reconcile takes it from the event log.

    Raises:
        NotFoundError: if no stream has this name.
        InputError: if `since` is not an instant.
        StackError: if Kafka does not take all of them.
    """
    from confluent_kafka import Producer

    known = {wanted.stream.name: wanted.stream for wanted in streams.wanted.values()}
    if source not in known:
        raise NotFoundError(
            f"there is no stream {source!r}", remedy=f"streams are: {', '.join(known) or 'none'}", code="unknown-stream"
        )
    letters = read_dead_letters(streams.catalog, source, reason, _instant(since))
    messages = {
        (row["kafka_topic"], row["kafka_partition"], row["kafka_offset"]): row["payload"]
        for row in letters.select(["kafka_topic", "kafka_partition", "kafka_offset", "payload"]).to_pylist()
        if row["payload"] is not None
    }
    if dry_run:
        return len(messages)
    producer = Producer({**kafka_client(streams.settings.kafka_servers), "log_level": 3})
    for (topic, partition, _), payload in messages.items():
        producer.produce(topic, payload, partition=partition)
        producer.poll(0)
    left = producer.flush(SEND_SECONDS)
    if left:
        raise StackError(
            f"Kafka did not take {left} of {len(messages)} messages", where=known[source].topic, code="kafka-refused"
        )
    return len(messages)


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
