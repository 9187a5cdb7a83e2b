"""Expectations of a group, judged by great_expectations on the profile of a run.

The numbers come from all rows, from the one Spark aggregate that every run computes; great_expectations gets them as a
table of one row, so a verdict costs milliseconds however large the data are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from feature_store.errors import QualityError
from feature_store.offline.profile import FeatureProfile, Profile
from feature_store.plan.schema import GroupSchema

Check = Literal["null_rate", "range", "unique_key"]

_UNIQUE = "unique_key:duplicates"


@dataclass(frozen=True)
class Expected:
    """One bound on one number of a profile; `feature` is empty for the group as a whole."""

    check: Check
    feature: str
    statistic: str
    low: float | None
    high: float | None

    @property
    def column(self) -> str:
        return f"{self.feature}:{self.statistic}" if self.feature else _UNIQUE


@dataclass(frozen=True)
class Verdict:
    """Whether an expectation held, and the number it was judged by."""

    expected: Expected
    observed: float | None
    passed: bool

    @property
    def name(self) -> str:
        """What was judged: "user_order_count null_rate", or the rows that repeat a key and time."""
        return f"{self.expected.feature} {self.expected.statistic}".strip()

    def __str__(self) -> str:
        bound = self.expected
        low = f"{bound.low:g} <= " if bound.low is not None else ""
        high = f" <= {bound.high:g}" if bound.high is not None else ""
        return f"{self.name}: expected {low}x{high}, found {self.observed if self.observed is not None else 'no value'}"


def expectations(schema: GroupSchema) -> tuple[Expected, ...]:
    """What is expected of a group: unique keys per timestamp, and what its features say."""
    found = [Expected("unique_key", "", "duplicates", 0, 0)]
    for feature in schema.features:
        bounds = feature.expect
        if bounds is None:
            continue
        if bounds.null_rate is not None:
            found.append(Expected("null_rate", feature.name, "null_rate", None, bounds.null_rate))
        if bounds.min is not None:
            found.append(Expected("range", feature.name, "minimum", bounds.min, None))
        if bounds.max is not None:
            found.append(Expected("range", feature.name, "maximum", None, bounds.max))
    return tuple(found)


def checks(schema: GroupSchema) -> tuple[Check, ...]:
    """The kinds of checks a group has, each once."""
    return tuple(dict.fromkeys(expected.check for expected in expectations(schema)))


def judge(schema: GroupSchema, profile: Profile) -> tuple[Verdict, ...]:
    """The verdict on every expectation of a group; a bound on a run without values holds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween

    wanted = expectations(schema)
    observed = {expected.column: _observed(profile, expected) for expected in wanted}
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(
        name=schema.id,
        expectations=[
            ExpectColumnValuesToBeBetween(column=e.column, min_value=e.low, max_value=e.high) for e in wanted
        ],
    )
    frame = pd.DataFrame([observed]).astype(float)
    result = context.data_sources.pandas_default.read_dataframe(frame).validate(suite)
    passed = {
        outcome.expectation_config.kwargs["column"]: bool(outcome.success)
        for outcome in result.results
        if outcome.expectation_config is not None
    }
    return tuple(Verdict(expected, observed[expected.column], passed[expected.column]) for expected in wanted)


def refuse_failures(schema: GroupSchema, verdicts: tuple[Verdict, ...]) -> None:
    """Raises for the verdicts that failed.

    Raises:
        QualityError: with every expectation that did not hold.
    """
    failed = [str(verdict) for verdict in verdicts if not verdict.passed]
    if failed:
        raise QualityError(
            "; ".join(failed),
            where=f"group {schema.id}",
            remedy="nothing was written or published: correct the source or the expectation, run the partition again",
            code="expectation",
        )


def _observed(profile: Profile, expected: Expected) -> float | None:
    if not expected.feature:
        return float(profile.duplicates)
    feature: FeatureProfile = next(f for f in profile.features if f.name == expected.feature)
    value = getattr(feature, expected.statistic)
    return float(value) if value is not None else None
