"""Arrivals by fingerprints: the days of event time whose rows are not what they were.

The fingerprint of a day is the number of its rows and the sum of a hash of each, so the order of rows is of no
account, and rows that came, went or changed show alike. Days within the look-back, and those to come, have one each;
all days before have one together: if it differs, nobody can tell which day has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store.compile.spark_expressions import quote
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import DType
from feature_store.duration import DAY, parse_duration
from feature_store.offline.arrivals.arrivals import NO_TIMES, Arrivals, Cursor, packed, signed, slots, unpacked
from feature_store.offline.sources import typed_columns
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Fingerprint = tuple[int, int]
"""The number of rows, and the sum of their hashes modulo 2^64 (signed)."""
_NOTHING: Fingerprint = (0, 0)
_KIND = "fingerprints"


@dataclass(frozen=True)
class Days:
    """A cursor: the fingerprints of a source.

    Args:
        columns: which columns count, as a short text; fingerprints of others cannot be compared.
        first: the first day (from the epoch) that has a fingerprint of its own.
        each: by day, from the first on, its fingerprint, if it has rows.
        before: the fingerprint of all days before the first.
    """

    columns: str
    first: int
    each: Mapping[int, Fingerprint]
    before: Fingerprint

    def to_json(self) -> dict[str, int | str]:
        rows, hashes = self.before
        each = packed(3, ((day, *found) for day, found in sorted(self.each.items())))
        return {"by": _KIND, "columns": self.columns, "first": self.first, "each": each, "rows": rows, "hashes": hashes}


def arrived_by_fingerprints(
    spark: SparkSession, settings: Settings, until: int, source: BatchSource, since: Cursor | None
) -> Arrivals:
    """Which days of a source with a look-back have changed since a cursor, by one aggregate of Spark over its rows.

    Not complete if the cursor is of other columns, or if a day before the look-back has changed.

    Args:
        until: where the span ends that is to be computed (microseconds): rows of a time to come do not move the
            look-back.

    Raises:
        InputError: if the source is not there, or does not fit its definition.
    """
    assert source.look_back is not None
    seen = known_days(since)
    found = _found(spark, settings, source)
    first = first_day(found, parse_duration(source.look_back), until)
    return changed_days(days_of(found, first, _columns(source)), seen, found)


def first_day(days: Iterable[int], look_back: int, until: int) -> int:
    """The first day of the look-back from the newest day that has rows, of those that begin before an instant."""
    last = (until - 1) // DAY
    return max((day for day in days if day <= last), default=last) - -(-look_back // DAY)


def days_of(found: Mapping[int, Fingerprint], first: int, columns: str) -> Days:
    """The cursor of what was found of each day, if the days from the first one on are to be told apart."""
    each = {day: fingerprint for day, fingerprint in found.items() if day >= first}
    return Days(columns, first, each, _sum(fingerprint for day, fingerprint in found.items() if day < first))


def changed_days(now: Days, seen: Days | None, found: Mapping[int, Fingerprint]) -> Arrivals:
    """The days whose fingerprint is not what it was at a cursor, by what was found of each day."""
    if seen is None or seen.columns != now.columns:
        return Arrivals(now.to_json(), NO_TIMES, complete=False)
    days = {day for day in found if day >= seen.first} | seen.each.keys()
    changed = [day for day in sorted(days) if found.get(day, _NOTHING) != seen.each.get(day, _NOTHING)]
    before = _sum(fingerprint for day, fingerprint in found.items() if day < seen.first)
    return Arrivals(now.to_json(), slots(((day, day) for day in changed), DAY), complete=before == seen.before)


def _sum(fingerprints: Iterable[Fingerprint]) -> Fingerprint:
    rows = hashes = 0
    for count, sum_of_hashes in fingerprints:
        rows, hashes = rows + count, hashes + sum_of_hashes
    return rows, signed(hashes)


def known_days(cursor: Cursor | None) -> Days | None:
    """The fingerprints that a cursor holds; None if it is of another kind."""
    if not isinstance(cursor, Mapping) or cursor.get("by") != _KIND:
        return None
    each = {day: (rows, hashes) for day, rows, hashes in unpacked(3, str(cursor["each"]))}
    before = (int(cursor["rows"]), int(cursor["hashes"]))
    return Days(str(cursor["columns"]), int(cursor["first"]), each, before)


def _columns(source: BatchSource) -> str:
    text = "\n".join(f"{name!r} {dtype}" for name, dtype in sorted(source.schema.items()))
    return hashlib.blake2b(f"{source.event_timestamp!r}\n{text}".encode(), digest_size=8).hexdigest()


def _found(spark: SparkSession, settings: Settings, source: BatchSource) -> dict[int, Fingerprint]:
    """Of each day of event time that has rows its fingerprint; rows without a time count for nothing."""
    from pyspark.sql.functions import expr

    rows = typed_columns(spark, settings, source, source.schema)
    parts = ", ".join(part for name, dtype in sorted(source.schema.items()) for part in _parts(quote(name), dtype))
    at = f"unix_micros({quote(source.event_timestamp)})"
    hashed = rows.where(f"{at} IS NOT NULL").selectExpr(
        f"({at} - pmod({at}, {DAY})) div {DAY} AS day", f"CAST(xxhash64({parts}) AS DECIMAL(38, 0)) AS hash"
    )
    days = hashed.groupBy("day").agg(expr("count(*)"), expr("sum(hash)"))
    return {day: (rows, signed(int(hashes))) for day, rows, hashes in days.collect()}


def _parts(column: str, dtype: DType) -> tuple[str, ...]:
    """What of a column goes into the hash of a row: Spark skips NULL, and does not tell where a list ends."""
    if dtype.item is None and dtype.kind != "EMBEDDING":
        return f"{column} IS NULL", column
    return f"{column} IS NULL", f"size({column})", f"transform({column}, x -> struct(x IS NULL AS missing, x AS value))"
