"""Offline to online: the newest available row of every entity, from the Iceberg table into Redis.

Incremental: only files that changed since the snapshot recorded in Redis are read, so a run costs what changed. The
whole table is read when there is no usable record: Redis is new or was emptied, the recorded snapshot is gone from the
table's history, or the ttl or availability delay of the group changed.

Rows that are not available yet (feature_timestamp + availability_delay > now) stay out; the record says so, and later
runs look at them again, with or without a new snapshot.

Rows that were taken back (their partition was computed again without them) are replaced online by the newest row that
is left. Only an incremental run can see them. If one was missed, because history had been expired, remove the group's
keys from Redis and materialize again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from feature_store.dtypes import from_micros, to_micros
from feature_store.errors import ConflictError, NotFoundError
from feature_store.offline.catalog import open_catalog
from feature_store.online.changes import Unit, changed_files, read_files, whole_table
from feature_store.online.frames import encode_rows, micros_of, newest_rows
from feature_store.online.keys import entity_keys
from feature_store.online.progress import Progress, load_progress, rules_of, save_progress
from feature_store.online.writer import GuardedWriter, Written
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema

if TYPE_CHECKING:
    from redis import Redis

    from feature_store.settings import Settings

ROWS_AT_ONCE = 20_000
_LOST = "<timestamp of the row taken back>"


@dataclass(frozen=True)
class MaterializeReport:
    """What one run did.

    Attributes:
        entities: looked at; each is in one of the next four counts.
        written: new or equal feature timestamp.
        stale: Redis had a newer row.
        expired: the newest row is past its ttl; stored without its features.
        deleted: the only row was taken back.
        held: rows that are not available to serving yet.
        newest: greatest feature timestamp looked at.
        from_snapshot, to_snapshot: the change that was applied; from None in a full run.
    """

    entities: int
    written: int
    stale: int
    expired: int
    deleted: int
    held: int
    newest: datetime | None
    from_snapshot: int | None
    to_snapshot: int | None
    seconds: float
    full: bool


def materialize(
    settings_or_catalog: Settings | Catalog,
    redis: Redis,
    schema: GroupSchema,
    *,
    now: datetime | None = None,
    full: bool = False,
) -> MaterializeReport:
    """Brings a group's online rows up to date with its offline table. Running it again is harmless.

    Args:
        settings_or_catalog: the catalog that has the table, or settings to open it.
        redis: from `connect`.
        now: the instant that decides what is available and what has expired.
        full: read the whole table.

    Raises:
        NotFoundError: if the group has no offline table.
        ConflictError: if the table lacks a column of the group.
        InputError: if the table has delete files, or a value cannot be stored.
        StackError: if Redis does not answer.
    """
    began = time.monotonic()
    now = now or datetime.now(UTC)
    table = _load_table(settings_or_catalog, schema)
    writer = GuardedWriter(redis, schema)
    snapshot = table.current_snapshot()
    if snapshot is None:
        writer.touch(now, None)
        return MaterializeReport(0, 0, 0, 0, 0, 0, None, None, None, time.monotonic() - began, full=True)

    done = None if full else _usable(load_progress(redis, schema), table, schema)
    run = _Run(table, writer, schema, to_micros(now))
    for unit in _units(table, snapshot.snapshot_id, done):
        run.apply(unit)
    writer.touch(now, run.newest)
    save_progress(redis, schema, Progress(snapshot.snapshot_id, run.available_until, run.held, rules_of(schema)))
    return MaterializeReport(
        entities=run.entities,
        written=run.total.written,
        stale=run.total.stale,
        expired=run.total.expired,
        deleted=run.total.deleted,
        held=run.held,
        newest=None if run.newest is None else from_micros(run.newest),
        from_snapshot=done.snapshot if done else None,
        to_snapshot=snapshot.snapshot_id,
        seconds=time.monotonic() - began,
        full=done is None,
    )


class _Run:
    """One run over the units of a change, and its counts."""

    def __init__(self, table: Table, writer: GuardedWriter, schema: GroupSchema, now: int) -> None:
        self._table = table
        self._writer = writer
        self._schema = schema
        self._alive_after = None if schema.ttl is None else now - schema.ttl
        self._keys = [key.name for key in schema.keys]
        self._times = [*self._keys, FEATURE_TIMESTAMP, CREATED_TIMESTAMP]
        self._columns = [*self._times, *(feature.name for feature in schema.features)]
        self.available_until = now - schema.availability_delay
        self.entities = 0
        self.held = 0
        self.newest: int | None = None
        self.total = Written()

    def apply(self, unit: Unit) -> None:
        rows, held = self._newest(unit.added)
        self.held += held
        lost = self._taken_back(unit, rows)
        if len(lost):
            left, _ = self._newest(unit.everything(), only=lost)
            rows = rows.join(lost, on=self._keys, how="anti")
            self._retract(lost.join(left, on=self._keys, how="left"))
        self._write(rows)

    def _newest(self, files: tuple[DataFile, ...], only: pl.DataFrame | None = None) -> tuple[pl.DataFrame, int]:
        """The newest available row of every entity (of some) in the files, and how many rows are held."""
        newest = _empty(self._table, self._columns)
        held = 0
        for chunk in read_files(self._table, files, self._columns, self._times, self._alive_after):
            rows = cast(pl.DataFrame, pl.from_arrow(chunk)).drop_nulls(self._keys)
            if only is not None:
                rows = rows.join(only, on=self._keys, how="semi")
            available = rows.filter(micros_of(rows, FEATURE_TIMESTAMP) <= self.available_until)
            held += len(rows) - len(available)
            newest = newest_rows(self._schema, pl.concat([newest, available], how="diagonal"))
        return newest, held

    def _taken_back(self, unit: Unit, rows: pl.DataFrame) -> pl.DataFrame:
        """Entities that lost a row newer than all that the change added, with the timestamp of that row."""
        lost = _empty(self._table, self._times)
        for chunk in read_files(self._table, unit.removed, self._times, self._times, None):
            removed = cast(pl.DataFrame, pl.from_arrow(chunk))
            served = removed.filter(micros_of(removed, FEATURE_TIMESTAMP) <= self.available_until)
            lost = newest_rows(self._schema, pl.concat([lost, served]))
        lost = lost.select(*self._keys, pl.col(FEATURE_TIMESTAMP).alias(_LOST))
        found = lost.join(rows.select(*self._keys, FEATURE_TIMESTAMP), on=self._keys, how="left")
        taken = pl.col(FEATURE_TIMESTAMP).is_null() | (pl.col(FEATURE_TIMESTAMP) < pl.col(_LOST))
        return found.filter(taken).select(*self._keys, _LOST)

    def _write(self, rows: pl.DataFrame) -> None:
        for part in rows.iter_slices(ROWS_AT_ONCE):
            self._note(part)
            self.total += self._writer.write(self._keys_of(part), self._encode(part))

    def _retract(self, rows: pl.DataFrame) -> None:
        """Writes what is left of entities that lost their newest row; a NULL feature_timestamp says nothing is."""
        gone = rows.filter(pl.col(FEATURE_TIMESTAMP).is_null())
        left = rows.filter(pl.col(FEATURE_TIMESTAMP).is_not_null())
        for part, values in ((gone, [None] * len(gone)), (left, self._encode(left))):
            self._note(part)
            limits = micros_of(part, _LOST).to_list()
            self.total += self._writer.retract(self._keys_of(part), values, limits)

    def _note(self, rows: pl.DataFrame) -> None:
        self.entities += len(rows)
        newest = micros_of(rows, FEATURE_TIMESTAMP).max()
        if newest is not None:
            self.newest = max(cast(int, newest), self.newest or cast(int, newest))

    def _keys_of(self, rows: pl.DataFrame) -> list[str]:
        return entity_keys(self._schema, rows).to_list()

    def _encode(self, rows: pl.DataFrame) -> list[bytes]:
        times = micros_of(rows, FEATURE_TIMESTAMP)
        expired = pl.repeat(False, len(rows), eager=True) if self._alive_after is None else times < self._alive_after
        return encode_rows(self._schema, rows, self._writer.codec.number, expired)


def _units(table: Table, snapshot: int, done: Progress | None) -> Iterator[Unit]:
    if done is None:
        return whole_table(table, snapshot)
    return changed_files(table, done.snapshot, snapshot, done.known_until if done.held else None)


def _usable(done: Progress | None, table: Table, schema: GroupSchema) -> Progress | None:
    """The record of the last run, if what it left online can be built on."""
    if done is None or done.rules != rules_of(schema) or table.snapshot_by_id(done.snapshot) is None:
        return None
    return done


def _load_table(settings_or_catalog: Settings | Catalog, schema: GroupSchema) -> Table:
    catalog = settings_or_catalog if isinstance(settings_or_catalog, Catalog) else open_catalog(settings_or_catalog)
    try:
        table = catalog.load_table(schema.table)
    except NoSuchTableError as error:
        raise NotFoundError(
            f"no offline table {schema.table}",
            where=f"group {schema.id}",
            remedy="run ./fs apply and backfill the group",
            code="not-materialized",
        ) from error
    wanted = {column.name for column in (*schema.keys, *schema.features)}
    missing = sorted(wanted - set(table.schema().column_names))
    if missing:
        raise ConflictError(
            f"table {schema.table} lacks the columns {', '.join(missing)}",
            where=f"group {schema.id}",
            remedy="run ./fs apply, which adds them",
            code="missing-columns",
        )
    return table


def _empty(table: Table, columns: list[str]) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(table.schema().select(*columns).as_arrow().empty_table()))
