"""A streaming group, and the event log of its source, as Flink SQL.

A group's job: Kafka -> parse -> conditions and values -> window kernel -> rows to the topic of updates and to the
offline table; events that are too late, have no key, or make an INT overflow, to the dead letters. The log's job keeps
what was parsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from feature_store.compile.flink_expressions import FUNCTIONS, flink_sql, flink_type, quote, sink_sql, text
from feature_store.compile.kernel_spec import in_kernel_order, kernel_spec
from feature_store.compile.sql_layout import all_of, indented, listed, nested
from feature_store.dsl.source import StreamSource
from feature_store.dtypes import TIMESTAMP
from feature_store.duration import DAY, SECOND, parse_duration
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.plan.overflow import null_on_overflow
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema

CATALOG = "fs"
DEAD_LETTERS = "events.dead_letters"
KAFKA_PARTITION, KAFKA_OFFSET, RECORDED_AT = "kafka_partition", "kafka_offset", "recorded_at"
"""Columns that an event log has beside those of its source."""


@dataclass(frozen=True)
class Target:
    """Where a job reads and writes: addresses and users, which are no part of a definition. No passwords.

    Args:
        kafka: properties of a Kafka client in Java.
        kernel_jar: path or URL of our functions.
        catalog: properties of the Iceberg catalog.
    """

    kafka: Mapping[str, str]
    kernel_jar: str
    catalog: Mapping[str, str]


NOWHERE = Target({"bootstrap.servers": ""}, "", {})
"""For the texts of a job that is not to run."""


@dataclass(frozen=True)
class Start:
    """Where a group's stream takes over.

    Args:
        offsets: the first offset to read of each Kafka partition; None to read all that Kafka has.
        snapshot: of the event log, that holds all events before these offsets; None to begin without history.
        after: only events of the log from this instant on (microseconds) matter to a row after the cut.
        cut: rows with a feature timestamp up to this one (microseconds) are written by batch.
        standing: whether the group's history begins at the cut.
        skip_deleted: whether to go on at the first message that Kafka has where it has deleted the next one; else the
            job fails there.
    """

    offsets: Mapping[int, int] | None = None
    snapshot: int | None = None
    after: int | None = None
    cut: int | None = None
    standing: bool = False
    skip_deleted: bool = False


@dataclass(frozen=True)
class Step:
    """A statement, or the query of a view where the name of one is given."""

    sql: str
    view: str = ""


@dataclass(frozen=True)
class FlinkJob:
    """The texts of one job; its inserts share what they have in common."""

    name: str
    steps: tuple[Step, ...]
    inserts: tuple[str, ...]

    @property
    def text(self) -> str:
        """What it computes, for people: its views and inserts, without functions and addresses."""
        views = [f"-- view {step.view}\n{step.sql}" for step in self.steps if step.view]
        return "\n\n".join([*views, *self.inserts])


def updates_topic(schema: GroupSchema) -> str:
    """The Kafka topic that carries the rows of a group to the online store."""
    return f"feature-store.updates.{schema.name}_v{schema.version}"


def consumer_group(job: str) -> str:
    """The name under which a job's place in Kafka is found."""
    return f"feature-store.{job}".replace(" ", "-")


def log_name(stream: StreamSource) -> str:
    """The name of the job that keeps a source's event log."""
    return f"log of {stream.name}"


def group_job(plan: GroupPlan, target: Target, start: Start) -> FlinkJob:
    """The job that computes a streaming group."""
    stream, rows = plan.stream, plan.rows
    assert stream is not None
    assert isinstance(rows, WindowedRows)
    name = plan.group.id
    steps = [*_functions(target), _catalog(target), _kafka(stream, target, name, start)]
    steps += [_parsed(stream), _events(stream)]
    inputs = "events"
    if start.snapshot is not None:
        steps += [_history(stream, target, start), _past_and_present(stream, start)]
        inputs = "all_events"
    steps += [_kernel_input(plan, rows, inputs), _windows(plan, start), _features(plan), _updates(plan.schema, target)]
    inserts = (_to_updates(plan.schema), _to_table(plan.schema), _to_dead_letters(plan, stream))
    return FlinkJob(name, tuple(steps), inserts)


def log_job(stream: StreamSource, target: Target, start: Start) -> FlinkJob:
    """The job that keeps a source's events in its log and what cannot be read in the dead letters."""
    name = log_name(stream)
    steps = [*_functions(target), _catalog(target), _kafka(stream, target, name, start)]
    steps += [_parsed(stream), _events(stream)]
    columns = [sink_sql(quote(column), dtype) for column, dtype in stream.schema.items()]
    names = [*map(quote, stream.schema), KAFKA_PARTITION, KAFKA_OFFSET, RECORDED_AT]
    log = (
        f"INSERT INTO {_table(str(stream.log.table))} ({', '.join(names)})\n"
        f"SELECT {listed([*columns, '_partition', '_offset', _now()])}\nFROM events"
    )
    malformed = (
        f"INSERT INTO {CATALOG}.{DEAD_LETTERS}\n"
        f"SELECT {listed([text(stream.name), 'CAST(NULL AS STRING)', text('malformed'), 'event.problem'])},\n"
        f"  {listed([text(stream.topic), '_partition', '_offset', _event_time('event.`at`'), 'payload', _now()])}\n"
        f"FROM parsed\nWHERE event.problem IS NOT NULL AND event.problem <> 'heartbeat'"
    )
    return FlinkJob(name, tuple(steps), (log, malformed))


def parser_spec(stream: StreamSource) -> str:
    """What the parser is told of a source's messages, as JSON."""
    return json.dumps(
        {
            "format": stream.format,
            "time_format": stream.time_format,
            "event_timestamp": stream.event_timestamp,
            "avro_schema": stream.avro_schema,
            "ahead": parse_duration(stream.allowed_lateness),
            "columns": [{"name": name, "type": str(dtype)} for name, dtype in stream.schema.items()],
        },
        separators=(",", ":"),
    )


def _functions(target: Target) -> list[Step]:
    jar = text(target.kernel_jar if "://" in target.kernel_jar else f"file://{target.kernel_jar}")
    return [
        Step(f"CREATE TEMPORARY FUNCTION {name} AS 'featurestore.{java}' USING JAR {jar}")
        for name, java in FUNCTIONS.items()
    ]


def _catalog(target: Target) -> Step:
    return Step(f"CREATE CATALOG {CATALOG} WITH ({_options({'type': 'iceberg', **target.catalog})})")


def _connection(target: Target) -> dict[str, str]:
    return {f"properties.{name}": value for name, value in target.kafka.items()}


def _kafka(stream: StreamSource, target: Target, job: str, start: Start) -> Step:
    """The source's messages from the offsets of the job's consumer group on (see `streaming.offsets`).

    Flink's other ways to say where to begin make its readers skip what Kafka has deleted, and say nothing.
    """
    options = {
        "connector": "kafka",
        "topic": stream.topic,
        **_connection(target),
        "properties.group.id": consumer_group(job),
        "scan.startup.mode": "group-offsets",
        "properties.auto.offset.reset": "earliest" if start.skip_deleted else "none",
        "format": "raw",
    }
    return Step(
        "CREATE TEMPORARY TABLE messages (\n"
        "  payload BYTES,\n"
        "  _partition INT METADATA FROM 'partition' VIRTUAL,\n"
        "  _offset BIGINT METADATA FROM 'offset' VIRTUAL,\n"
        f"  _ts AS fs_event_time(payload, {text(parser_spec(stream))}),\n"
        f"  WATERMARK FOR _ts AS _ts - {_interval(parse_duration(stream.max_out_of_orderness))}\n"
        f") WITH ({_options(options)})"
    )


def _parsed(stream: StreamSource) -> Step:
    event = f"fs_parse(payload, {text(parser_spec(stream))}) AS event"
    return Step(f"SELECT {listed(['_ts', '_partition', '_offset', 'payload', event])}\nFROM messages", view="parsed")


def _events(stream: StreamSource) -> Step:
    """The events that could be read; the payload goes along only where it may be needed for a dead letter."""
    surely_in_time = max(parse_duration(stream.allowed_lateness) - SECOND, 0)
    watermark = "CURRENT_WATERMARK(_ts)"  # unknown at first, also when the job is restored
    late = f"{watermark} IS NULL OR _ts <= {watermark} - {_interval(surely_in_time)}"
    payload = f"CASE WHEN {late} THEN DECODE(payload, 'ISO-8859-1') END AS _payload"
    technical = ["_ts", "event.`at` AS _at", "_partition", "_offset", payload]
    return Step(
        f"SELECT {listed([*technical, *_columns_of_event(stream)])}\nFROM parsed\nWHERE event.problem IS NULL",
        view="events",
    )


def _history(stream: StreamSource, target: Target, start: Start) -> Step:
    """The event log up to the stream's first offsets. Its watermark stands still until all of it was read."""
    namespace, table = str(stream.log.table).split(".")
    options = {
        "connector": "iceberg",
        "catalog-name": CATALOG,
        "catalog-database": namespace,
        "catalog-table": table,
        "snapshot-id": str(start.snapshot),
        **target.catalog,
    }
    columns = [
        f"{quote(name)} {'TIMESTAMP_LTZ(6)' if dtype == TIMESTAMP else flink_type(dtype)}"
        for name, dtype in stream.schema.items()
    ]
    columns += [f"{KAFKA_PARTITION} INT", f"{KAFKA_OFFSET} BIGINT"]
    columns.append(f"_ts AS CAST({quote(stream.event_timestamp)} AS TIMESTAMP_LTZ(3))")
    columns.append("WATERMARK FOR _ts AS TO_TIMESTAMP_LTZ(0, 3)")
    return Step(f"CREATE TEMPORARY TABLE history (\n  {listed(columns)}\n) WITH ({_options(options)})")


def _past_and_present(stream: StreamSource, start: Start) -> Step:
    columns = [
        f"fs_micros({quote(name)})" if dtype == TIMESTAMP else quote(name) for name, dtype in stream.schema.items()
    ]
    time = quote(stream.event_timestamp)
    past = ["_ts", f"fs_micros({time})", KAFKA_PARTITION, KAFKA_OFFSET, "CAST(NULL AS STRING)", *columns]
    present = ["_ts", "_at", "_partition", "_offset", "_payload", *map(quote, stream.schema)]
    recent = f"\nWHERE {time} >= fs_timestamp(CAST({start.after} AS BIGINT))" if start.after is not None else ""
    return Step(
        f"SELECT {listed(present)}\nFROM events\nUNION ALL\nSELECT {listed(past)}\nFROM history{recent}",
        view="all_events",
    )


def _kernel_input(plan: GroupPlan, rows: WindowedRows, events: str) -> Step:
    inputs, source = event_inputs(rows), rows.source
    event_id = f"CAST({quote(source.event_id)} AS STRING)" if source.event_id is not None else "CAST(NULL AS STRING)"
    row = (
        f"fs_canonical({', '.join(map(quote, source.schema))})"
        if source.event_id is not None
        else "CAST(NULL AS BYTES)"
    )
    columns = [f"{quote(key)} AS k{i}" for i, key in enumerate(plan.keys)]
    columns += ["_at AS `at`", f"{event_id} AS id", f"{row} AS canonical", "_partition AS kafka_partition"]
    columns += ["_offset AS kafka_offset", "_payload AS payload"]
    columns += [f"{flink_sql(condition)} AS p{i}" for i, condition in enumerate(inputs.conditions)]
    columns += [f"{flink_sql(value)} AS v{i}" for i, value in enumerate(inputs.values)]
    wanted = [f"{quote(key)} IS NOT NULL" for key in plan.keys]
    counts = [flink_sql(inputs.where)] if inputs.where is not None else []
    counts += [f"NOT {flink_sql(inputs.overflow)}"] if inputs.overflow is not None else []
    if source.event_id is None:
        wanted += counts
    elif counts:
        columns.append(f"{' AND '.join(f'({condition})' for condition in counts)} AS p{len(inputs.conditions)}")
    return Step(f"SELECT {listed(columns)}\nFROM {events}\nWHERE {all_of(wanted)}", view="kernel_input")


def _windows(plan: GroupPlan, start: Start) -> Step:
    keys = ", ".join(f"k{i}" for i in range(len(plan.keys)))
    spec = text(kernel_spec(plan, cut=start.cut, standing=start.standing))
    return Step(
        "SELECT *\nFROM fs_windows(\n"
        f"  `in` => TABLE kernel_input PARTITION BY ({keys}),\n"
        f"  spec => {spec},\n"
        "  uid => 'windows')",
        view="windows",
    )


def _features(plan: GroupPlan) -> Step:
    """Rows of the group, named as in its definition; derived features are computed from the aggregated ones."""
    assert isinstance(plan.rows, WindowedRows)
    place = {aggregate.name: i for i, aggregate in enumerate(in_kernel_order(plan.rows))}
    names = [quote(feature.name) for feature in plan.group.features]
    keys = [f"k{i} AS {quote(key)}" for i, key in enumerate(plan.keys)]
    aggregated = [f"f{place[feature.name]} AS {quote(feature.name)}" for feature in plan.group.features]
    inner = f"SELECT {listed([*keys, 'feature_us AS _feature', 'created_us AS _created', *aggregated])}\n"
    inner += "FROM windows\nWHERE problem IS NULL"
    derived = [f"{flink_sql(null_on_overflow(expression))} AS {quote(name)}" for name, expression in plan.derived]
    columns = [*map(quote, plan.keys), "_feature", "_created", *names, *derived]
    return Step(f"SELECT {listed(columns)}\nFROM (\n{indented(inner)}\n)", view="feature_rows")


def _updates(schema: GroupSchema, target: Target) -> Step:
    columns = [f"{quote(column.name)} {flink_type(column.dtype)}" for column in schema.keys]
    columns += ["_feature BIGINT", "_created BIGINT"]
    columns += [f"{quote(column.name)} {flink_type(column.dtype)}" for column in schema.features]
    options = {
        "connector": "feature-store-updates",
        "topic": updates_topic(schema),
        **_connection(target),
        "keys": str(len(schema.keys)),
        "format": "json",
        "properties.enable.idempotence": "true",  # keeps the order of a partition: a mark stays behind its rows
        "properties.delivery.timeout.ms": "900000",  # longer than a checkpoint may take: none is lost before a mark
        "properties.linger.ms": "5",
        "properties.compression.type": "lz4",
    }
    return Step(f"CREATE TEMPORARY TABLE updates (\n  {listed(columns)}\n) WITH ({_options(options)})")


def _to_updates(schema: GroupSchema) -> str:
    columns = [*(quote(key.name) for key in schema.keys), "_feature", "_created"]
    columns += [quote(feature.name) for feature in schema.features]
    return f"INSERT INTO updates\nSELECT {listed(columns)}\nFROM feature_rows"


def _to_table(schema: GroupSchema) -> str:
    names = [*(key.name for key in schema.keys), FEATURE_TIMESTAMP, CREATED_TIMESTAMP]
    names += [feature.name for feature in schema.features]
    values = [sink_sql(quote(key.name), key.dtype) for key in schema.keys]
    values += ["fs_timestamp(_feature)", "fs_timestamp(_created)"]
    values += [sink_sql(quote(feature.name), feature.dtype) for feature in schema.features]
    return (
        f"INSERT INTO {_table(schema.table)} ({', '.join(map(quote, names))})\n"
        f"SELECT {listed(values)}\nFROM feature_rows"
    )


def _to_dead_letters(plan: GroupPlan, stream: StreamSource) -> str:
    """Events that came too late for the kernel, events of nobody, and those on which something overflows."""
    late = [text(stream.name), text(plan.group.id), text("too late"), "problem", text(stream.topic), "kafka_partition"]
    late += ["kafka_offset", _event_time("event_us"), "ENCODE(payload, 'ISO-8859-1')", _now()]
    nobody = [text(stream.name), text(plan.group.id), text("no key"), text("the key is missing or NULL")]
    nobody += [text(stream.topic), "_partition", "_offset", _event_time("event.`at`"), "payload", _now()]
    no_key = " OR ".join(f"event.{quote('c_' + key)} IS NULL" for key in plan.keys)
    return (
        f"INSERT INTO {CATALOG}.{DEAD_LETTERS}\nSELECT {listed(late)}\nFROM windows\nWHERE problem IS NOT NULL\n"
        f"UNION ALL\nSELECT {listed(nobody)}\nFROM parsed\nWHERE event.problem IS NULL AND ({no_key})"
        f"{_overflowing(plan, stream)}"
    )


def _overflowing(plan: GroupPlan, stream: StreamSource) -> str:
    """The dead letters of events on which an expression of the group does not fit 64 bits; "" if there can be none.

    Only those that Kafka brings: of the event log, batch counts them.
    """
    assert isinstance(plan.rows, WindowedRows)
    overflow = event_inputs(plan.rows).overflow
    if overflow is None:
        return ""
    problem = "an INT of the group does not fit 64 bits"
    letter = [text(stream.name), text(plan.group.id), text("overflow"), text(problem), text(stream.topic)]
    letter += ["_partition", "_offset", _event_time("_at"), "_payload", _now()]
    columns = ["_partition", "_offset", "event.`at` AS _at", "payload AS _payload", *_columns_of_event(stream)]
    readable = f"SELECT {listed(columns)}\nFROM parsed\nWHERE event.problem IS NULL"
    wanted = [*(f"{quote(key)} IS NOT NULL" for key in plan.keys), flink_sql(overflow)]
    return f"\nUNION ALL\nSELECT {listed(letter)}\nFROM {nested(readable)}\nWHERE {all_of(wanted)}"


def _columns_of_event(stream: StreamSource) -> list[str]:
    return [f"event.{quote('c_' + name)} AS {quote(name)}" for name in stream.schema]


def _table(name: str) -> str:
    """A table of the catalog; quoted, because a source may have a name that SQL knows."""
    return ".".join(map(quote, [CATALOG, *name.split(".")]))


def _event_time(micros: str) -> str:
    return f"fs_timestamp({micros})"


def _now() -> str:
    return "CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(6))"


def _interval(microseconds: int) -> str:
    days, rest = divmod(microseconds, DAY)
    seconds, micros = divmod(rest, SECOND)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{micros // 1000:03d}"
    return f"INTERVAL '{days} {clock}' DAY TO SECOND(3)"


def _options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{text(key)} = {text(value)}" for key, value in options.items())
