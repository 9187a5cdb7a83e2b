"""Asset checks: the schema and the expectations of a group, by kind, with what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_store.errors import FeatureStoreError
from feature_store.plan.nodes import GroupPlan
from feature_store.quality.expectations import Verdict, checks, judge, refuse_failures

if TYPE_CHECKING:
    from feature_store.offline.audit import Evidence

SCHEMA = "schema"
_DESCRIPTIONS = {
    SCHEMA: "The table has the columns and types of the definition.",
    "unique_key": "No entity has two rows at one feature timestamp.",
    "null_rate": "No feature has more NULLs than expected.",
    "range": "All values lie within their expected bounds.",
    "set": "All values are among those that are expected.",
    "row_count": "There are about as many rows as in recent partitions.",
    "overflow": "Hardly any value or row is lost because an INT does not fit 64 bits.",
    "source_freshness": "The sources have rows up to the end of the partition.",
}


def check_specs(key: dg.AssetKey, plan: GroupPlan) -> list[dg.AssetCheckSpec]:
    """The checks of a group's offline asset; what is not just a warning stops what comes after it."""
    return [
        dg.AssetCheckSpec(check, asset=key, description=_DESCRIPTIONS[check], blocking=blocking)
        for check, blocking in ((SCHEMA, True), *checks(plan).items())
    ]


class RunAudit:
    """The audit of one run: judges it, and reports the checks to Dagster, whatever becomes of the run."""

    def __init__(self, key: dg.AssetKey, plan: GroupPlan) -> None:
        self._key = key
        self._plan = plan
        self._verdicts: tuple[Verdict, ...] = ()
        self._branch = ""

    def __call__(self, evidence: Evidence) -> None:
        self._branch = evidence.branch
        self._verdicts = judge(self._plan, evidence)
        refuse_failures(self._plan, self._verdicts)

    def results(self, error: FeatureStoreError | None = None) -> Iterator[dg.AssetCheckResult]:
        """One result for each kind of check that was made; its metadata has every number that was judged."""
        if error is None or self._verdicts:
            columns = {"columns": len(self._plan.schema.features) + len(self._plan.keys) + 2}
            yield dg.AssetCheckResult(asset_key=self._key, check_name=SCHEMA, passed=True, metadata=columns)
        elif error.code == "type-change":
            found = {"found": str(error)}
            yield dg.AssetCheckResult(asset_key=self._key, check_name=SCHEMA, passed=False, metadata=found)
        where = {"rows are on branch": self._branch} if error is not None and self._branch else {}
        for check in dict.fromkeys(verdict.expected.check for verdict in self._verdicts):
            of_check = [verdict for verdict in self._verdicts if verdict.expected.check == check]
            broken = [verdict for verdict in of_check if not verdict.passed]
            stops = not broken or any(verdict.expected.blocking for verdict in broken)
            yield dg.AssetCheckResult(
                asset_key=self._key,
                check_name=check,
                passed=not broken,
                severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
                metadata=_metadata(of_check) | where,
            )


def _metadata(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What was expected and found as a table, and each number by itself, which Dagster then plots over time."""
    records = [dg.TableRecord({"expectation": str(verdict), "held": _held(verdict)}) for verdict in verdicts]
    found = {verdict.name: verdict.observed for verdict in verdicts if verdict.observed is not None}
    return {"expectations": dg.MetadataValue.table(records), **found}


def _held(verdict: Verdict) -> str:
    if verdict.passed:
        return "yes"
    return "NO" if verdict.expected.blocking else "no, a warning"
