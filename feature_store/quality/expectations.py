"""Expectations of a group, judged by great_expectations on the evidence of a run.

The numbers come from all rows, from the Spark aggregates that every run computes; great_expectations gets them as a
table of one row, so a verdict costs milliseconds however large the data are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from feature_store.duration import SECOND
from feature_store.errors import QualityError
from feature_store.offline.profile import FeatureProfile
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.plan.schema import Column

if TYPE_CHECKING:
    from feature_store.offline.audit import Evidence

Check = Literal["unique_key", "null_rate", "range", "set", "row_count", "source_freshness", "overflow"]

_FEWEST_PARTITIONS = 3
"""How many partitions make a median that a partition can be compared with."""


@dataclass(frozen=True)
class Expected:
    """One bound on one number of a run.

    Args:
        subject: the feature or source it is about; empty for the group as a whole.
        statistic: the name of the number.
        measure: finds the number; None if there is none.
        required: a number that is not there breaks the expectation.
    """

    check: Check
    subject: str
    statistic: str
    low: float | None
    high: float | None
    blocking: bool
    measure: Callable[[Evidence], float | None] = field(repr=False)
    required: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether an expectation held, and the number it was judged by."""

    expected: Expected
    observed: float | None
    passed: bool

    @property
    def name(self) -> str:
        """What was judged: "user_order_count null_rate", or the rows that repeat a key and time."""
        return f"{self.expected.subject} {self.expected.statistic}".strip()

    def __str__(self) -> str:
        bound = self.expected
        low = f"{bound.low:g} <= " if bound.low is not None else ""
        high = f" <= {bound.high:g}" if bound.high is not None else ""
        return f"{self.name}: expected {low}x{high}, found {self.observed if self.observed is not None else 'no value'}"


def expectations(plan: GroupPlan) -> tuple[Expected, ...]:
    """What is expected of a group: unique keys per timestamp, and what it and its features say."""
    found = [Expected("unique_key", "", "duplicates", 0, 0, True, lambda evidence: evidence.profile.duplicates)]
    for i, feature in enumerate(plan.schema.features):
        found += _of_feature(i, feature)
    rows, source = plan.group.expect_rows, plan.group.expect_source
    if rows is not None:
        share = "rows, as a share of recent partitions'"
        found.append(Expected("row_count", "", share, rows.low, rows.high, rows.blocking, _share_of_recent))
    if source is not None:
        age = source.age_size / SECOND
        for i, name in enumerate(source.name for source in plan.sources):
            measure = _measure_of_source(i)
            found.append(Expected("source_freshness", name, "age (s)", None, age, source.blocking, measure, True))
    return (*found, *_of_overflow(plan))


def checks(plan: GroupPlan) -> dict[Check, bool]:
    """The kinds of checks a group has, each once, and whether one of the kind is blocking."""
    found: dict[Check, bool] = {}
    for expected in expectations(plan):
        found[expected.check] = found.get(expected.check, False) or expected.blocking
    return found


def judge(plan: GroupPlan, evidence: Evidence) -> tuple[Verdict, ...]:
    """The verdict on every expectation of a group; a bound on a run without values holds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
    from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull

    wanted = expectations(plan)
    observed = [expected.measure(evidence) for expected in wanted]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    bounds = [
        ExpectColumnValuesToBeBetween(column=str(i), min_value=expected.low, max_value=expected.high)
        for i, expected in enumerate(wanted)
    ]
    there = [ExpectColumnValuesToNotBeNull(column=str(i)) for i, expected in enumerate(wanted) if expected.required]
    suite = gx.ExpectationSuite(name=plan.group.id, expectations=[*bounds, *there])
    frame = pd.DataFrame([observed], columns=[str(i) for i in range(len(wanted))]).astype(float)
    result = context.data_sources.pandas_default.read_dataframe(frame).validate(suite)
    broken = {
        int(outcome.expectation_config.kwargs["column"])
        for outcome in result.results
        if outcome.expectation_config is not None and not outcome.success
    }
    return tuple(
        Verdict(expected, None if number is None else float(number), i not in broken)
        for i, (expected, number) in enumerate(zip(wanted, observed, strict=True))
    )


def refuse_failures(plan: GroupPlan, verdicts: tuple[Verdict, ...]) -> None:
    """Raises for the verdicts that failed; warnings are none of them.

    Raises:
        QualityError: with every blocking expectation that did not hold.
    """
    failed = [str(verdict) for verdict in verdicts if not verdict.passed and verdict.expected.blocking]
    if failed:
        raise QualityError(
            "; ".join(failed),
            where=f"group {plan.group.id}",
            remedy="nothing was published: correct the source or the expectation, run the partition again",
            code="expectation",
        )


def _of_feature(i: int, feature: Column) -> Iterator[Expected]:
    sets = 0
    for bounds in feature.expect:
        blocking = bounds.blocking
        if bounds.null_rate is not None:
            measure = _measure(i, lambda found: found.null_rate)
            yield Expected("null_rate", feature.name, "null_rate", None, bounds.null_rate, blocking, measure)
        if bounds.min is not None:
            measure = _measure(i, lambda found: found.minimum)
            yield Expected("range", feature.name, "minimum", bounds.min, None, blocking, measure)
        if bounds.max is not None:
            measure = _measure(i, lambda found: found.maximum)
            yield Expected("range", feature.name, "maximum", None, bounds.max, blocking, measure)
        if bounds.values is not None:
            measure = _measure(i, lambda found, j=sets: found.strays[j])  # type: ignore[misc]
            yield Expected("set", feature.name, "unexpected values", None, 0, blocking, measure)
            sets += 1


def _of_overflow(plan: GroupPlan) -> Iterator[Expected]:
    """How much may be lost because an INT does not fit 64 bits: of the values of a feature, and of the rows read."""
    share, places = plan.group.overflow_share, {feature.name: i for i, feature in enumerate(plan.schema.features)}
    for name in plan.overflows:
        measure = _measure(places[name], lambda found: found.overflow_rate)
        yield Expected("overflow", name, "overflow_rate", None, share, True, measure)
    if isinstance(plan.rows, WindowedRows) and event_inputs(plan.rows).overflow is not None:
        source = plan.rows.source.name
        yield Expected(
            "overflow", source, "overflow_rate", None, share, True, lambda found: found.inputs[0].overflow_rate
        )


def _measure(i: int, of: Callable[[FeatureProfile], float | None]) -> Callable[[Evidence], float | None]:
    """A number of the profile of one feature."""
    return lambda evidence: of(evidence.profile.features[i])


def _measure_of_source(i: int) -> Callable[[Evidence], float | None]:
    return lambda evidence: evidence.inputs[i].age


def _share_of_recent(evidence: Evidence) -> float | None:
    if len(evidence.recent_rows) < _FEWEST_PARTITIONS:
        return None
    return evidence.profile.rows / evidence.partitions / median(evidence.recent_rows)
