"""Sources as Spark views: checked against the definition, typed, cut to the span, and their oddities counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feature_store.compile.spark_expressions import literal, odd_sql, quote, spark_sql, spark_type
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import TIMESTAMP
from feature_store.duration import SECOND
from feature_store.errors import InputError, choices
from feature_store.offline.catalog import CATALOG
from feature_store.offline.standing import key_columns, standing_sql
from feature_store.plan.event_inputs import event_inputs, inlined
from feature_store.plan.expression_nodes import Expression, column, finite
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.plan.schema import RETRACTED
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_READS_AS: dict[str, tuple[str, ...]] = {
    "STRING": ("string", "varchar", "char"),
    "INT": ("tinyint", "smallint", "int", "bigint"),
    "FLOAT": ("float", "double", "decimal", "tinyint", "smallint", "int", "bigint"),
    "BOOL": ("boolean",),
    "TIMESTAMP": ("timestamp",),
}
_WITH_OFFSET = r"(Z|[+-]\\d{2}:?\\d{2})$"


@dataclass(frozen=True)
class InputCounts:
    """What a run read from one source, and what of it did not count.

    `age` is how long (seconds) before the end of what was read its newest row is; None if there is no row at all.
    `overflowed` rows were left out because an expression of the group does not fit 64 bits on them.
    """

    source: str
    rows: int
    null_timestamps: int
    null_keys: int
    non_finite: int
    age: float | None
    overflowed: int = 0

    @property
    def overflow_rate(self) -> float:
        """The share of the rows that were left out because something overflows."""
        return self.overflowed / self.rows if self.rows else 0.0


def open_sources(
    spark: SparkSession,
    settings: Settings,
    plan: GroupPlan,
    after: int | None,
    until: int,
    snapshots: Mapping[str, int],
) -> tuple[InputCounts, ...]:
    """Opens the sources of a group (`open_source`), each at a snapshot if one is given."""
    overflow = event_inputs(plan.rows).overflow if isinstance(plan.rows, WindowedRows) else None
    return tuple(
        open_source(spark, settings, source, plan.keys, after, until, snapshots.get(source.name), overflow)
        for source in plan.sources
    )


def open_source(
    spark: SparkSession,
    settings: Settings,
    source: BatchSource,
    keys: tuple[str, ...],
    after: int | None,
    until: int,
    snapshot: int | None = None,
    overflow: Expression | None = None,
) -> InputCounts:
    """Registers a source as a view of its name, with the rows of `[after, until)` (microseconds), and counts them.

    Of an Iceberg table the rows are those of a snapshot, the newest unless given; of a group's those that stand. Rows
    are counted as `overflowed` where the condition `overflow` holds.

    The counts are an aggregate of their own: Spark's observations are lost where it finds a branch to be empty.

    Raises:
        InputError: if the source is not there, lacks a column, or has one of another type or without a time zone.
    """
    raw = _read(spark, settings, source, snapshot)
    typed = raw.selectExpr(*(_typed(source, raw, name) for name in source.schema))
    time = quote(source.event_timestamp)
    bounds = [f"{time} < timestamp_micros({until})"]
    bounds += [f"{time} >= timestamp_micros({after})"] if after is not None else []
    rows = typed.where(f"{time} IS NULL OR ({' AND '.join(bounds)})")
    rows.createOrReplaceTempView(source.name)
    odd = " + ".join(filter(None, (odd_sql(quote(name), dtype) for name, dtype in source.schema.items()))) or "0"
    unkeyed = " OR ".join(f"{quote(key)} IS NULL" for key in keys if key in source.schema) or "FALSE"
    counts = rows.selectExpr(
        "count(*) AS rows",
        f"count_if({time} IS NULL) AS null_timestamps",
        f"count_if({unkeyed}) AS null_keys",
        f"coalesce(sum({odd}), 0) AS non_finite",
        f"count_if({_left_out(source, time, unkeyed, overflow)}) AS overflowed",
        newest := f"unix_micros(max({time})) AS newest",
    ).first()
    assert counts is not None
    found = counts.asDict()
    if found["newest"] is None and after is not None:  # it may be older than all that counts
        (found["newest"],) = typed.where(bounds[0]).selectExpr(newest).first() or (None,)
    last = found.pop("newest")
    return InputCounts(source=source.name, **found, age=None if last is None else (until - last) / SECOND)


def _left_out(source: BatchSource, time: str, unkeyed: str, overflow: Expression | None) -> str:
    """The condition that a row is left out because something overflows, were it not for another reason."""
    if overflow is None:
        return "FALSE"
    finite_columns = {name: finite(column(name, dtype)) for name, dtype in source.schema.items()}
    return f"{time} IS NOT NULL AND NOT ({unkeyed}) AND {spark_sql(inlined(overflow, finite_columns))}"


def typed_columns(
    spark: SparkSession, settings: Settings, source: BatchSource, names: Iterable[str], *others: str
) -> DataFrame:
    """Columns of all rows of a source as the definition's types, and other expressions over what is read.

    Raises:
        InputError: if the source is not there, or one of the columns is not as the definition says.
    """
    raw = _read(spark, settings, source, None)
    return raw.selectExpr(*(_typed(source, raw, name) for name in names), *others)


def list_files(spark: SparkSession, settings: Settings, source: BatchSource) -> DataFrame:
    """The `path`, `length` and `modificationTime` of the files that a source consists of; none is opened.

    Raises:
        InputError: if there is nothing at its path.
    """
    assert source.path is not None
    with reading(source):
        files = spark.read.format("binaryFile").load(data_path(settings, source.path))
        return files.select("path", "length", "modificationTime").coalesce(int(settings.spark_partitions))


def _read(spark: SparkSession, settings: Settings, source: BatchSource, snapshot: int | None) -> DataFrame:
    with reading(source):
        if source.table is not None:
            table = ".".join(map(quote, [CATALOG, *source.table.split(".")]))
            version = "" if snapshot is None else f" VERSION AS OF {snapshot}"
            return _read_table(spark, f"{table}{version}", of_group=bool(source.of_group))
        if source.path is not None:
            path = data_path(settings, source.path)
            return spark.read.csv(path, header=True) if _is_csv(source.path) else spark.read.parquet(path)
        assert source.jdbc is not None
        database, *names = source.jdbc.split(".")
        table = ".".join(map(postgres_name, names))
        options = {"url": settings.jdbc_url(database), "dbtable": table, "driver": "org.postgresql.Driver"}
        credentials = {"user": settings.pg_user, "password": settings.pg_password}
        # A timestamp without time zone must show as one, to be refused, and not be read as UTC.
        reader = spark.read.format("jdbc").options(**options, **credentials, fetchsize="10000")
        return reader.option("preferTimestampNTZ", "true").load()


def postgres_name(name: str) -> str:
    """A name as a Postgres identifier."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def reading(source: BatchSource) -> Iterator[None]:
    """Says of what goes wrong inside that the source cannot be read."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"cannot read {source.location}: {str(error).splitlines()[0]}",
            where=f"source {source.name}",
            remedy="check the name, and that the data were loaded",
            code="source",
        ) from error


def _read_table(spark: SparkSession, table: str, *, of_group: bool) -> DataFrame:
    """The rows of an Iceberg table; of a group's table those that stand."""
    rows = spark.sql(f"SELECT * FROM {table}")
    if not of_group or RETRACTED not in rows.columns:  # before tables had it, they had one version of each row
        return rows
    return spark.sql(standing_sql(table, key_columns(rows.columns)))


def data_path(settings: Settings, path: str) -> str:
    """Where files of a source are: absolute paths and URLs as they are, others below the store's data root."""
    return path if "://" in path or Path(path).is_absolute() else str(settings.data_root / path)


def _is_csv(path: str) -> bool:
    return path.endswith((".csv", ".csv.gz"))


def _typed(source: BatchSource, raw: DataFrame, name: str) -> str:
    """A column as the definition's type, or the error that says why it is not."""
    dtype = source.schema[name]
    present = {field.name: field.dataType.simpleString() for field in raw.schema}
    where = f"source {source.name}, column {name!r}"
    if name not in present:
        raise InputError(f"{source.location} has no such column", where=where,
                         remedy=choices(name, present), code="unknown-column")  # fmt: skip
    found = present[name]
    column = quote(name)
    if source.path is not None and _is_csv(source.path):
        if dtype == TIMESTAMP:
            naive = f"raise_error(concat({literal(f'{where}: no time zone in ')}, {column}))"
            column = f"CASE WHEN {column} IS NULL OR {column} RLIKE '{_WITH_OFFSET}' THEN {column} ELSE {naive} END"
        return f"CAST({column} AS {spark_type(dtype)}) AS {quote(name)}"
    if found == "timestamp_ntz":
        raise InputError("the timestamps have no time zone", where=where,
                         remedy="store instants: timestamp with time zone, UTC", code="naive-timestamp")  # fmt: skip
    accepted = _READS_AS.get(dtype.kind, ("array",))
    if found.split("(")[0].split("<")[0] not in accepted:
        raise InputError(f"the type is {found}, the definition says {dtype}", where=where,
                         remedy=f"declare the type the column has, or store one of: {', '.join(accepted)}",
                         code="source-type")  # fmt: skip
    return f"CAST({column} AS {spark_type(dtype)}) AS {quote(name)}"
