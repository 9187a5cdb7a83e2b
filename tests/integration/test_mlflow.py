"""The real MLflow on a store of its own: a dataset as the input of a run, and the run's model in our registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from pyiceberg.catalog.sql import SqlCatalog

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureStore
from feature_store import FeatureView as View
from feature_store.dtypes import EMBEDDING, LIST
from feature_store.errors import InputError, NotFoundError, StackError
from feature_store.integrations.mlflow import TrainingInput, TrainingSource, log_dataset, register_logged_model
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.plan.build import view_schema
from feature_store.registry.records import TrainingRecord
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from tests.integration.registry_setting import applied, project
from tests.unit.pit.pit_cases import at, rows_table

USER = Entity("user", join_key="user_id", dtype=STRING)
LOG = BatchSource(
    "facts",
    table="raw.facts",
    event_timestamp="ts",
    schema={"user_id": STRING, "n": INT, "v": EMBEDDING(2), "tags": LIST(STRING), "ts": TIMESTAMP},
)
FACTS = FeatureGroup(
    "user_facts",
    entity=USER,
    query="SELECT user_id, n AS user_n, n / 2 AS user_half, v AS user_v, tags AS user_tags FROM facts "
    "QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY ts DESC) = 1",
    sources=[LOG],
    owner="team:shop",
    features=[
        Feature("user_n", dtype=INT),
        Feature("user_half", dtype=FLOAT),
        Feature("user_v", dtype=EMBEDDING(2)),
        Feature("user_tags", dtype=LIST(STRING)),
    ],
)
CHURN = View("churn", groups=[FACTS], owner="team:churn")
NAMES = ["user_n", "user_half", "user_v", "user_tags"]
Make = Callable[[], TrainingDataset]


class Half(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # MLflow has no types
    """A model."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow reads the types
        return model_input


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's store in a file."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("churn", artifact_location=(folder / "a").as_uri()))
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def store(registry: Registry, stack: Settings) -> FeatureStore:
    """A feature store with the view churn@1."""
    applied(registry, project(FACTS, views=(CHURN,)))
    store = FeatureStore(stack)
    store.registry = registry
    return store


@pytest.fixture
def make(store: FeatureStore, tmp_path: Path) -> Make:
    """Makes a recorded training dataset: two labels, of which one finds features."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    view = view_schema(CHURN)
    table = ensure_table(catalog, view.groups[0].group)
    values = {"user_n": 3, "user_half": 1.5, "user_v": [0.5, 1.0], "user_tags": ["é"]}
    times = {"feature_timestamp": at(0), "created_timestamp": at(0), "retracted": False}
    table.append(rows_table(view.groups[0].group, [{"user_id": "a", **values, **times}]))

    def build() -> TrainingDataset:
        labels = [{"user_id": user, "label_timestamp": at(5), "churned": True} for user in ("a", "b")]
        data = build_in(catalog, tmp_path / "training", view, labels, name="churn")
        store.registry.record_training(recorded(data))
        return data

    return build


def recorded(data: TrainingDataset) -> TrainingRecord:
    return TrainingRecord(data.id, data.name, data.view.id, "churn", data.row_count, data.snapshots, data.labels_hash,
                          data.engine, data.known_by, data.url, data.created)  # fmt: skip


def log_model(names: list[str] | None, **changes: Any) -> Any:
    inputs = None if names is None else Schema([ColSpec(DataType.double, name) for name in names])
    signature = None if inputs is None else ModelSignature(inputs, Schema([ColSpec(DataType.double)]))
    given = {"python_model": Half(), "signature": signature, "pip_requirements": [], **changes}
    return mlflow.pyfunc.log_model(name="model", **given)


@pytest.mark.usefixtures("tracking")
def test_a_dataset_is_an_input_of_a_run_with_its_schema_and_profile(make: Make) -> None:
    data = make()
    with mlflow.start_run() as run:
        logged = log_dataset(data)
    (found,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    told = found.dataset
    assert (told.name, told.digest, told.source_type) == ("churn", logged.digest, "feature_store")
    columns = {each["name"]: each["type"] for each in json.loads(told.schema)["mlflow_colspec"]}
    assert columns == {"user_id": "string", "label_timestamp": "datetime", "churned": "boolean", "user_n": "long",
                       "user_half": "double", "user_v": "array", "user_tags": "array"}  # fmt: skip
    assert json.loads(told.profile) == {"num_rows": 2, "null_rates": dict.fromkeys(NAMES, 0.5), "warnings": []}
    source = TrainingSource.from_json(told.source)
    assert (source.load(), source.dataset, source.view) == (data.url, data.id, "churn@1")
    assert source.features == NAMES
    assert 8 <= len(logged.digest) <= 10
    assert TrainingInput(data).digest == logged.digest != TrainingInput(make()).digest


@pytest.mark.usefixtures("tracking")
def test_a_model_of_the_run_is_registered_with_the_view_and_the_features_of_its_signature(
    store: FeatureStore, make: Make
) -> None:
    data = make()
    with mlflow.start_run():
        log_dataset(data)
        log_dataset(make(), context="testing")
        logged = log_model(["user_half", "user_n"], registered_model_name="churn")
    record = register_logged_model(store, logged, "churn")
    assert (record.id, record.view, record.dataset) == ("churn@1", "churn@1", data.id)
    assert record.feature_names == ("user_half", "user_n")
    assert (record.uri, record.owner, record.created_by) == (logged.model_uri, "team:churn", "mlflow")
    assert register_logged_model(store, logged, "churn") == record
    assert mlflow.pyfunc.load_model(record.uri).metadata.signature.inputs.input_names() == ["user_half", "user_n"]
    assert store.registry.lineage("churn@1").registered == ("churn@1",)

    plain = register_logged_model(store, logged, "plain", 7, features=["user_v"], owner="team:ads")
    assert (plain.id, plain.feature_names, plain.owner) == ("plain@7", ("user_v",), "team:ads")


@pytest.mark.usefixtures("tracking")
def test_a_run_that_does_not_say_enough_is_refused(store: FeatureStore, make: Make) -> None:
    first, second = make(), make()
    with mlflow.start_run():
        without = log_model(None)
    with mlflow.start_run():
        log_dataset(first)
        log_dataset(second)
        several = log_model(None)
    with mlflow.start_run():
        log_dataset(first)
        log_dataset(first)
        good = log_model(None)
        other = log_model(["user_n", "user_nothing"])
    for logged, said in ((without, "has 0 training datasets"), (several, "has 2 training datasets")):
        with pytest.raises(InputError, match=said) as refused:
            register_logged_model(store, logged, "churn", 1)
        assert refused.value.code == "mlflow-input"
    with pytest.raises(InputError) as refused:
        register_logged_model(store, good, "churn")
    assert refused.value.code == "mlflow-version"
    with pytest.raises(InputError, match="no feature 'user_nothing'"):
        register_logged_model(store, other, "churn", 1)
    assert register_logged_model(store, good, "churn", 1).feature_names == tuple(NAMES)


@pytest.mark.usefixtures("tracking")
def test_a_dataset_of_another_registry_is_not_found(store: FeatureStore, make: Make) -> None:
    data = make()
    with store.registry.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM training_datasets")
    with mlflow.start_run():
        log_dataset(data)
        logged = log_model(None)
    with pytest.raises(NotFoundError, match=data.id):
        register_logged_model(store, logged, "churn", 1)


def test_without_mlflow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "feature_store.integrations.mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(StackError, match="pip install mlflow") as refused:
        __import__("feature_store.integrations.mlflow")
    assert refused.value.code == "package-missing"
