"""What a run adds to a table's history: the difference between the rows it computed and those that stand.

Rows are only ever added. A row that comes out as it stands is left alone, with the created_timestamp it has; one that
is missing or different is added, and one that should not be there is taken back by a row with `retracted`, each newer
than all rows of its entity and feature_timestamp. So the table tells at any instant what was known then, after any
number of computations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import FLOAT, DType, to_micros
from feature_store.offline.standing import newest_sql
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TOLERANCE = 1e-9
"""How far two floats may be apart, relative to the greater: engines add in different orders."""


@dataclass(frozen=True)
class Consistency:
    """Computed rows against those that stood, row for row (entity and feature timestamp).

    Args:
        batch: rows that were computed.
        stored: rows that stood there.
        missing: computed rows that were not there.
        extra: rows that were there and were not computed.
        mismatched: rows of both with another value in at least one feature.
        by_feature: for each feature, in how many rows of both its value differed.
    """

    batch: int
    stored: int
    missing: int
    extra: int
    mismatched: int
    by_feature: dict[str, int]

    @property
    def corrected(self) -> int:
        """How many rows were added to the table: those missing, the right values of wrong ones, and retractions."""
        return self.missing + self.extra + self.mismatched

    @property
    def rate(self) -> float:
        """Share of all rows that were right: 1 is perfect."""
        return self._share(self.corrected)

    @property
    def rates(self) -> dict[str, float]:
        """For each feature the share of all rows that were there with its right value."""
        return {name: self._share(self.missing + self.extra + count) for name, count in self.by_feature.items()}

    def _share(self, wrong: int) -> float:
        rows = self.batch + self.extra
        return 1.0 - wrong / rows if rows else 1.0


def all_missing(schema: GroupSchema, rows: int) -> Consistency:
    """The comparison of computed rows with a span that had none."""
    by_feature = {feature.name: 0 for feature in schema.features}
    return Consistency(rows, 0, missing=rows, extra=0, mismatched=0, by_feature=by_feature)


def compare(schema: GroupSchema, computed: DataFrame, table: str, where: str) -> DataFrame:
    """Every row that was computed or is stored, with the computed values, and how it differs from what stands.

    Args:
        computed: the rows that should stand where the condition holds.
        table: the stored rows, as it stands after FROM in Spark SQL.
        where: which of the stored rows: a condition on the keys and feature_timestamp.
    """
    keys = [key.name for key in schema.keys]
    place = [quote(name) for name in (*keys, FEATURE_TIMESTAMP)]
    counted = computed.selectExpr("*", f"count(*) OVER (PARTITION BY {', '.join(place)}) AS _copies")
    names = [quote(feature.name) for feature in schema.features]
    differences = (
        f"_in_batch AND _in_stored AND NOT {_equal(f.dtype, f'_b.{name}', f'_s.{name}')} AS _differs_{i}"
        for i, (f, name) in enumerate(zip(schema.features, names, strict=True))
    )
    joined = computed.sparkSession.sql(
        f"SELECT {', '.join(f'coalesce(b.{name}, s.{name}) AS {name}' for name in place)}, "
        f"b.{FEATURE_TIMESTAMP} IS NOT NULL AS _in_batch, "
        f"s.{FEATURE_TIMESTAMP} IS NOT NULL AND NOT coalesce(s.{RETRACTED}, FALSE) AS _in_stored, "
        f"coalesce(b._copies, 1) > 1 AS _repeated, s.{CREATED_TIMESTAMP} AS _stored_at, "
        f"struct({', '.join(f'b.{name}' for name in names)}) AS _b, "
        f"struct({', '.join(f's.{name}' for name in names)}) AS _s "
        f"FROM {{computed}} b FULL OUTER JOIN ({newest_sql(table, keys, where)}) s "
        f"ON {' AND '.join(f'b.{name} = s.{name}' for name in place)}",
        computed=counted,
    )
    flags = ("_in_batch", "_in_stored", "_repeated", "_stored_at")
    return joined.selectExpr(*place, *flags, *(f"_b.{name} AS {name}" for name in names), *differences)


def count(schema: GroupSchema, compared: DataFrame) -> Consistency:
    """What a comparison has found."""
    wanted = [
        "count_if(_in_batch) AS batch",
        "count_if(_in_stored) AS stored",
        "count_if(_in_batch AND NOT _in_stored) AS missing",
        "count_if(_in_stored AND NOT _in_batch) AS extra",
        f"count_if(_in_batch AND _in_stored AND {_differs(schema)}) AS mismatched",
        *(f"count_if(_differs_{i}) AS d{i}" for i in range(len(schema.features))),
    ]
    counts = compared.selectExpr(*wanted).first()
    assert counts is not None
    by_feature = {feature.name: counts[f"d{i}"] for i, feature in enumerate(schema.features)}
    names = ("batch", "stored", "missing", "extra", "mismatched")
    return Consistency(by_feature=by_feature, **{name: counts[name] for name in names})


def additions(schema: GroupSchema, compared: DataFrame, columns: Sequence[str]) -> DataFrame:
    """The rows that make what was compared stand as it was computed, with the columns of the table.

    Each is created now, and in any case after what it replaces, whatever the clocks of others said.
    """
    wrong = compared.where(f"_in_batch <> _in_stored OR {_differs(schema)}")
    created = f"greatest({_now()}, _stored_at + INTERVAL 1 MICROSECOND)"
    return _as_stored(schema, wrong, columns, created, "CASE WHEN NOT _in_batch THEN TRUE END")


def first_rows(schema: GroupSchema, computed: DataFrame, columns: Sequence[str]) -> DataFrame:
    """Rows of a span that has none yet, with the columns of the table, created now."""
    return _as_stored(schema, computed, columns, _now(), "NULL")


def _as_stored(schema: GroupSchema, rows: DataFrame, columns: Sequence[str], created: str, retracted: str) -> DataFrame:
    """Rows with all columns of a table; NULL where it has a feature of old."""
    present = {*(key.name for key in schema.keys), FEATURE_TIMESTAMP, *(feature.name for feature in schema.features)}
    values = {name: quote(name) if name in present else "NULL" for name in columns}
    values |= {CREATED_TIMESTAMP: created, RETRACTED: retracted}
    return rows.selectExpr(*(f"{value} AS {quote(name)}" for name, value in values.items()))


def _now() -> str:
    return f"timestamp_micros({to_micros(datetime.now(UTC))})"


def _differs(schema: GroupSchema) -> str:
    """A row differs in some value, or there are several of its place, which an audit should see."""
    return "(" + " OR ".join(["_repeated", *(f"_differs_{i}" for i in range(len(schema.features)))]) + ")"


def _equal(dtype: DType, left: str, right: str) -> str:
    if dtype == FLOAT:
        return f"({left} <=> {right} OR coalesce({_near(left, right)}, FALSE))"
    if dtype.item == FLOAT:
        pairs = f"zip_with({left}, {right}, (a, b) -> a <=> b OR coalesce({_near('a', 'b')}, FALSE))"
        return f"({left} <=> {right} OR coalesce(size({left}) = size({right}) AND forall({pairs}, x -> x), FALSE))"
    return f"({left} <=> {right})"


def _near(left: str, right: str) -> str:
    return f"abs({left} - {right}) <= {TOLERANCE}D * greatest(abs({left}), abs({right}))"
