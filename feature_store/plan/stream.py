"""What a group over a stream must be so that Flink and Spark give the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import StreamSource
from feature_store.duration import HOUR, SECOND, format_duration
from feature_store.plan.avro import avro_problems
from feature_store.plan.naming import is_snake_case
from feature_store.plan.problems import Problem

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_MOST_TASKS = 256


def settings_problems(group: FeatureGroup) -> Iterator[Problem]:
    """Settings of streams given to a group that has none."""
    fields = type(group).__dataclass_fields__
    for name in ("commit_interval", "parallelism"):
        if getattr(group, name) != fields[name].default:
            yield Problem("stream-setting", f"{name} goes with a StreamSource; Spark commits a partition at once",
                          f"leave {name} out")  # fmt: skip


def stream_problems(group: FeatureGroup, stream: StreamSource) -> Iterator[Problem]:
    """What is wrong in a streaming group that would be right in another one, and in its stream."""
    yield from _group_problems(group)
    where = f"source {stream.name!r}"
    if not is_snake_case(stream.name):
        yield Problem("source-name", f"{where} cannot have this name", "use a snake_case name")
    if not _TOPIC.fullmatch(stream.topic) or stream.topic in (".", ".."):
        yield Problem("topic", f"{where}: {stream.topic!r} is not the name of a Kafka topic",
                      "use 1 to 200 letters, digits, '.', '_' and '-'")  # fmt: skip
    if stream.lateness_size < group.slide_size:
        slide = format_duration(group.slide_size)
        yield Problem("lateness", f"{where}: allowed_lateness {stream.allowed_lateness!r} is shorter than the slide "
                      f"{slide}", "allow at least one slide")  # fmt: skip
    for name, dtype in stream.schema.items():
        if dtype.kind in ("EMBEDDING", "LIST"):
            yield Problem("type", f"{where}: {name!r} is {dtype}, and streams have scalar fields only so far",
                   "leave the field out of the schema: fields that are not in it are ignored")  # fmt: skip
    yield from avro_problems(stream) if stream.format == "avro" else []
    yield from _history_problems(stream)


def _group_problems(group: FeatureGroup) -> Iterator[Problem]:
    if group.emits != "changes":
        yield Problem("emit", "a stream writes rows on change, not emit='snapshot'",
                      "leave emit out, or make a group over the stream's history")  # fmt: skip
    if group.slide_size < SECOND:
        yield Problem("slide", f"slide {group.slide!r} is shorter than a second", "use slide='1s' or more")
    if group.freshness_size < SECOND:
        yield Problem(
            "freshness", f"freshness {group.freshness!r} is shorter than a second", "use freshness='1s' or more"
        )
    if not SECOND <= group.commit_size <= HOUR:
        yield Problem(
            "commit-interval", f"commit_interval {group.commit_interval!r} is out of range", "use '1s' to '1h'"
        )
    if not 1 <= group.parallelism <= _MOST_TASKS:
        yield Problem("parallelism", f"parallelism={group.parallelism} is out of range", f"use 1 to {_MOST_TASKS}")


def _history_problems(stream: StreamSource) -> Iterator[Problem]:
    """The event log holds the very rows of the topic, and Flink appends to it."""
    log, where = stream.log, f"source {stream.name!r}"
    if log.table is None:
        yield Problem("history", f"{where}: its history is a {log.location}, and an event log is an Iceberg table",
                      f"give the history a table=, or leave it out: then it is events.{stream.name}")  # fmt: skip
    if log.holds_states:
        yield Problem("history", f"{where}: the rows of its history are states, a stream's are events",
                      "leave changes_of and copies out")  # fmt: skip
    for field in ("schema", "event_timestamp", "event_id", "deduplicate_within"):
        if getattr(log, field) != getattr(stream, field):
            yield Problem("history", f"{where}: the {field} of its history differs from its own",
                   f"give both the same {field}")  # fmt: skip
