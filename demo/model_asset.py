"""The demo's model as an asset: trained on the newest training set, judged on later labels, registered."""

import dagster as dg

from demo.repurchase import FEATURES, NAME, VIEW
from resources.store import FeatureStoreResource

MODEL_KEY = dg.AssetKey(["models", NAME])


def model_asset(training: dg.AssetKey) -> dg.AssetsDefinition:
    """The asset of the model, which is trained on the training set of this key."""

    @dg.asset(
        key=MODEL_KEY,
        deps=[training],
        group_name="shop/training",
        owners=["team:recommendations"],
        kinds={"scikitlearn"},
        description=f"Will this customer buy again within 30 days? Registered as {NAME}, with the features it reads.",
    )
    def repurchase_model(context: dg.AssetExecutionContext, store: FeatureStoreResource) -> dg.MaterializeResult[None]:
        from demo.model import save, train

        client = store.client
        dataset = next(made for made in client.registry.training_datasets(VIEW) if made.name == NAME)
        model = train(client.load_dataset(dataset.path).to_polars())
        version = max((known.version for known in client.models() if known.name == NAME), default=0) + 1
        path = store.settings.home / "models" / NAME / f"{version}.joblib"
        save(model, path)
        registered = client.register_model(
            NAME, version, dataset, features=FEATURES, uri=path.as_uri(), by=f"Dagster run {context.run_id}"
        )
        context.log.info(f"registered {registered.id}: AUC {model.auc:.3f} on later labels")
        return dg.MaterializeResult(
            metadata={
                "model": registered.id,
                "version": version,
                "AUC on later labels": round(model.auc, 4),
                "labels to train on": model.train_rows,
                "labels to judge by": model.test_rows,
                "training set": dataset.id,
                "features": dg.MetadataValue.json([*FEATURES]),
                "path": dg.MetadataValue.path(str(path)),
            }
        )

    return repurchase_model
