"""MLflow: a training dataset is an input of a run, and a model that the run logs is registered with the dataset's view.

with mlflow.start_run():
    log_dataset(data)
    logged = mlflow.sklearn.log_model(model, name="churn", signature=…, registered_model_name="churn")
register_logged_model(store, logged, "churn")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from feature_store.datasets.dataset import StoredDataset
from feature_store.errors import InputError, NotFoundError, StackError

try:
    import mlflow
    from mlflow.data.dataset import Dataset
    from mlflow.data.dataset_source import DatasetSource
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array
except ModuleNotFoundError as error:
    raise StackError(
        f"MLflow is not installed: {error}",
        where="feature_store.integrations.mlflow",
        remedy="pip install mlflow, or mlflow-skinny",
        code="package-missing",
    ) from error

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

    from feature_store.client import FeatureStore
    from feature_store.registry.model_records import ModelRecord
    from feature_store.registry.records import TrainingRecord

SOURCE_TYPE = "feature_store"
_TYPES: tuple[tuple[Any, DataType], ...] = (
    (pa.types.is_boolean, DataType.boolean),
    (pa.types.is_integer, DataType.long),
    (pa.types.is_floating, DataType.double),
    (pa.types.is_string, DataType.string),
    (pa.types.is_timestamp, DataType.datetime),
    (pa.types.is_binary, DataType.binary),
)


class TrainingSource(DatasetSource):  # type: ignore[misc] # MLflow has no types
    """Where a training dataset lies.

    Args:
        path: its folder.
        dataset: its id in the registry.
        view: the id of the view that it was made of.
        features: the names of its features, in their order.
    """

    def __init__(self, path: str, dataset: str, view: str, features: Sequence[str]) -> None:
        self.path = path
        self.dataset = dataset
        self.view = view
        self.features = [*features]

    @staticmethod
    def _get_source_type() -> str:
        return SOURCE_TYPE

    def load(self) -> str:
        """The folder of its Parquet files."""
        return self.path

    @classmethod
    def of(cls, data: StoredDataset) -> Self:
        """The source of a dataset."""
        return cls(data.url, data.id, data.view_id, data.feature_names)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, StoredDataset)

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        return cls.of(raw_source)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return {"path": self.path, "dataset": self.dataset, "view": self.view, "features": self.features}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """The source again."""
        return cls(**{name: source_dict[name] for name in ("path", "dataset", "view", "features")})


class TrainingInput(Dataset):  # type: ignore[misc] # MLflow has no types
    """A training dataset as MLflow has it: `mlflow.log_input(TrainingInput(data), context="training")`."""

    def __init__(self, data: StoredDataset) -> None:
        self._data = data
        super().__init__(TrainingSource.of(data), name=data.name)

    def _compute_digest(self) -> str:
        """Of this one dataset: MLflow takes two of a name and digest for one."""
        data = self._data
        said = [data.id, data.view_id, data.labels_hash, sorted(data.snapshots.items()), data.known_by, data.masked]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]

    @property
    def schema(self) -> Schema:
        """Its columns: keys, labels and features."""
        return Schema([ColSpec(_type(field.type), field.name) for field in self._data.schema])

    @property
    def profile(self) -> dict[str, Any]:
        """How many rows it has, how many of them lack each feature, and what was odd about its labels."""
        data = self._data
        return {"num_rows": data.row_count, "null_rates": data.null_rates, "warnings": [*data.warnings]}

    def to_dict(self) -> dict[str, str]:
        """What MLflow stores."""
        schema = json.dumps({"mlflow_colspec": self.schema.to_dict()})
        return {**super().to_dict(), "schema": schema, "profile": json.dumps(self.profile)}


def log_dataset(data: StoredDataset, context: str = "training") -> TrainingInput:
    """Logs a training dataset as an input of the active run, which is begun if there is none."""
    logged = TrainingInput(data)
    mlflow.log_input(logged, context=context)
    return logged


def register_logged_model(
    store: FeatureStore,
    logged: ModelInfo,
    name: str,
    version: int | None = None,
    *,
    features: Sequence[str] | None = None,
    owner: str = "",
) -> ModelRecord:
    """Registers a model with the training dataset that is an input of its run, and so with its view.

    Args:
        logged: what `log_model` has returned.
        version: that of MLflow's model registry unless given (`registered_model_name=` of `log_model`).
        features: the names of those that it takes, in its order; the inputs of its signature unless given, and without
            one all features of the dataset.

    Raises:
        InputError: if the run has no training dataset as its input, or several; if there is no version; if an input of
            the signature is no feature of the view.
        NotFoundError: if the dataset is not recorded in this registry.
        ConflictError: as `RegisteredModels.register`.
    """
    source = _source_of(logged.run_id)
    if version is None and logged.registered_model_version is None:
        raise InputError(
            "the model has no version in MLflow's model registry",
            where=f"run {logged.run_id}",
            remedy="give version=, or registered_model_name= to log_model",
            code="mlflow-version",
        )
    chosen = int(logged.registered_model_version) if version is None else version
    names = _inputs_of(logged) or source.features if features is None else features
    dataset = _recorded(store, source)
    return store.register_model(name, chosen, dataset, features=names, owner=owner, uri=logged.model_uri, by="mlflow")


def _source_of(run_id: str) -> TrainingSource:
    inputs = mlflow.MlflowClient().get_run(run_id).inputs.dataset_inputs
    of_training = [
        each.dataset
        for each in inputs
        if each.dataset.source_type == SOURCE_TYPE
        and "training" in [tag.value for tag in each.tags if tag.key == "mlflow.data.context"]
    ]
    sources = [TrainingSource.from_dict(json.loads(dataset.source)) for dataset in of_training]
    found: dict[str, TrainingSource] = {source.dataset: source for source in sources}
    if len(found) != 1:
        raise InputError(
            f"the run has {len(found)} training datasets of the feature store as inputs: {', '.join(found) or 'none'}",
            where=f"run {run_id}",
            remedy="log the one that the model was trained on, log_dataset(data); or call store.register_model",
            code="mlflow-input",
        )
    return next(iter(found.values()))


def _recorded(store: FeatureStore, source: TrainingSource) -> TrainingRecord:
    for made in store.registry.training_datasets(source.view):
        if made.id == source.dataset:
            return made
    raise NotFoundError(
        f"there is no training dataset {source.dataset!r} in the registry",
        where=source.view,
        remedy="register the model in the feature store that made the dataset",
        code="not-recorded",
    )


def _inputs_of(logged: ModelInfo) -> list[str]:
    """The names of the columns of a model's signature; none if it has no signature, or one without names."""
    inputs = None if logged.signature is None else logged.signature.inputs
    return [*inputs.input_names()] if inputs is not None and inputs.has_input_names() else []


def _type(of: pa.DataType) -> Any:
    if pa.types.is_list(of) or pa.types.is_fixed_size_list(of):
        return Array(_type(of.value_type))
    return next((dtype for fits, dtype in _TYPES if fits(of)), AnyType())
