"""Arrivals in a Postgres table: the versions of rows by transactions that a cursor had not seen, and those that went.

An update makes a new version of a row, and no version ever changes. So the versions that a cursor has seen can only
become fewer, and a partition that still has as many of them as it had has the same ones.

Which versions those are is told by their transactions (`xmin`). Those that came before the oldest one that was still
running have ended, and the cursor has seen all that they wrote. Of later ones it keeps the numbers that it has seen:
what commits days after it began is found, also what a part of a transaction (a savepoint) wrote, which has a number of
its own that no snapshot of Postgres knows.

Numbers of transactions have 32 bits. They are taken for the newest that they can be, so one of billions of transactions
ago may be found once more, and none is missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals.arrivals import (
    NO_TIMES,
    Arrivals,
    Cursor,
    instants,
    packed,
    signed,
    slots,
    unpacked,
)
from feature_store.offline.sources import postgres_name, reading
from feature_store.settings import Settings

_KIND = "transactions"
_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Seen:
    """A cursor: which versions of rows have been seen.

    Args:
        server: which history of transactions their numbers belong to.
        oldest: the oldest transaction that was running, or the next one; all before had ended.
        recent: the transactions from then on that had written to the table, and had ended.
        rows: by partition of event times (from the epoch), the number of versions that were there.
        versions: a sum of hashes of the transactions of all versions: it differs if they do.
    """

    server: str
    oldest: int
    recent: Sequence[int]
    rows: Mapping[int, int]
    versions: int

    def to_json(self) -> dict[str, int | str]:
        return {
            "by": _KIND,
            "server": self.server,
            "oldest": self.oldest,
            "recent": packed(1, ((number,) for number in sorted(self.recent))),
            "rows": packed(2, sorted(self.rows.items())),
            "versions": self.versions,
        }


@dataclass(frozen=True)
class Rows:
    """What there is of one partition of event times, and of one recent transaction or of all others.

    Args:
        partition: its number, from the epoch; None is of rows without an event time.
        recent: the transaction, if it is not before the oldest running one; None is of all that are.
        rows: how many versions of rows there are.
        known: how many of them the cursor has seen.
        latest: the greatest event time (microseconds) of the others.
        versions: the sum of the hashes of their transactions.
    """

    partition: int | None
    recent: int | None
    rows: int
    known: int
    latest: int | None
    versions: int


def arrived_by_transactions(settings: Settings, size: int, source: BatchSource, since: Cursor | None) -> Arrivals:
    """What has come into a Postgres table since a cursor, or gone from it, by one statement over all of its rows.

    Not complete if the cursor is of another server, or of a later state of this one; and always of a view or another
    relation whose rows Postgres itself does not keep, as they have no transactions.

    Args:
        size: of the partitions of event times (microseconds).

    Raises:
        InputError: if the table cannot be read.
    """
    from sqlalchemy import NullPool, create_engine

    assert source.jdbc is not None
    database, schema, name = source.jdbc.split(".")
    table = f"{postgres_name(schema)}.{postgres_name(name)}"
    with reading(source):
        engine = create_engine(
            settings.database_url(database), poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_SECONDS}
        )
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True, "no_parameters": True}
        with engine.connect().execution_options(**options) as connection:
            text = table.replace("'", "''")
            if not connection.exec_driver_sql(_IS_KEPT_HERE.format(table=text)).scalar_one():
                return Arrivals({"by": "nothing"}, NO_TIMES, complete=False)
            server, oldest, following = connection.exec_driver_sql(_SNAPSHOT).one()
            seen = known_versions(since, server, following)
            statement = _ROWS.format(
                at=postgres_name(source.event_timestamp),
                table=table,
                following=following,
                oldest=oldest,
                size=size,
                seen_oldest=oldest if seen is None else seen.oldest,
                seen_recent=", ".join(map(str, seen.recent)) if seen is not None else "",
            )
            found = [Rows(*row) for row in connection.exec_driver_sql(statement)]
    return changed_rows(size, server, oldest, found, seen)


def changed_rows(size: int, server: str, oldest: int, found: Sequence[Rows], seen: Seen | None) -> Arrivals:
    """What has come or gone since a cursor, by what there is of each partition."""
    rows, known = Counter[int](), Counter[int]()
    for each in found:
        if each.partition is not None:
            rows[each.partition] += each.rows
            known[each.partition] += each.known
    recent = sorted({each.recent for each in found if each.recent is not None})
    now = Seen(server, oldest, recent, rows, signed(sum(int(each.versions) for each in found))).to_json()
    if seen is None:
        return Arrivals(now, NO_TIMES, complete=False)
    fewer = [partition for partition, count in seen.rows.items() if known[partition] != count]
    came = [each.latest for each in found if each.latest is not None]
    return Arrivals(now, np.vstack([instants(came), slots(((number, number) for number in fewer), size)]))


def same_versions(cursor: Cursor) -> Cursor:
    """What of a cursor stays while the source has the same rows: transactions go on without touching it."""
    if not isinstance(cursor, Mapping) or cursor.get("by") != _KIND:
        return cursor
    return {name: cursor[name] for name in ("by", "server", "rows", "versions")}


def known_versions(cursor: Cursor | None, server: str, following: int) -> Seen | None:
    """A cursor of this history of transactions, whose numbers tell what came later; else None."""
    if not isinstance(cursor, Mapping) or cursor.get("by") != _KIND or cursor["server"] != server:
        return None
    recent = [number for (number,) in unpacked(1, str(cursor["recent"]))]
    seen = Seen(
        server=server,
        oldest=int(cursor["oldest"]),
        recent=recent,
        rows={row[0]: row[1] for row in unpacked(2, str(cursor["rows"]))},
        versions=int(cursor["versions"]),
    )
    return seen if max(seen.oldest, *recent, 0) <= following else None


_IS_KEPT_HERE = """
WITH RECURSIVE parts AS (
    SELECT '{table}'::regclass::oid AS part
    UNION SELECT inhrelid FROM pg_inherits JOIN parts ON inhparent = part
)
SELECT bool_and(relkind = 'p' OR (relkind IN ('r', 'm') AND amname = 'heap'))
FROM parts JOIN pg_class ON pg_class.oid = part LEFT JOIN pg_am ON pg_am.oid = relam
"""
"""Whether a relation and all of its parts are tables (or what a materialized view keeps) of Postgres' own kind."""

_SNAPSHOT = """
SELECT system_identifier::text || ' ' || timeline_id,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint
FROM pg_control_system(), pg_control_checkpoint()
"""
"""A server that was restored, or took over from one that has failed, has another history of transactions."""

_ROWS = """
WITH versions AS (
    SELECT CASE WHEN isfinite({at}) THEN (extract(epoch FROM {at}) * 1000000)::bigint END AS micros,
           CASE WHEN xmin::text::bigint < 3 THEN 0  -- made with the server, or frozen by an old one
                ELSE xmin::text::bigint + ({following} - 1 - xmin::text::bigint) / 4294967296 * 4294967296
           END AS number
    FROM {table}
), judged AS (
    SELECT micros, versions.number, versions.number >= {seen_oldest} AND seen.number IS NULL AS came
    FROM versions LEFT JOIN unnest(ARRAY[{seen_recent}]::bigint[]) AS seen(number) ON seen.number = versions.number
)
SELECT (micros - (micros % {size} + {size}) % {size}) / {size}, CASE WHEN number >= {oldest} THEN number END,
       count(*), count(*) FILTER (WHERE NOT came), max(micros) FILTER (WHERE came), sum(hashint8extended(number, 0))
FROM judged GROUP BY 1, 2
"""
