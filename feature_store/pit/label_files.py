"""Label rows in Parquet and CSV files, read piece by piece, file after file in the order of their paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from feature_store.dtypes import STRING, TIMESTAMP, DType, arrow_type
from feature_store.errors import InputError, choices

_ROWS_AT_ONCE = 1 << 16
_BLOCK = 1 << 22
_BUFFER = 1 << 20
_NAIVE = r"^\d{4}-\d\d-\d\d([T ][\d:.]*)?$"
_FILES = "name Parquet or CSV files: a path, or a glob such as labels/*.parquet"


@dataclass(frozen=True)
class LabelFiles:
    """Label rows in files that a path or glob names: all Parquet, or all CSV (.csv, .csv.gz) with a header.

    Attributes:
        path: its order is that of the paths, then of the rows in a file.
        types: of columns of CSV files beside keys, request values and label_timestamp, whose types the view says; the
            others are text. An empty field is NULL, also "" unless it is of a text.
    """

    path: str | Path
    types: Mapping[str, DType] = field(default_factory=dict)


def open_files(source: LabelFiles, needed: Mapping[str, DType]) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """The schema that all the files have, and their rows.

    Args:
        needed: the types of columns that the view reads; those of CSV files are converted to them.

    Raises:
        InputError: if there are no such files, if one cannot be read, or if they do not have the same columns.
    """
    paths = _paths(Path(source.path))
    if all(path.endswith((".csv", ".csv.gz")) for path in paths):
        return _open_csv(paths, dict(source.types), needed)
    schema = _one_schema({path: _parquet_schema(path) for path in paths})
    return schema, (table.select(schema.names) for path in paths for table in _parquet(path))


def _paths(path: Path) -> list[str]:
    """The files that a path or glob names, in order."""
    start = Path(path.anchor)
    found = [path] if path.is_file() else [*start.glob(str(path.relative_to(start)))] if path.name else []
    files = sorted(str(one) for one in found if one.is_file())
    if not files:
        raise InputError("there is no such file", where=f"labels {path}", remedy=_FILES, code="unreadable-labels")
    return files


def _parquet_schema(path: str) -> pa.Schema:
    try:
        return pq.read_schema(path).remove_metadata()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, f"no Parquet file: {error}") from error


def _parquet(path: str) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, str(error)) from error


def _one_schema(schemas: Mapping[str, pa.Schema]) -> pa.Schema:
    """The columns of the first file, which the others have in any order."""
    first, *others = schemas
    types = {column.name: column.type for column in schemas[first]}
    for path in others:
        found = {column.name: column.type for column in schemas[path]}
        for name in [*types, *found]:
            if found.get(name) != types.get(name):
                has = {file: f"{of[name]} in {file}" for file, of in ((first, types), (path, found)) if name in of}
                raise InputError(
                    "the files differ: it is " + ", ".join(has.values()) + (" only" if len(has) == 1 else ""),
                    where=f"labels column {name!r}",
                    remedy="write all files with the same columns and types",
                    code="unreadable-labels",
                )
    return schemas[first]


def _open_csv(
    paths: Sequence[str], types: dict[str, DType], needed: Mapping[str, DType]
) -> tuple[pa.Schema, Iterator[pa.Table]]:
    headers = {path: _csv(path).schema for path in paths}
    names = _one_schema(headers).names
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise InputError(
            "more than one column has this name", where=f"labels column {doubled[0]!r}", code="name-collision"
        )
    for name in types:
        if name not in names:
            raise InputError(
                "the files have no such column",
                where=f"labels column {name!r}",
                remedy=choices(name, names),
                code="missing-column",
            )
    wanted = {name: needed.get(name) or types.get(name, STRING) for name in names}
    schema = pa.schema([(name, arrow_type(dtype)) for name, dtype in wanted.items()])
    return schema, (table for path in paths for table in _typed_csv(path, wanted))


def _csv(path: str) -> pcsv.CSVStreamingReader:
    """The fields of a file as text."""
    try:
        with pcsv.open_csv(path) as header:
            names = header.schema.names
        return pcsv.open_csv(
            path,
            pcsv.ReadOptions(block_size=_BLOCK, use_threads=False),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, str(error)) from error


def _typed_csv(path: str, wanted: Mapping[str, DType]) -> Iterator[pa.Table]:
    row = 0
    try:
        for batch in _csv(path):
            columns = {name: _parsed(batch[name], dtype, f"{path}, column {name!r}") for name, dtype in wanted.items()}
            row += batch.num_rows
            yield pa.table(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, f"after {row} rows: {error}") from error


def _parsed(texts: pa.Array, dtype: DType, where: str) -> pa.Array:
    """The values that texts stand for."""
    if dtype == STRING:
        return texts
    trimmed = pc.utf8_trim_whitespace(texts)
    trimmed = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    try:
        if dtype.kind == "INT" and pc.any(pc.match_substring(trimmed, "x", ignore_case=True)).as_py():
            raise pa.ArrowInvalid("a number is not decimal")
        return trimmed.cast(arrow_type(dtype))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if dtype == TIMESTAMP and pc.any(pc.match_substring_regex(trimmed, _NAIVE)).as_py():
            raise InputError(
                f"a timestamp has no time zone: {error}",
                where=f"labels {where}",
                remedy="write 2026-01-31T12:00:00Z",
                code="naive-timestamp",
            ) from error
        raise InputError(
            f"a value is no {dtype}: {error}", where=f"labels {where}", remedy="correct the file", code="wrong-type"
        ) from error


def _unreadable(path: str, message: str) -> InputError:
    return InputError(message, where=f"labels {path}", remedy=_FILES, code="unreadable-labels")
