"""The skew report of each view: what was served beside what models are trained on, every night and on demand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.jobs import AssetJob
from feature_assets.keys import online_key, skew_key
from feature_store.dsl.view import FeatureView
from feature_store.dsl.viewed_group import as_viewed
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.skew.report import SkewReport

SKEW_REPORTS = "skew_reports"
CONSISTENT, DISTRIBUTED = "served_equals_training", "served_like_training"


def skew_check_keys(view: FeatureView) -> list[dg.AssetCheckKey]:
    """The checks of a view's skew report."""
    return [dg.AssetCheckKey(skew_key(view), name) for name in (CONSISTENT, DISTRIBUTED)]


def skew_asset(view: FeatureView) -> dg.AssetsDefinition:
    """The asset: each run compares the newest sample of what servers have answered with the offline store."""
    key = skew_key(view)
    groups = {as_viewed(group).group.id: as_viewed(group).group for group in view.groups}

    @dg.asset(
        key=key,
        deps=[online_key(group) for group in groups.values()],
        description=f"Features of {view.id} in serving and in training, and served values joined again.",
        group_name="skew",
        owners=[view.owner],
        kinds={"python"},
        check_specs=[
            dg.AssetCheckSpec(CONSISTENT, asset=key, description="Each served value is that of training."),
            dg.AssetCheckSpec(DISTRIBUTED, asset=key, description="No feature is spread otherwise than in training."),
        ],
    )
    def report_skew(store: FeatureStoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows it so
        report = store.report_skew(view.id)
        return dg.MaterializeResult(metadata=skew_metadata(report), check_results=skew_verdicts(report))

    return report_skew


def skew_jobs(views: Sequence[FeatureView]) -> list[AssetJob]:
    """The job that reports the skew of all views; none if there are none."""
    if not views:
        return []
    return [
        dg.define_asset_job(
            SKEW_REPORTS,
            selection=dg.AssetSelection.assets(*map(skew_key, views)),
            description="Compare what servers have answered with what models are trained on, view by view.",
        )
    ]


def skew_schedules(views: Sequence[FeatureView]) -> list[dg.ScheduleDefinition]:
    """Every night at 04:15 UTC, when the daily groups have been computed and the tables kept up."""
    if not views:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{SKEW_REPORTS}_schedule",
            job_name=SKEW_REPORTS,
            cron_schedule="15 4 * * *",
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    ]


def skew_verdicts(report: "SkewReport") -> list[dg.AssetCheckResult]:
    """The checks of a report; what they say names the features."""
    replayed = report.replay
    differing = [
        f"{feature.name} ({feature.group})" for feature in replayed.features if feature.equal < feature.compared
    ]
    said = f"{replayed.equal:,} of {replayed.compared:,} served values are those of training"
    skewed = [f"{feature.name} ({feature.group})" for feature in report.skewed]
    return [
        dg.AssetCheckResult(
            check_name=CONSISTENT,
            passed=replayed.is_consistent,
            description=f"{said}; not all of {', '.join(differing)}" if differing else said,
        ),
        dg.AssetCheckResult(
            check_name=DISTRIBUTED,
            passed=not skewed,
            description=f"skewed: {', '.join(skewed)}" if skewed else "no feature is skewed",
        ),
    ]


def skew_metadata(report: "SkewReport") -> dict[str, Any]:
    """Numbers, which Dagster plots over time, and a line for each feature, the worst first."""
    replayed = {feature.name: feature for feature in report.replay.features}
    records = [
        dg.TableRecord(
            {
                "feature": feature.name,
                "group": feature.group,
                "skewed": feature.is_skewed,
                "JS": -1.0 if feature.js is None else round(feature.js, 4),
                "NULL in training": round(feature.training.null_rate, 4),
                "NULL in serving": round(feature.serving.null_rate, 4),
                "served equal": f"{replayed[feature.name].equal:,} of {replayed[feature.name].compared:,}"
                if feature.name in replayed
                else "",
            }
        )
        for feature in report.features
    ]
    equal, compared = report.replay.equal, report.replay.compared
    return {
        "features": dg.MetadataValue.table(records) if records else "none",
        "skewed features": len(report.skewed),
        "greatest JS": max((feature.js for feature in report.features if feature.js is not None), default=0.0),
        "served rows": report.served_rows,
        "values compared": compared,
        "values equal": equal,
        "consistency": equal / compared if compared else 1.0,
        "bytes read": report.size,
        "compared with": report.baseline,
    }
