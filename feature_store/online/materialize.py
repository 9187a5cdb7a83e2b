"""Offline to online: the newest available row of every entity, from the Iceberg table into Redis.

Incremental: only files that changed since the snapshot recorded in Redis are read, so a run costs what changed. The
whole table is read when there is no usable record: Redis is new or was emptied, the recorded snapshot is gone from the
table's history, or the ttl or availability delay of the group changed.

A unit of work is a hash bucket of the table. One with more entities than `rows_at_once` is done in parts by another
hash of the keys, each of which reads its files again. Files are read newest first, and the oldest not at all where a
newer row of every entity is found. So there are in memory, at most, the newest rows of `rows_at_once` entities and as
many rows that are read (those of one file, if it is larger), and copies of both while they are sorted: some four times
`rows_at_once` rows.

Rows that are not available yet (feature_timestamp + availability_delay > now) stay out; the record says so, and later
runs look at them again, with or without a new snapshot.

A group is complete up to the end of its last partition without a hole before it, as its table says: that is noted in
Redis, and readers are told STALE by it. Writing rows again does not change it.

Rows that were taken back are replaced online by the newest row that stands in the whole table, and tombstones keep them
out. That is so for retractions, rows of the table that say so, and for rows of files that were removed. The latter only
an incremental run can see: if one was missed, because history had been expired, remove the group's keys from Redis and
materialize again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from feature_store.offline.computed import computed_until
from feature_store.online.changes import Unit, changed_files, read_files, read_retractions, whole_table
from feature_store.online.codec import OLDEST
from feature_store.online.frames import encode_rows, micros_of, newest_rows, standing_rows
from feature_store.online.keys import entity_keys
from feature_store.online.progress import Progress, load_progress, rules_of, save_progress
from feature_store.online.writer import GuardedWriter, Tombstone, Written
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema
from feature_store.settings import DEFAULT_MATERIALIZE_ROWS

if TYPE_CHECKING:
    import pyarrow as pa
    from redis import Redis

    from feature_store.settings import Settings

ROWS_AT_ONCE = 20_000
_ORDER = (FEATURE_TIMESTAMP, CREATED_TIMESTAMP)


@dataclass(frozen=True)
class MaterializeReport:
    """What one run did.

    Attributes:
        entities: looked at; each is in one of the next four counts.
        written: newer than what Redis had, or equal.
        stale: Redis had a newer row.
        expired: the newest row is past its ttl; stored without its features.
        deleted: no row stands, all were taken back.
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
    rows_at_once: int = DEFAULT_MATERIALIZE_ROWS,
) -> MaterializeReport:
    """Brings a group's online rows up to date with its offline table. Running it again is harmless.

    Args:
        settings_or_catalog: the catalog that has the table, or settings to open it.
        redis: from `connect`.
        now: the instant that decides what is available and what has expired.
        full: read the whole table.
        rows_at_once: how many rows are in memory at once; see `Settings.materialize_rows`.

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
        return MaterializeReport(0, 0, 0, 0, 0, 0, None, None, None, time.monotonic() - began, full=True)

    done = None if full else _usable(load_progress(redis, schema), table, schema)
    run = _Run(table, writer, schema, to_micros(now), rows_at_once)
    for unit in _units(table, snapshot.snapshot_id, done):
        run.apply(unit)
    complete_at = computed_until(table.properties)
    if complete_at is None:  # of a table that this package has not computed its rows are all that is known
        complete_at = run.newest
    if complete_at is not None:
        writer.touch(from_micros(min(complete_at, run.available_until)), run.newest)
    save_progress(redis, schema, Progress(snapshot.snapshot_id, run.available_until, run.held, rules_of(schema)))
    return MaterializeReport(
        entities=run.total.written + run.total.stale + run.total.expired + run.total.deleted,
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


@dataclass(frozen=True)
class _Part:
    """Those entities of a unit whose keys have a hash of `remainder` modulo `modulus`."""

    modulus: int = 1
    remainder: int = 0

    def halves(self) -> tuple[_Part, _Part]:
        double = 2 * self.modulus
        return _Part(double, self.remainder), _Part(double, self.remainder + self.modulus)

    def of(self, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """The rows of these entities."""
        return rows if self.modulus == 1 else rows.filter(pl.struct(keys).hash(0) % self.modulus == self.remainder)


class _Run:
    """One run over the units of a change, and its counts."""

    def __init__(self, table: Table, writer: GuardedWriter, schema: GroupSchema, now: int, rows_at_once: int) -> None:
        self._table = table
        self._writer = writer
        self._schema = schema
        self._alive_after = None if schema.ttl is None else now - schema.ttl
        self._keys = [key.name for key in schema.keys]
        self._times = [*self._keys, FEATURE_TIMESTAMP, CREATED_TIMESTAMP]
        retracted = [name for name in [RETRACTED] if name in table.schema().column_names]
        self._seen = [*self._times, *retracted]
        self._columns = [*self._seen, *(feature.name for feature in schema.features)]
        self._rows_at_once = rows_at_once
        self._part = _Part()
        self.available_until = now - schema.availability_delay
        self.held = 0
        self.newest: int | None = None
        self.total = Written()

    def apply(self, unit: Unit) -> None:
        waiting = [_Part()]
        while waiting:
            self._part = waiting.pop()
            entities = None
            if sum(file.record_count for file in unit.added) > self._rows_at_once:
                entities = self._entities(unit.added)
                if entities > self._rows_at_once:
                    waiting += self._part.halves()
                    continue
            self._apply_part(unit, entities)

    def _entities(self, files: Sequence[DataFile]) -> int:
        """How many entities the part has; of more than fit into memory one more than do."""
        found = _empty(self._table, self._keys)
        for chunk, _ in read_files(self._table, files, self._keys, self._keys, None, self._rows_at_once):
            found = pl.concat([found, self._frame(chunk)]).unique()
            if len(found) > self._rows_at_once:
                break
        return len(found)

    def _apply_part(self, unit: Unit, entities: int | None) -> None:
        """Applies what a change says of the entities of one part; `entities`: how many there are, if that is known."""
        retracted, before = self._retracted(unit.added), self._retracted(unit.removed)
        rows, held = self._standing(unit.added, retracted, entities=entities)
        self.held += held
        lost = self._lost(unit.removed, rows, pl.concat([retracted, before]))
        new = retracted.join(before, on=self._times, how="anti")  # compaction moves old ones
        touched = pl.concat([new.select(self._keys), lost.select(self._keys)]).unique()
        if len(touched):
            self._settle(unit, touched, lost)
            rows = rows.join(touched, on=self._keys, how="anti")
        unsure = self._write(rows)
        if len(unsure):
            self._settle(unit, unsure, lost.clear())

    def _retracted(self, files: Sequence[DataFile], only: pl.DataFrame | None = None) -> pl.DataFrame:
        """The available retractions in the files (of some entities): keys and timestamps."""
        found = [
            self._frame(chunk, only) for chunk in read_retractions(self._table, files, self._times, self._rows_at_once)
        ]
        return self._available(pl.concat([_empty(self._table, self._times), *found]))

    def _standing(
        self,
        files: Sequence[DataFile],
        retracted: pl.DataFrame,
        only: pl.DataFrame | None = None,
        entities: int | None = None,
    ) -> tuple[pl.DataFrame, int]:
        """The newest available row of every entity (of some) that stands in the files, and how many rows are held.

        Ends before the oldest files if it is known how many entities there are, and of each a row is found that is
        newer than all in them.
        """
        newest = _empty(self._table, self._columns)
        held = 0
        columns, seen = self._columns, self._seen
        for chunk, rest in read_files(self._table, files, columns, seen, self._alive_after, self._rows_at_once):
            rows = self._frame(chunk, only)
            available = self._available(rows)
            held += len(rows) - len(available)
            standing = standing_rows(self._schema, available, retracted)
            newest = newest_rows(self._schema, pl.concat([newest, standing], how="diagonal"))
            if (
                rest is not None
                and rest <= self.available_until
                and (micros_of(newest, FEATURE_TIMESTAMP) > rest).sum() == entities
            ):
                break
        return newest, held

    def _lost(self, files: Sequence[DataFile], added: pl.DataFrame, retracted: pl.DataFrame) -> pl.DataFrame:
        """The rows of removed files that stood, and are newer than all that the change added of their entities."""
        found = [_empty(self._table, self._times)]
        newest = added.select(*self._keys, *(pl.col(name).alias(f"added {name}") for name in _ORDER))
        for chunk, _ in read_files(self._table, files, self._seen, self._seen, None, self._rows_at_once):
            removed = standing_rows(self._schema, self._available(self._frame(chunk)), retracted)
            pairs = removed.join(newest, on=self._keys, how="left")
            time, created = (pl.col(name) for name in _ORDER)
            added_time, added_created = (pl.col(f"added {name}") for name in _ORDER)
            newer = (time > added_time) | ((time == added_time) & (created > added_created))
            found.append(pairs.filter(newer.fill_null(True)).select(self._times))
        return pl.concat(found)

    def _settle(self, unit: Unit, entities: pl.DataFrame, lost: pl.DataFrame) -> None:
        """Writes what the whole table has of some entities: the newest row that stands, and newer retractions."""
        files = unit.everything()
        retracted = self._retracted(files, only=entities)
        left, _ = self._standing(files, retracted, only=entities)
        times = left.select(*self._keys, pl.col(FEATURE_TIMESTAMP).alias("left"))
        newer = (pl.col(FEATURE_TIMESTAMP) > pl.col("left")).fill_null(True)
        rows = entities.join(left, on=self._keys, how="left")
        for kind, taken_back in (("retracted", retracted), ("lost", lost)):
            tombstones = taken_back.join(times, on=self._keys, how="left").filter(newer)
            rows = rows.join(self._by_entity(tombstones, kind), on=self._keys, how="left")
        for part in rows.iter_slices(ROWS_AT_ONCE):
            self._settle_part(part)

    def _by_entity(self, rows: pl.DataFrame, kind: str) -> pl.DataFrame:
        """Of each entity the feature timestamps of some rows and the newest created_timestamp of each, as lists."""
        newest = rows.group_by(*self._keys, FEATURE_TIMESTAMP).agg(pl.col(CREATED_TIMESTAMP).max())
        return newest.group_by(self._keys).agg(pl.col(name).dt.epoch("us").alias(f"{kind} {name}") for name in _ORDER)

    def _settle_part(self, rows: pl.DataFrame) -> None:
        stands = rows[FEATURE_TIMESTAMP].is_not_null()
        encoded = iter(self._encode(rows.filter(stands)))
        values = [next(encoded) if there else None for there in stands.to_list()]
        retracted, lost = _tombstones(rows, "retracted"), _tombstones(rows, "lost")
        own = micros_of(rows, CREATED_TIMESTAMP).fill_null(OLDEST).to_list()
        known = [
            max([newest, *(created for *_, created in of_row)]) for newest, of_row in zip(own, retracted, strict=True)
        ]
        self._note(rows)
        self.total += self._writer.settle(self._keys_of(rows), values, retracted, lost, known)

    def _write(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Writes rows; gives the keys of those of which only the whole table can tell whether they stand."""
        unsure = [rows.select(self._keys).clear()]
        for part in rows.iter_slices(ROWS_AT_ONCE):
            self._note(part)
            written = self._writer.write(self._keys_of(part), self._encode(part))
            unsure.append(part.select(self._keys)[list(written.unsure)])
            self.total += replace(written, unsure=())
        return pl.concat(unsure)

    def _frame(self, chunk: pa.Table, only: pl.DataFrame | None = None) -> pl.DataFrame:
        """Rows as Polars has them: of the entities of the part, or of some of them."""
        rows = self._part.of(cast(pl.DataFrame, pl.from_arrow(chunk)).drop_nulls(self._keys), self._keys)
        return rows if only is None else rows.join(only, on=self._keys, how="semi")

    def _available(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(micros_of(rows, FEATURE_TIMESTAMP) <= self.available_until)

    def _note(self, rows: pl.DataFrame) -> None:
        newest = cast("int | None", micros_of(rows, FEATURE_TIMESTAMP).max())
        if newest is not None:
            self.newest = newest if self.newest is None else max(newest, self.newest)

    def _keys_of(self, rows: pl.DataFrame) -> list[str]:
        return entity_keys(self._schema, rows).to_list()

    def _encode(self, rows: pl.DataFrame) -> list[bytes]:
        times = micros_of(rows, FEATURE_TIMESTAMP)
        expired = pl.repeat(False, len(rows), eager=True) if self._alive_after is None else times < self._alive_after
        return encode_rows(self._schema, rows, self._writer.codec.number, expired)


def _tombstones(rows: pl.DataFrame, kind: str) -> list[list[Tombstone]]:
    times, created = ([of_row or [] for of_row in rows[f"{kind} {name}"].to_list()] for name in _ORDER)
    pairs = [zip(*of_row, strict=True) for of_row in zip(times, created, strict=True)]
    return [[(t, t, c) for t, c in of_row] for of_row in pairs]


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
