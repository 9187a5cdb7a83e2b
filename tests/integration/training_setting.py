"""What the tests of training jobs share: a recorded view with rows, and the registry's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, FeatureView
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.pit.dataset import datasets_folder
from feature_store.plan.build import build_plan
from feature_store.registry.training_jobs import TrainingJobs
from feature_store.settings import Settings
from feature_store.training_jobs.request import Engine
from feature_store.training_jobs.service import Asked, Submitted, TrainingService
from feature_store.training_jobs.target import load_target
from feature_store.training_jobs.worker import TrainingWorker

NOWHERE = "http://127.0.0.1:1"
"""Of a Dagster that does not answer."""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BUYER = Entity("buyer", join_key="buyer_id", dtype=STRING)
LOG = BatchSource(
    "buyer_log",
    table="raw.buyer_log",
    event_timestamp="ts",
    schema={"buyer_id": STRING, "count": INT, "email": STRING, "ts": TIMESTAMP},
)


def buyers(name: str = "buyer_facts", **changes: Any) -> FeatureGroup:
    """The newest row of each buyer in its log."""
    newest = "row_number() OVER (PARTITION BY buyer_id ORDER BY ts DESC) = 1"
    return FeatureGroup(
        name,
        entity=BUYER,
        query=f"SELECT buyer_id, count AS buyer_count, email AS buyer_email FROM buyer_log QUALIFY {newest}",
        sources=[LOG],
        owner="team:shop",
        features=[
            Feature("buyer_count", dtype=INT, default=0, rename_ok="short"),
            Feature("buyer_email", dtype=STRING, pii=True, rename_ok="short"),
        ],
        **changes,
    )


GROUP = buyers()
VIEW = FeatureView("buyers", groups=[GROUP], owner="team:shop")


def label(buyer: str, at: datetime = NOON + HOUR, **others: Any) -> dict[str, Any]:
    return {"buyer_id": buyer, "label_timestamp": at, **others}


@dataclass(frozen=True)
class TrainingSetting:
    """A store whose registry has the view buyers@1, and whose table has a row of noon for "ann"."""

    store: FeatureStore

    @classmethod
    def make(cls, settings: Settings) -> TrainingSetting:
        setting = cls(FeatureStore(replace(settings, dagster_url=NOWHERE), token=""))
        setting.store.apply(Project((GROUP,), (VIEW,), {}))
        setting.write("ann", 3)
        return setting

    @property
    def jobs(self) -> TrainingJobs:
        return TrainingJobs(self.store.registry.engine)

    @property
    def worker(self) -> TrainingWorker:
        return TrainingWorker(self.store.settings, self.store.registry)

    def service(self, most: int | None = None) -> TrainingService:
        return TrainingService(self.store.settings, self.store.registry, most)

    def write(self, buyer: str, count: int, at: datetime = NOON) -> None:
        schema = build_plan(GROUP).schema
        row = {"buyer_id": buyer, "buyer_count": count, "buyer_email": f"{buyer}@shop", "retracted": False}
        rows = [{**row, "feature_timestamp": at, "created_timestamp": at}]
        ensure_table(self.store.catalog, schema).append(pa.Table.from_pylist(rows, schema=arrow_schema(schema)))

    def submit(self, labels: Any, name: str, engine: Engine = "dagster", **more: Any) -> Submitted:
        """A job that nobody has begun."""
        target = load_target(self.store.registry, "view", "buyers@1")
        return self.service().submit(target, Asked(labels, name, **more), engine)

    def tags(self, name: str) -> list[str]:
        """Those of the table that belong to datasets of a name."""
        table = self.store.catalog.load_table(build_plan(GROUP).schema.table)
        return [tag for tag in table.metadata.refs if tag.startswith(f"training-{name}-")]

    def datasets(self, name: str) -> list[str]:
        """The datasets of a name that are stored, finished or not."""
        folder = Path(datasets_folder(self.store.settings).path, name)
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def recorded(self, name: str) -> list[str]:
        """The datasets of a name that the registry knows."""
        return [made.id for made in self.store.registry.training_datasets("buyers@1") if made.name == name]


def rows_of(made: Any) -> Sequence[Any]:
    """The feature of each row of a dataset."""
    values: Sequence[Any] = made.table["buyer_count"].to_pylist()
    return values
