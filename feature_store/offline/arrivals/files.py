"""Arrivals in files: the rows of files that a cursor does not know, and the partitions of those that went.

A file is known by its path, size and time of modification. One that was written again is another file: all of its rows
came, and those that it had went.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from feature_store.compile.spark_expressions import quote
from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals.arrivals import (
    NO_TIMES,
    Arrivals,
    Cursor,
    instants,
    packed,
    slots,
    unpacked,
)
from feature_store.offline.sources import list_files, typed_columns
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Partitions = tuple[int, int]
"""The first and last partition of event times, from the epoch; the first is greater if there is none."""
_NONE: Partitions = (0, -1)
_KIND = "files"


@dataclass(frozen=True)
class File:
    """A file as it is listed; the time of its modification is in microseconds."""

    path: str
    size: int
    modified: int

    @property
    def identity(self) -> int:
        """A digest of it, a signed number of 64 bits."""
        text = f"{self.path}\n{self.size} {self.modified}"
        return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), signed=True)


@dataclass(frozen=True)
class Contents:
    """The event times (microseconds) of some files.

    Args:
        spans: by path, the first and last of a file; a file that is not there has none.
        latest: of each partition the last.
    """

    spans: Mapping[str, tuple[int, int]]
    latest: tuple[int, ...]


def arrived_by_files(
    spark: SparkSession, settings: Settings, size: int, source: BatchSource, since: Cursor | None
) -> Arrivals:
    """What has come into files since a cursor, or gone with them; only files that it does not know are opened.

    Args:
        size: of the partitions of event times (microseconds).

    Raises:
        InputError: if there is nothing at the path, or a file does not fit the definition.
    """
    # Listed before they are opened: one that comes in between is unknown to the next run, too.
    listed = [File(_place(path), length, modified) for path, length, modified in _listed(spark, settings, source)]
    seen = known_files(since)
    new = {file.path for file in listed if seen is None or file.identity not in seen}
    contents = _contents(spark, settings, size, source, new, every=len(new) == len(listed)) if new else _NO_CONTENTS
    return changed_files(size, listed, contents, seen)


def changed_files(
    size: int, listed: Iterable[File], contents: Contents, seen: Mapping[int, Partitions] | None
) -> Arrivals:
    """What has come or gone since a cursor.

    Args:
        contents: of the files that the cursor does not know.
        seen: by the identity of a file that it knows, the partitions of its rows.
    """
    now: dict[int, Partitions] = {}
    for file in listed:
        known = (seen or {}).get(file.identity)
        span = contents.spans.get(file.path)
        now[file.identity] = known or ((span[0] // size, span[1] // size) if span is not None else _NONE)
    cursor: Cursor = {"by": _KIND, "files": packed(3, ((identity, *now[identity]) for identity in sorted(now)))}
    if seen is None:
        return Arrivals(cursor, NO_TIMES, complete=False)
    gone = [partitions for identity, partitions in seen.items() if identity not in now and partitions != _NONE]
    return Arrivals(cursor, np.vstack([instants(contents.latest), slots(gone, size)]))


def known_files(cursor: Cursor | None) -> dict[int, Partitions] | None:
    """The files that a cursor knows, by identity, and the partitions of their rows; None if it is of another kind."""
    if not isinstance(cursor, Mapping) or cursor.get("by") != _KIND:
        return None
    return {identity: (first, last) for identity, first, last in unpacked(3, str(cursor["files"]))}


def _listed(spark: SparkSession, settings: Settings, source: BatchSource) -> list[tuple[str, int, int]]:
    files = list_files(spark, settings, source)
    return [tuple(row) for row in files.selectExpr("path", "length", "unix_micros(modificationTime)").collect()]


def _contents(
    spark: SparkSession, settings: Settings, size: int, source: BatchSource, paths: set[str], *, every: bool
) -> Contents:
    rows = typed_columns(spark, settings, source, [source.event_timestamp], "_metadata.file_path AS file")
    if not every:  # by the paths as Spark writes them here: then it opens no other file
        written = [path for path in rows.inputFiles() if _place(unquote(path)) in paths]
        rows = rows.where(rows["file"].isin({*written, *map(_place, written)}))
    at = f"unix_micros({quote(source.event_timestamp)})"
    times = rows.selectExpr("file", f"{at} AS at", f"{at} - pmod({at}, {size}) AS begin").where("at IS NOT NULL")
    spans: dict[str, tuple[int, int]] = {}
    latest: list[int] = []
    for file, first, last in _bounds(times):
        if file is None:
            latest.append(last)
            continue
        place = _place(unquote(file))
        known = spans.get(place, (first, last))
        spans[place] = min(known[0], first), max(known[1], last)
    return Contents(spans, tuple(latest))


def _bounds(times: DataFrame) -> list[tuple[str | None, int, int]]:
    """The first and last time of each file, and of each partition over all files (without a file)."""
    from pyspark.sql.functions import col, expr

    grouped = times.groupingSets([[col("file")], [col("begin")]], col("file"), col("begin"))
    found = grouped.agg(expr("min(at) AS first"), expr("max(at) AS last")).select("file", "first", "last")
    return [tuple(row) for row in found.collect()]


def _place(path: str) -> str:
    """A path as it is written once: listings and rows differ in the slashes of local ones."""
    return re.sub(r"^file:/+", "file:/", path)


_NO_CONTENTS = Contents({}, ())
