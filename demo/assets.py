"""The demo's own assets: a training set, made the way a training job would, and a model."""

from datetime import timedelta

import dagster as dg

from demo.model_asset import MODEL_KEY, model_asset
from demo.repurchase import NAME, VIEW
from feature_assets.jobs import AssetJob
from feature_assets.keys import offline_key
from feature_assets.metadata import null_rates, preview_table, training_metadata
from feature_store.dsl.collect import load_project
from feature_store.dsl.view import FeatureView
from resources.store import FeatureStoreResource

TRAINING_KEY = dg.AssetKey(["training", "repurchase"])
LABEL_SPAN = timedelta(days=60)


def demo_assets() -> list[dg.AssetsDefinition]:
    """The training set over the view repurchase@1, and the model that is trained on it."""
    return [_training_asset(load_project("feature_defs").view(VIEW)), model_asset(TRAINING_KEY)]


def demo_jobs() -> list[AssetJob]:
    """The job that makes the training set and the model."""
    return [
        dg.define_asset_job(
            "repurchase_training_set",
            selection=dg.AssetSelection.assets(TRAINING_KEY, MODEL_KEY),
            description="Join the features of repurchase@1 to the shop's labels, point-in-time correct; train a model.",
        )
    ]


def _training_asset(view: FeatureView) -> dg.AssetsDefinition:
    @dg.asset(
        key=TRAINING_KEY,
        deps=list(dict.fromkeys(offline_key(role.group) for role in view.viewed)),
        metadata=training_metadata(view),
        group_name="shop/training",
        owners=["team:recommendations"],
        kinds={"polars", "parquet"},
        description="Real purchases, the customer's features as of that moment, and whether they bought again.",
    )
    def repurchase(context: dg.AssetExecutionContext, store: FeatureStoreResource) -> dg.MaterializeResult[None]:
        from demo.labels import LABEL_WINDOW, repurchase_labels
        from demo.load import read_shop_anchor
        from demo.shop import build_shop

        anchor = read_shop_anchor(store.settings)
        if anchor is None:
            raise dg.Failure("the shop's raw data are not loaded: run ./fs demo", allow_retries=False)
        shop = build_shop(anchor)
        until = shop.purchases_end - LABEL_WINDOW
        labels = repurchase_labels(shop, until - LABEL_SPAN, until)
        data = store.client.training_dataset(VIEW, labels, name="repurchase", model=NAME).wait()
        context.log.info(f"{data.row_count:,} of {labels.height:,} labels joined in {data.seconds:.2f} s")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": data.row_count,
                "labels": labels.height,
                "path": dg.MetadataValue.path(data.url),
                "rows per second": round(data.row_count / data.seconds),
                "seconds": round(data.seconds, 3),
                **null_rates(data.null_rates),
                "snapshots": dg.MetadataValue.json({group: str(number) for group, number in data.snapshots.items()}),
                "preview": preview_table(data.to_polars().head(5).to_dicts()),
            }
        )

    return repurchase
