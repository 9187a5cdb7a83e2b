"""One asset for the training datasets of each view, and one for those of groups by themselves; a partition is a job."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.distribution import distribution_plot
from feature_assets.keys import offline_key, op_name
from feature_assets.metadata import null_rates, preview_table, training_metadata
from feature_store.dsl.view import FeatureView
from feature_store.plan.nodes import GroupPlan
from feature_store.training_jobs.runs import GROUPS_KEY, asset_key, partitions_name
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.pit.dataset import TrainingDataset

_GROUP = "training"
_KINDS = {"polars", "parquet"}


def training_assets(views: Iterable[FeatureView], plans: Iterable[GroupPlan]) -> list[dg.AssetsDefinition]:
    """The assets: of each view one that depends on the tables of its groups, and one for all groups by themselves."""
    of_views = [
        _asset(
            dg.AssetSpec(
                dg.AssetKey([*asset_key("view", view.id)]),
                deps=_tables(dict.fromkeys(offline_key(role.group) for role in view.viewed)),
                partitions_def=dg.DynamicPartitionsDefinition(name=partitions_name("view", view.id)),
                description=f"Training datasets of {view.id}: labels with the features known at each of them.",
                owners=[view.owner],
                metadata=training_metadata(view),
                group_name=_GROUP,
                kinds=_KINDS,
            )
        )
        for view in views
    ]
    of_groups = _asset(
        dg.AssetSpec(
            dg.AssetKey([*GROUPS_KEY]),
            deps=_tables(offline_key(plan.group) for plan in plans),
            partitions_def=dg.DynamicPartitionsDefinition(name=partitions_name("group", "")),
            description="Training datasets of feature groups by themselves.",
            group_name=_GROUP,
            kinds=_KINDS,
        )
    )
    return [*of_views, of_groups]


def _tables(keys: Iterable[dg.AssetKey]) -> list[dg.AssetDep]:
    return [dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping()) for key in keys]


def _asset(spec: dg.AssetSpec) -> dg.AssetsDefinition:
    @dg.multi_asset(name=op_name(spec.key), specs=[spec], pool="training")
    def build(context: dg.AssetExecutionContext, store: FeatureStoreResource) -> dg.MaterializeResult[None]:
        from feature_store.errors import FeatureStoreError

        try:
            made = store.make_training_dataset(context.partition_key, context.run_id)
        except FeatureStoreError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(f"{made.row_count:,} rows in {made.seconds:.2f} s")
        return dg.MaterializeResult(metadata=dataset_metadata(made), data_version=dg.DataVersion(made.id))

    return build


def dataset_metadata(made: "TrainingDataset") -> Mapping[str, Any]:
    """What a run has made: counts, NULL rates, warnings, distributions, the snapshots it was made from."""
    from feature_store.training_jobs.profile import profile_dataset

    profile, preview = profile_dataset(made)
    return {
        "dagster/row_count": made.row_count,
        "dataset": made.id,
        "path": dg.MetadataValue.path(made.url),
        "seconds": round(made.seconds, 3),
        "rows per second": round(made.row_count / max(made.seconds, 1e-6)),
        **null_rates(made.null_rates),
        "warnings": "; ".join(made.warnings) or "none",
        "masked": ", ".join(made.masked) or "none",
        "snapshots": dg.MetadataValue.json({group: str(number) for group, number in made.snapshots.items()}),
        "explanation": dg.MetadataValue.md(f"```\n{made.explanation}\n```"),
        "distribution": dg.MetadataValue.md(distribution_plot(profile)),
        "preview": preview_table(preview, made.masked),
    }
