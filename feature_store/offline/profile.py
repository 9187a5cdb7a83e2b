"""What a run's rows look like: counts, NULLs, bounds and distributions from one Spark aggregate, keys from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_store.compile.spark_expressions import literal, quote, spark_sql
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import FEATURE_TIMESTAMP, Column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BINS = 20


@dataclass(frozen=True)
class FeatureProfile:
    """One feature over all rows of a run; bounds, mean and histogram (centre, count) of numeric features only.

    `strays` counts, for each set of expected values, the rows with a value that is not in it; `overflows` those whose
    value is NULL because it does not fit 64 bits, None if there can be none.
    """

    name: str
    nulls: int
    null_rate: float
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    histogram: tuple[tuple[float, float], ...] = ()
    strays: tuple[int, ...] = ()
    overflows: int | None = None
    overflow_rate: float | None = None


@dataclass(frozen=True)
class Profile:
    """The rows of a run; `duplicates` counts rows beyond the first of an entity and feature timestamp."""

    rows: int
    entities: int
    duplicates: int
    features: tuple[FeatureProfile, ...]

    @property
    def null_rates(self) -> dict[str, float]:
        """By feature, the share of rows without a value."""
        return {feature.name: feature.null_rate for feature in self.features}


def profile_rows(rows: DataFrame, plan: GroupPlan) -> Profile:
    """The profile of a group's rows: one aggregate over the values and one over the keys."""
    from pyspark.sql.functions import col, count_distinct

    schema, overflows = plan.schema, plan.overflows
    wanted = ["count(*) AS rows"]
    for i, feature in enumerate(schema.features):
        column = quote(feature.name)
        wanted.append(f"count({column}) AS n{i}")
        if feature.dtype.is_numeric:
            wanted += [f"min({column}) AS min{i}", f"max({column}) AS max{i}", f"avg({column}) AS mean{i}"]
            wanted.append(f"histogram_numeric(CAST({column} AS DOUBLE), {BINS}) AS bins{i}")
        if feature.name in overflows:
            wanted.append(f"count_if({spark_sql(overflows[feature.name])}) AS overflows{i}")
        sets = [expected.values for expected in feature.expect if expected.values is not None]
        wanted += [f"count_if({_is_stray(feature, values)}) AS strays{i}_{j}" for j, values in enumerate(sets)]
    values = _only_row(rows.selectExpr(*wanted))
    of_keys = rows.groupBy(*(quote(key.name) for key in schema.keys)).agg(count_distinct(col(FEATURE_TIMESTAMP)))
    named = of_keys.toDF(*(f"key{i}" for i in range(len(schema.keys))), "n")  # a key may be called anything
    keys = _only_row(named.selectExpr("count(*) AS entities", "coalesce(sum(n), 0) AS instants"))
    return Profile(
        rows=values["rows"],
        entities=keys["entities"],
        duplicates=values["rows"] - keys["instants"],
        features=tuple(_feature(feature, i, values) for i, feature in enumerate(schema.features)),
    )


def _is_stray(feature: Column, values: Sequence[bool | int | str]) -> str:
    """The condition that a value (of a list: an item) is none of some."""
    among = ", ".join(literal(value) for value in values)
    if feature.dtype.item is None:
        return f"{quote(feature.name)} NOT IN ({among})"
    return f"exists({quote(feature.name)}, item -> item NOT IN ({among}))"


def _only_row(found: DataFrame) -> dict[str, Any]:
    row = found.first()
    assert row is not None
    return row.asDict()


def _feature(feature: Column, i: int, values: dict[str, Any]) -> FeatureProfile:
    rows = values["rows"]
    sets = sum(expected.values is not None for expected in feature.expect)
    nulls, overflows = rows - values[f"n{i}"], values.get(f"overflows{i}")
    return FeatureProfile(
        name=feature.name,
        nulls=nulls,
        null_rate=nulls / rows if rows else 0.0,
        minimum=values.get(f"min{i}"),
        maximum=values.get(f"max{i}"),
        mean=values.get(f"mean{i}"),
        histogram=tuple((bar["x"], bar["y"]) for bar in values.get(f"bins{i}") or []),
        strays=tuple(values[f"strays{i}_{j}"] for j in range(sets)),
        overflows=overflows,
        overflow_rate=overflows / rows if rows and overflows is not None else None,
    )
