"""Datasets, explanations and errors as JSON, which the registry keeps, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from feature_store.datasets.dataset import load_dataset
from feature_store.datasets.storage import Folder, is_dataset
from feature_store.errors import (
    AccessError,
    ConflictError,
    DefinitionError,
    FeatureStoreError,
    InputError,
    NotFoundError,
    StackError,
    TokenError,
)
from feature_store.object_storage import ObjectStorage
from feature_store.pit.dataset import TrainingDataset
from feature_store.pit.explanation import JoinExplanation
from feature_store.plan.schema import ViewSchema
from feature_store.registry.records import Kind, TrainingRecord

Json = dict[str, Any]
_KINDS: tuple[type[FeatureStoreError], ...] = (
    AccessError,
    ConflictError,
    DefinitionError,
    InputError,
    NotFoundError,
    StackError,
    TokenError,
    FeatureStoreError,
)


def training_record(made: TrainingDataset, kind: Kind, model: str) -> TrainingRecord:
    """What the registry keeps of a dataset for lineage."""
    return TrainingRecord(
        id=made.id,
        name=made.name,
        view=made.view.id,
        model=model or None,
        row_count=made.row_count,
        snapshots=made.snapshots,
        labels_hash=made.labels_hash,
        engine=made.engine,
        known_by=made.known_by,
        path=made.url,
        created_at=made.created,
        kind=kind,
    )


def dataset_to_json(made: TrainingDataset) -> Json:
    """What is told of a dataset; its manifest, at its place, has all of it."""
    plain: Json = msgspec.to_builtins(
        {
            "id": made.id,
            "path": made.url,
            "row_count": made.row_count,
            "snapshots": made.snapshots,
            "labels_hash": made.labels_hash,
            "null_rates": made.null_rates,
            "masked": made.masked,
            "seconds": made.seconds,
            "explanation": made.explanation,
        }
    )
    return plain


def dataset_from_json(plain: Json, view: ViewSchema, storage: ObjectStorage) -> TrainingDataset:
    """The dataset of which `dataset_to_json` tells.

    Raises:
        NotFoundError: if it is not there any more.
        StackError: if the bucket that it is in does not answer.
    """
    stored = load_dataset(plain["path"], storage)
    explanation = explanation_from_json(plain["explanation"])
    return TrainingDataset(stored.manifest, stored.folder, view=view, explanation=explanation)


def is_there(plain: Json, storage: ObjectStorage) -> bool:
    """Whether a dataset is where it was written to."""
    return is_dataset(Folder.of(plain["path"], storage))


def explanation_to_json(explanation: JoinExplanation) -> Json:
    plain: Json = msgspec.to_builtins(explanation)
    return plain


def explanation_from_json(plain: Json) -> JoinExplanation:
    return msgspec.convert(plain, JoinExplanation)


def error_to_json(error: BaseException) -> Json:
    """What a job failed with, for whoever asks."""
    if not isinstance(error, FeatureStoreError):
        error = StackError(
            f"{type(error).__name__}: {error}",
            remedy="look at the log of the run, or of the process that made it",
            code="training-failed",
        )
    return {
        "kind": next(each.__name__ for each in type(error).__mro__ if each in _KINDS),
        "detail": error.message,
        "where": error.where,
        "remedy": error.remedy,
        "code": error.code,
    }


def error_from_json(plain: Json) -> FeatureStoreError:
    """The error that a job failed with."""
    kind = next(each for each in _KINDS if each.__name__ == plain["kind"])
    return kind(plain["detail"], where=plain["where"], remedy=plain["remedy"], code=plain["code"])
