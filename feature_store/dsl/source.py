"""Sources: where events and snapshots are read from, and the streams they arrive on."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag
from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition
from feature_store.dsl.dtype_field import DTypeField
from feature_store.duration import Duration, parse_duration


@dataclass(frozen=True, eq=False, config=STRICT)
class BatchSource(Definition):
    """Rows with an event time, read from exactly one of an Iceberg table, files or a Postgres table.

    Args:
        name: snake_case name; queries refer to the source by it.
        event_timestamp: column of the instant at which a row became true.
        schema: the columns that are read and their types; others are ignored.
        table: Iceberg table "namespace.table" of the store's catalog. Names are taken as they are written, upper and
            lower case included.
        path: folder or glob of Parquet or CSV files (by their ending); relative to the store's data root.
        jdbc: Postgres table "database.schema.table" on the store's server; as Postgres has it, which is in lower case
            unless it was made with quotes.
        look_back: how far back from their newest day the rows of files or of a Postgres relation are compared, day by
            day, to find late ones; by default files are told by when they were modified, and a table's rows by their
            transactions. For a view, and for what is loaded anew each time. An Iceberg table has snapshots.
        event_id: column that identifies an event: of its copies the earliest counts (docs/language.md, Copies).
        deduplicate_within: how much later than another row of its event_id, and of the same entity, a row is a copy.
        changes_of: for a log of changes (updates, deletes) the columns that identify what changes. A query sees the
            newest state of each at its instant: the row with the greatest event_timestamp, then the greatest event_id,
            which is needed; a row without one of these columns is no change.
        deleted: of a log of changes, the condition (SQL) that a row is a deletion, such as "op = 'D'".
        copies: whether the rows of each event_timestamp are a whole copy of a table; a query sees the newest copy.
        pii: columns that are personal data, as are the features that are computed from them, but for counts.
        of_group: the group whose rows these are; `FeatureGroup.as_source` says so.

    Example:
        >>> BatchSource("customers", table="cdc.customers", event_timestamp="changed_at", event_id="lsn", schema={...},
        ...             changes_of=["customer_id"], deleted="op = 'D'")
    """

    name: str
    event_timestamp: str
    schema: dict[str, DTypeField]
    table: str | None = None
    path: str | None = None
    jdbc: str | None = None
    look_back: Duration | None = None
    event_id: str | None = None
    deduplicate_within: Duration = "7d"
    changes_of: tuple[str, ...] = ()
    deleted: str | None = None
    copies: bool = False
    pii: tuple[str, ...] = ()
    of_group: str = ""
    description: str = ""

    def _check(self) -> None:
        _check_columns(self.pii, self.schema)
        if self.changes_of and (self.copies or self.event_id is None):
            raise ValueError("changes_of= needs event_id=, which orders simultaneous changes, and excludes copies=")
        if self.deleted is not None and not self.changes_of:
            raise ValueError("deleted= goes with changes_of=")
        given = [kind for kind in ("table", "path", "jdbc") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of table=, path= or jdbc=, not {', '.join(given) or 'none of them'}")
        for kind, parts in (("table", 2), ("jdbc", 3)):
            value = getattr(self, kind)
            if value is not None and len(value.split(".")) != parts:
                shape = "namespace.table" if kind == "table" else "database.schema.table"
                raise ValueError(f"{kind}={value!r} is not of the form {shape!r}")
        if self.look_back is not None and self.table is not None:
            raise ValueError("look_back= goes with path= or jdbc=; of a table= its snapshots say what came in")

    @property
    def deduplicate_size(self) -> int:
        """`deduplicate_within` in microseconds."""
        return parse_duration(self.deduplicate_within)

    @property
    def holds_states(self) -> bool:
        """Whether its rows say how things are from then on, and not what happened."""
        return self.copies or bool(self.changes_of)

    @property
    def location(self) -> str:
        """Where the rows are, for people: "table raw.orders"."""
        return next(f"{kind} {getattr(self, kind)}" for kind in ("table", "path", "jdbc") if getattr(self, kind))


@dataclass(frozen=True, eq=False, config=STRICT)
class StreamSource(Definition):
    """Events of a Kafka topic, one record each, and the event log that keeps them.

    The same rows are in both: Flink computes groups from the topic, Spark backfills and reconciles them from the log.

    Args:
        name: snake_case name.
        topic: Kafka topic.
        schema: the fields that are read and their types, scalars only; others are ignored.
        event_timestamp: field of the instant at which an event happened.
        format: how a record's value is written, "json" or "avro" (one record in binary, without a header).
        avro_schema: the schema the records are written with, as JSON text; for avro only.
        time_format: how TIMESTAMP fields are written: "iso" (text with an offset), "ms" or "us" since the epoch.
        max_out_of_orderness: how much later than its successors an event may arrive and still be in time. Rows of T are
            written when events of T + this much have been seen.
        allowed_lateness: how long after that an event still corrects the rows it belongs to; later ones are dead
            letters, which the reconcile takes from the log. A longer one of a running job counts from when it came:
            what the shorter one has dropped cannot be corrected.
        event_id: field that identifies an event: of its copies the earliest counts (docs/language.md, Copies).
        deduplicate_within: how much later than another record of its event_id, and of the same entity, a record is a
            copy; the stream's state keeps ids for as long.
        history: the event log, an Iceberg table of the same schema; "events.<name>" unless given.
        heartbeats: let time advance while no events come, so that the rows of emptied windows are written.
        dead_letter_rate: the share of the last hour's messages that may be dead letters; above it there is an alert.
        pii: fields that are personal data, as are the features that are computed from them, but for counts.
    """

    name: str
    _: KW_ONLY
    topic: str
    schema: dict[str, DTypeField]
    event_timestamp: str
    format: Literal["json", "avro"] = "json"
    avro_schema: str | None = None
    time_format: Literal["iso", "ms", "us"] = "iso"
    max_out_of_orderness: Duration = "500ms"
    allowed_lateness: Duration = "10m"
    event_id: str | None = None
    deduplicate_within: Duration = "7d"
    history: BatchSource | None = None
    heartbeats: bool = True
    dead_letter_rate: float = 0.01
    pii: tuple[str, ...] = ()
    description: str = ""

    def _check(self) -> None:
        _check_columns(self.pii, self.schema)
        if self.format == "avro" and self.avro_schema is None:
            raise ValueError("format='avro' needs avro_schema=, the schema the records are written with")
        if self.format == "json" and self.avro_schema is not None:
            raise ValueError("avro_schema= goes with format='avro'")

    @property
    def log(self) -> BatchSource:
        """The event log: the same rows as an Iceberg table."""
        if self.history is not None:
            return self.history
        return BatchSource(
            f"{self.name}_log",
            table=f"events.{self.name}",
            event_timestamp=self.event_timestamp,
            schema=self.schema,
            event_id=self.event_id,
            deduplicate_within=self.deduplicate_within,
            pii=self.pii,
            description=f"Every event of the topic {self.topic}",
        )

    @property
    def location(self) -> str:
        """Where the rows arrive, for people: "topic clicks"."""
        return f"topic {self.topic}"

    @property
    def deduplicate_size(self) -> int:
        """`deduplicate_within` in microseconds."""
        return parse_duration(self.deduplicate_within)

    @property
    def out_of_orderness_size(self) -> int:
        """`max_out_of_orderness` in microseconds."""
        return parse_duration(self.max_out_of_orderness)

    @property
    def lateness_size(self) -> int:
        """`allowed_lateness` in microseconds."""
        return parse_duration(self.allowed_lateness)


def _kind(source: Any) -> str:
    """Which kind of source a value or its JSON form is: only streams have a topic."""
    is_stream = "topic" in source if isinstance(source, dict) else isinstance(source, StreamSource)
    return "stream" if is_stream else "batch"


SourceField = Annotated[
    Annotated[BatchSource, Tag("batch")] | Annotated[StreamSource, Tag("stream")], Discriminator(_kind)
]


def _check_columns(pii: tuple[str, ...], schema: dict[str, DTypeField]) -> None:
    for column in pii:
        if column not in schema:
            raise ValueError(f"pii= names {column!r}, which is not in schema=")
