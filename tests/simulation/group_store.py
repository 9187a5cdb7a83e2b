"""One group on real services: its offline table in Iceberg, its vectors in Redis, what was ever written and read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from redis import Redis

from feature_store.datasets.storage import Folder
from feature_store.dtypes import from_micros
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.online.keys import entity_key
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import Status
from feature_store.pit.dataset import build_in
from feature_store.pit.semantics import KnownBy
from feature_store.pit.tags import LONGEST_BUILD, sweep_tags, sweep_unfinished
from feature_store.plan.schema import (
    CREATED_TIMESTAMP,
    FEATURE_TIMESTAMP,
    RETRACTED,
    GroupSchema,
    ViewedSchema,
    ViewSchema,
)
from tests.simulation.oracle import StoredRow, same_values, served, standing, stored_row

USERS = ("u1", "u2", "u3")
OF_THE_GROUP = re.compile("last_updated|layouts|progress|(loaded|marks):0")
"""The names, behind that of the group, of the keys in Redis that belong to no entity."""


@dataclass(frozen=True)
class Services:
    """The real services of a test session."""

    catalog: Catalog
    redis: Redis
    folder: Path


@dataclass(frozen=True)
class RememberedRead:
    """What a reader got of one user at an instant (microseconds)."""

    user: str
    now: int
    values: dict[str, Any]


@dataclass
class GroupStore:
    """The stores of one group, their clock, and the record of every row that was ever written to the table."""

    services: Services
    schema: GroupSchema
    now: int
    written: list[StoredRow] = field(default_factory=list)
    reads: list[RememberedRead] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    """Of the datasets that were built, in the table."""
    deaths: int = 0
    """How many runs have died, of which each may have left a branch to be looked at."""

    @property
    def view(self) -> ViewSchema:
        return ViewSchema("simulated", 1, (ViewedSchema(self.schema),))

    def table(self) -> Table:
        """The offline table as it is now, with the columns of the definition."""
        return ensure_table(self.services.catalog, self.schema)

    def rows(self) -> list[StoredRow]:
        """All rows of the table."""
        return [stored_row(self.schema, row) for row in self.table().scan().to_arrow().to_pylist()]

    def arrow(self, rows: Iterable[StoredRow]) -> pa.Table:
        """Rows as columns of the table."""
        key = self.schema.keys[0].name
        plain = [
            {
                key: row.key,
                FEATURE_TIMESTAMP: from_micros(row.timestamp),
                CREATED_TIMESTAMP: from_micros(row.created),
                RETRACTED: row.retracted or None,
                **row.values,
            }
            for row in rows
        ]
        wanted = {name: self.table().schema().as_arrow().names.index(name) for name in arrow_schema(self.schema).names}
        fields = sorted(arrow_schema(self.schema), key=lambda column: wanted[column.name])
        return pa.Table.from_pylist(plain, schema=pa.schema(fields))

    def note_written(self) -> None:
        """Remembers what a step has added to the table, which must have kept every row that was there."""
        before = Counter(map(_identity, self.written))
        now: dict[tuple[Any, ...], list[StoredRow]] = {}
        for row in self.rows():
            now.setdefault(_identity(row), []).append(row)
        assert not before - Counter({identity: len(rows) for identity, rows in now.items()}), "rows are lost"
        for identity, rows in now.items():
            self.written += rows[before[identity] :]

    def vectors(self, users: Sequence[str] = USERS) -> dict[str, tuple[dict[str, Any], Status]]:
        """What a new reader gets of some users now: features and status."""
        reader = OnlineReader(self.services.redis)
        vectors = reader.read(self.view, [{"user_id": user} for user in users], from_micros(self.now))
        names = [feature.name for feature in self.schema.features]
        found = zip(users, vectors.to_dicts(), vectors.statuses, strict=True)
        return {user: ({name: row[name] for name in names}, statuses[self.schema.id]) for user, row, statuses in found}

    def joined(self, labels: Sequence[tuple[str, int]], known_by: KnownBy = None) -> list[dict[str, Any]]:
        """What the point-in-time join gives labels (user, microseconds)."""
        rows = [{"user_id": user, "label_timestamp": from_micros(at)} for user, at in labels]
        if not rows:
            return []
        dataset = build_in(
            self.services.catalog, self.services.folder, self.view, rows, name="simulated", known_by=known_by
        )
        if any(dataset.snapshots.values()):  # else nothing was written yet
            self.tags.add(dataset.tag)
        table = dataset.to_arrow()
        return table.select([feature.name for feature in self.schema.features]).to_pylist()

    def check(self) -> None:
        """Compares the online store, the join, what was read before, and the table's history with the oracle."""
        rows = self.rows()
        self._check_history(rows)
        vectors = self.vectors()
        joined = self.joined([(user, self.now) for user in USERS])
        for user, row in zip(USERS, joined, strict=True):
            wanted = served(self.schema, rows, user, self.now)
            values, status = vectors[user]
            assert same_values(row, wanted.values), ("join", user, row, wanted)
            assert same_values(values, wanted.values), ("online", user, values, wanted, self._history_of(user, rows))
            assert status in wanted.statuses, ("status", user, status, wanted)
        self._check_reads(rows)
        self.check_nothing_left()
        self.reads += [RememberedRead(user, self.now, values) for user, (values, _) in vectors.items()]

    def _check_history(self, rows: Sequence[StoredRow]) -> None:
        """Every row that was ever written is there, once, and nothing else."""
        assert Counter(map(_identity, rows)) == Counter(map(_identity, self.written)), "history"

    def _check_reads(self, rows: Sequence[StoredRow]) -> None:
        if not self.reads:
            return
        joined = self.joined([(read.user, read.now) for read in self.reads], known_by="label")
        for read, row in zip(self.reads, joined, strict=True):
            wanted = served(self._schema_of(read), rows, read.user, read.now, known_at=read.now).values
            for name, value in read.values.items():
                assert same_values({name: row[name]}, {name: value}), ("known_by", read, row, wanted)

    def _schema_of(self, read: RememberedRead) -> GroupSchema:
        """The group as the read saw it: with the features it had then."""
        return self.schema

    def _history_of(self, user: str, rows: Iterable[StoredRow]) -> list[StoredRow]:
        return sorted((r for r in rows if r.key == user), key=lambda row: (row.timestamp, row.created))

    def check_nothing_left(self) -> None:
        """What processes that died have left is gone once it was swept, and nothing is there that nobody knows of."""
        folder, later = self.services.folder, datetime.now(UTC) + 2 * LONGEST_BUILD
        sweep_tags(self.table(), Folder.of(folder), (), later)
        sweep_unfinished(Folder.of(folder), later)
        refs = set(self.table().metadata.refs) - {MAIN_BRANCH}
        unpublished = {ref for ref in refs if ref.startswith("audit-")}
        assert refs - unpublished == self.tags, "tags"
        assert len(unpublished) <= self.deaths, unpublished
        assert not list(folder.glob("*/.*")), "unfinished datasets"
        keys = {bytes(key).decode() for key in self.services.redis.scan_iter(f"{self.schema.id}:*", count=10_000)}
        others = keys - {str(entity_key(self.schema, {"user_id": user})) for user in USERS}
        assert all(OF_THE_GROUP.fullmatch(key.removeprefix(f"{self.schema.id}:")) for key in others), others


def corrections(
    stored: Iterable[StoredRow], right: Iterable[StoredRow], after: int, until: int, now: int
) -> list[StoredRow]:
    """The rows to add so that those of `(after, until]` which stand are the right ones: see SEMANTICS, Versions.

    Args:
        stored: all rows of the table.
        right: what batch computed; its created timestamps do not count.
    """
    inside = [row for row in stored if after < row.timestamp <= until]
    newest: dict[tuple[str, int], int] = {}
    for row in inside:
        place = (row.key, row.timestamp)
        newest[place] = max(row.created, newest.get(place, row.created))
    stands = standing(inside)
    wanted = {(row.key, row.timestamp): row for row in right}

    def created(place: tuple[str, int]) -> int:
        return max(now, newest.get(place, now) + 1) if place in newest else now

    added = [
        StoredRow(row.key, row.timestamp, created(place), False, row.values)
        for place, row in wanted.items()
        if place not in stands or not same_values(stands[place].values, row.values)
    ]
    taken_back = [
        StoredRow(row.key, row.timestamp, created(place), True, dict.fromkeys(row.values))
        for place, row in stands.items()
        if place not in wanted
    ]
    return added + taken_back


def rewrite(table: Table, paths: Sequence[str]) -> None:
    """What a compaction commits that was planned when these files were there: the same rows in new files.

    It fails, as Iceberg's does, where one of the files is gone.
    """
    files = [task.file for task in table.scan().plan_files() if task.file.file_path in set(paths)]
    assert len(files) == len(paths)
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan
    from pyiceberg.table import FileScanTask

    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    rows = scan.to_table([FileScanTask(file) for file in files])

    def replace(transaction: Transaction) -> None:
        with transaction.update_snapshot().overwrite() as overwrite:
            for file in files:
                overwrite.delete_data_file(file)
            for file in _dataframe_to_data_files(transaction.table_metadata, rows, table.io):
                overwrite.append_data_file(file)

    with table.transaction() as transaction:
        replace(transaction)


def _identity(row: StoredRow) -> tuple[Any, ...]:
    return (
        row.key,
        row.timestamp,
        row.created,
        row.retracted,
        tuple(sorted((n, repr(v)) for n, v in row.values.items() if v is not None)),
    )
