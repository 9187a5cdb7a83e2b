"""How far an event log has come in Kafka, so that batch does not compute a day whose events it does not have yet."""

from __future__ import annotations

from datetime import datetime

from feature_store.compile.flink import consumer_group, log_name
from feature_store.dsl.source import StreamSource
from feature_store.errors import ConflictError
from feature_store.streaming.topics import Topics


def require_log(kafka_servers: str, stream: StreamSource, until: datetime) -> None:
    """For those who compute from the log of a stream: it has all messages that Kafka took before `until`.

    Raises:
        ConflictError: if it does not have them yet.
        NotFoundError: if there is no such topic.
        StackError: if Kafka does not answer.
    """
    topics = Topics(kafka_servers)
    kept = topics.offsets(stream.topic)
    done = topics.committed(consumer_group(log_name(stream)), stream.topic, list(kept))
    needed = topics.offsets_at(stream.topic, list(kept), until)
    behind = sum(
        max(0, needed.get(number, place.end) - max(done.get(number, 0), place.first)) for number, place in kept.items()
    )
    if behind:
        raise ConflictError(
            f"the event log lacks {behind:,} messages that came before {until:%Y-%m-%d %H:%M:%S} UTC",
            where=f"source {stream.name}",
            remedy=f"see the job {log_name(stream)!r} in ./fs stream status; reconcile when it has caught up",
            code="log-behind",
        )
