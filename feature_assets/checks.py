"""Asset checks: the expectations of a group, by kind, with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from feature_store.plan.schema import GroupSchema
from feature_store.quality.expectations import Verdict, checks

_DESCRIPTIONS = {
    "unique_key": "No entity has two rows at one feature timestamp.",
    "null_rate": "No feature has more NULLs than expected.",
    "range": "All values lie within their expected bounds.",
}


def check_specs(key: dg.AssetKey, schema: GroupSchema) -> list[dg.AssetCheckSpec]:
    """The checks of a group's offline asset; a failure stops what comes after it."""
    return [
        dg.AssetCheckSpec(check, asset=key, description=_DESCRIPTIONS[check], blocking=True) for check in checks(schema)
    ]


def check_results(key: dg.AssetKey, verdicts: Sequence[Verdict]) -> Iterator[dg.AssetCheckResult]:
    """One result for each kind of check; its metadata has every number that was judged."""
    for check in dict.fromkeys(verdict.expected.check for verdict in verdicts):
        of_check = [verdict for verdict in verdicts if verdict.expected.check == check]
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=check,
            passed=all(verdict.passed for verdict in of_check),
            metadata=_metadata(of_check),
        )


def _metadata(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What was expected and found as a table, and each number by itself, which Dagster then plots over time."""
    records = [
        dg.TableRecord({"expectation": str(verdict), "held": "yes" if verdict.passed else "NO"}) for verdict in verdicts
    ]
    found = {verdict.name: verdict.observed for verdict in verdicts if verdict.observed is not None}
    return {"expectations": dg.MetadataValue.table(records), **found}
