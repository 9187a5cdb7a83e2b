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
    """The profile of a group's rows."""
    keys = ", ".join(quote(key.name) for key in schema.keys)
    wanted = ["count(*) AS rows", f"count(DISTINCT {keys}) AS entities",
              f"count(DISTINCT {keys}, {FEATURE_TIMESTAMP}) AS instants"]  # fmt: skip
    for i, feature in enumerate(schema.features):
        column = quote(feature.name)
        wanted.append(f"count({column}) AS n{i}")
        if feature.dtype.is_numeric:
            wanted += [f"min({column}) AS min{i}", f"max({column}) AS max{i}", f"avg({column}) AS mean{i}"]
            wanted.append(f"histogram_numeric(CAST({column} AS DOUBLE), {BINS}) AS bins{i}")
    found = rows.selectExpr(*wanted).first()
    assert found is not None
    values = found.asDict()
    return Profile(
        rows=values["rows"],
        entities=values["entities"],
        duplicates=values["rows"] - values["instants"],
        features=tuple(_feature(feature.name, i, values) for i, feature in enumerate(schema.features)),
    )


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
        histogram=tuple((bin["x"], bin["y"]) for bin in values.get(f"bins{i}") or []),
    )
