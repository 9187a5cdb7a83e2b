"""What Dagster's UI shows of a group and of each of its runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.distribution import distribution_plot
from feature_assets.keys import offline_key, source_key
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.view import FeatureView
from feature_store.dtypes import BOOL, TIMESTAMP, DType, from_micros
from feature_store.offline.profile import Profile
from feature_store.plan.build import view_schema
from feature_store.plan.lineage import feature_lineage
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.on_demand import on_demand_lineage
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED
from feature_store.streaming.freshness import OVERDUE, Freshness

if TYPE_CHECKING:
    from feature_store.offline.history import Consistency
    from feature_store.offline.materialize import Materialization


def table_metadata(plan: GroupPlan) -> Mapping[str, Any]:
    """Columns, types, lineage and the table's name: what is known before anything ran."""
    schema = plan.schema
    columns = [
        *(_column(key.name, key.dtype, "Key. " + key.description, nullable=False) for key in schema.keys),
        _column(FEATURE_TIMESTAMP, TIMESTAMP, "The instant from which the row describes its entity.", nullable=False),
        _column(CREATED_TIMESTAMP, TIMESTAMP, "When the row became known to the store.", nullable=False),
        _column(RETRACTED, BOOL, "Whether the row takes the older rows of its key and time back.", nullable=True),
        *(_column(f.name, f.dtype, f.description, nullable=True) for f in schema.features),
    ]
    sources = {source.name: source for source in plan.sources}
    lineage = {
        feature: [
            dg.TableColumnDep(asset_key=source_key(sources[name]), column_name=column) for name, column in origins
        ]
        for feature, origins in feature_lineage(plan).items()
    }
    return {
        "dagster/table_name": schema.table,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "version": plan.group.version,
        "ttl": plan.group.ttl or "unlimited",
        "emit": plan.group.emits,
        "defaults": {feature.name: feature.default for feature in plan.group.features if feature.default is not None},
    }


def vector_metadata(plan: GroupPlan) -> Mapping[str, Any]:
    """The columns of a group's vectors in Redis; each is that of the offline table."""
    schema, offline = plan.schema, offline_key(plan.group)
    columns = [
        *(_column(key.name, key.dtype, "Key. " + key.description, nullable=False) for key in schema.keys),
        *(_column(f.name, f.dtype, f.description, nullable=True) for f in schema.features),
    ]
    names = [column.name for column in columns]
    lineage = {name: [dg.TableColumnDep(asset_key=offline, column_name=name)] for name in names}
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
    }


def training_metadata(view: FeatureView, packages: Collection[str] = DEFINITION_PACKAGES) -> Mapping[str, Any]:
    """For an asset that is a training dataset of a view: the stored features that each of its columns comes from.

    Args:
        packages: those that functions of on-demand features may be imported from.
    """
    tables = {role.group.id: offline_key(role.group) for role in view.viewed}
    schema = view_schema(view, packages)
    origins = {
        feature.name: ((role.group.id, stored.name),)
        for role in schema.groups
        for feature, stored in zip(role.features, role.group.features, strict=True)
    }
    lineage = {
        column: [dg.TableColumnDep(asset_key=tables[group], column_name=name) for group, name in found]
        for column, found in {**origins, **on_demand_lineage(schema)}.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(lineage)}


def run_metadata(
    done: Materialization, preview: Iterable[Mapping[str, Any]], personal: Collection[str] = ()
) -> Mapping[str, Any]:
    """What a run computed: counts, NULL rates, distributions, a few of its rows, its inputs and its SQL.

    Args:
        personal: the features that are personal data: no value of them is shown, as everybody who uses Dagster sees it.
    """
    profile = _without_values(done.profile, personal)
    return {
        "dagster/row_count": profile.rows,
        "entities": profile.entities,
        "features": dg.MetadataValue.table(_feature_records(profile)) if profile.features else "none",
        **null_rates(profile.null_rates),
        **overflow_rates(profile),
        "distribution": dg.MetadataValue.md(distribution_plot(profile)),
        "preview": preview_table(preview, personal),
        "inputs": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "source": counts.source,
                        "rows": counts.rows,
                        "without time": counts.null_timestamps,
                        "without key": counts.null_keys,
                        "not finite": counts.non_finite,
                        "overflowed": counts.overflowed,
                    }
                )
                for counts in done.inputs
            ]
        ),
        **({"tiles shared with": ", ".join(done.shared)} if done.shared else {}),
        **_change_metadata(done.consistency),
        **_late_metadata(done),
        "snapshot_id": str(done.snapshot_id),
        "seconds": round(done.seconds, 2),
        "sql": sql_text(done.sql),
    }


def null_rates(by_feature: Mapping[str, float]) -> Mapping[str, float]:
    """Each feature's share of NULLs as a number by itself, which Dagster plots over time."""
    return {f"null rate of {name}": rate for name, rate in by_feature.items()}


def overflow_rates(profile: Profile) -> Mapping[str, float]:
    """The share of values that do not fit 64 bits, of the features that can have such, as numbers over time."""
    return {
        f"overflow rate of {feature.name}": feature.overflow_rate
        for feature in profile.features
        if feature.overflow_rate is not None
    }


def _without_values(profile: Profile, personal: Collection[str]) -> Profile:
    """The profile without bounds, means and distributions of some features."""
    hidden = {"minimum": None, "maximum": None, "mean": None, "histogram": ()}
    features = (replace(each, **hidden) if each.name in personal else each for each in profile.features)  # type: ignore[arg-type]
    return replace(profile, features=tuple(features))


def preview_table(rows: Iterable[Mapping[str, Any]], personal: Collection[str] = ()) -> dg.TableMetadataValue | str:
    """Rows to look at; what is neither text nor number is shown as text, NULL as nothing, personal data not at all."""
    records = [
        dg.TableRecord({name: "masked" if name in personal else _cell(value) for name, value in row.items()})
        for row in rows
    ]
    return dg.MetadataValue.table(records) if records else "no rows"


def sql_text(sql: str) -> dg.MarkdownMetadataValue:
    """A statement in colours."""
    return dg.MetadataValue.md(f"```sql\n{sql}\n```")


def _change_metadata(found: Consistency) -> Mapping[str, Any]:
    """What a run has changed of the rows that stood in its span; nothing if there were none."""
    if not found.stored:
        return {}
    return {"rows added": found.missing, "rows corrected": found.mismatched, "rows retracted": found.extra}


def _late_metadata(done: Materialization) -> Mapping[str, Any]:
    """Which partitions late rows have touched, and of which sources nobody can tell; nothing if there is nothing."""
    spans = [
        f"{from_micros(after):%Y-%m-%d %H:%M} to {from_micros(until):%Y-%m-%d %H:%M}" for after, until in done.late
    ]
    found = {"touched by late rows": "; ".join(spans), "late rows unknown": ", ".join(done.unknown)}
    return {name: text for name, text in found.items() if text}


def consistency_metadata(found: Consistency) -> Mapping[str, Any]:
    """Stored rows against batch: counts, and the share of right rows, also of each feature, as numbers over time.

    Shares only where rows were stored: the first backfill has nothing to compare with.
    """
    shares: dict[str, Any] = {}
    if found.stored:
        shares = {"consistency": found.rate, **{f"consistency of {name}": rate for name, rate in found.rates.items()}}
    records = [dg.TableRecord({"feature": name, "different": count}) for name, count in found.by_feature.items()]
    return {
        **shares,
        "rows by batch": found.batch,
        "rows stored": found.stored,
        "missing": found.missing,
        "extra": found.extra,
        "mismatched": found.mismatched,
        "corrected": found.corrected,
        "differences": dg.MetadataValue.table(records) if records else "none",
    }


def freshness_metadata(found: Freshness) -> Mapping[str, Any]:
    """How fresh a group is: ages, its SLA, and when it is overdue (seconds)."""
    ages = {"age (s)": found.age, "since the last update (s)": found.touched, "behind the clock (s)": found.newest}
    return {
        "verdict": found.verdict,
        **{name: round(age, 2) for name, age in ages.items() if age is not None},
        "SLA (s)": found.sla,
        "overdue after (s)": OVERDUE * found.sla,
    }


def _column(name: str, dtype: DType, description: str, *, nullable: bool) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=nullable)
    return dg.TableColumn(name, type=str(dtype), description=description or None, constraints=constraints)


def _feature_records(profile: Profile) -> list[dg.TableRecord]:
    return [
        dg.TableRecord(
            {
                "feature": feature.name,
                "null rate": round(feature.null_rate, 4),
                "min": _shown(feature.minimum),
                "mean": _shown(feature.mean),
                "max": _shown(feature.maximum),
            }
        )
        for feature in profile.features
    ]


def _cell(value: object) -> str | int | float:
    if isinstance(value, str | int | float):
        return value
    return "" if value is None else str(value)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
