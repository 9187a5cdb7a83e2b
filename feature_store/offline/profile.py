"""What a run's rows look like: counts, NULLs, bounds and distributions, all from one Spark aggregate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_store.compile.spark_expressions import quote
from feature_store.plan.schema import FEATURE_TIMESTAMP, GroupSchema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BINS = 20


@dataclass(frozen=True)
class FeatureProfile:
    """One feature over all rows of a run; bounds, mean and histogram (centre, count) of numeric features only."""

    name: str
    nulls: int
    null_rate: float
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    histogram: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Profile:
    """The rows of a run; `duplicates` counts rows beyond the first of an entity and feature timestamp."""

    rows: int
    entities: int
    duplicates: int
    features: tuple[FeatureProfile, ...]


def profile_rows(rows: DataFrame, schema: GroupSchema) -> Profile:
    """The profile of a group's rows: one aggregate over the values and one over the keys."""
    from pyspark.sql.functions import col, count_distinct

    wanted = ["count(*) AS rows"]
    for i, feature in enumerate(schema.features):
        column = quote(feature.name)
        wanted.append(f"count({column}) AS n{i}")
        if feature.dtype.is_numeric:
            wanted += [f"min({column}) AS min{i}", f"max({column}) AS max{i}", f"avg({column}) AS mean{i}"]
            wanted.append(f"histogram_numeric(CAST({column} AS DOUBLE), {BINS}) AS bins{i}")
    values = _only_row(rows.selectExpr(*wanted))
    of_keys = rows.groupBy(*(quote(key.name) for key in schema.keys)).agg(
        count_distinct(col(FEATURE_TIMESTAMP)).alias("n")
    )
    keys = _only_row(of_keys.selectExpr("count(*) AS entities", "coalesce(sum(n), 0) AS instants"))
    return Profile(
        rows=values["rows"],
        entities=keys["entities"],
        duplicates=values["rows"] - keys["instants"],
        features=tuple(_feature(feature.name, i, values) for i, feature in enumerate(schema.features)),
    )


def _only_row(found: DataFrame) -> dict[str, Any]:
    row = found.first()
    assert row is not None
    return row.asDict()


def _feature(name: str, i: int, values: dict[str, Any]) -> FeatureProfile:
    rows = values["rows"]
    nulls = rows - values[f"n{i}"]
    return FeatureProfile(
        name=name,
        nulls=nulls,
        null_rate=nulls / rows if rows else 0.0,
        minimum=values.get(f"min{i}"),
        maximum=values.get(f"max{i}"),
        mean=values.get(f"mean{i}"),
        histogram=tuple((bar["x"], bar["y"]) for bar in values.get(f"bins{i}") or []),
    )
