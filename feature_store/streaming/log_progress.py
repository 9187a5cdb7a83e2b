"""How far an event log has come in Kafka, so that batch does not compute a day whose events it does not have yet."""

from __future__ import annotations

from datetime import UTC, datetime

from feature_store.compile.flink import consumer_group, log_name
from feature_store.dsl.source import StreamSource
from feature_store.errors import ConflictError
from feature_store.streaming.topics import Topics


def log_watermark(topics: Topics, stream: StreamSource) -> datetime:
    """The instant up to which the log of a stream has all messages that Kafka took; never later than now.

    That is the time of the first message that the log lacks, of the least advanced partition; where it lacks none, the
    moment when that was looked at.

    Raises:
        NotFoundError: if there is no such topic.
        StackError: if Kafka does not answer.
    """
    now = datetime.now(UTC)  # before Kafka is asked: messages that come in between are not missed
    kept = topics.offsets(stream.topic)
    done = topics.committed(consumer_group(log_name(stream)), stream.topic, list(kept))
    places = {number: max(done.get(number, 0), place.first) for number, place in kept.items()}
    missing = {number: offset for number, offset in places.items() if offset < kept[number].end}
    return min([now, *topics.times(stream.topic, missing).values()])


def require_log(kafka_servers: str, stream: StreamSource, until: datetime) -> None:
    """For those who compute from the log of a stream: it has all messages that Kafka takes before `until`.

    Raises:
        ConflictError: if it does not have them yet, or `until` is still to come.
        NotFoundError: if there is no such topic.
        StackError: if Kafka does not answer.
    """
    complete = log_watermark(Topics(kafka_servers), stream)
    if complete < until:
        raise ConflictError(
            f"the event log has all messages up to {complete:%Y-%m-%d %H:%M:%S}, and not up to "
            f"{until:%Y-%m-%d %H:%M:%S} UTC",
            where=f"source {stream.name}",
            remedy=f"see the job {log_name(stream)!r} in ./fs stream status; reconcile when it has caught up",
            code="log-behind",
        )
