"""The demo's model: will a customer buy again within 30 days? Trained on some labels, judged on later ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from demo.labels import LABEL_WINDOW
from demo.repurchase import FEATURES, LABEL
from feature_store.errors import InputError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TEST_SPAN = timedelta(days=10)


@dataclass(frozen=True)
class TrainedModel:
    """A model with what it was trained and judged on.

    Attributes:
        auc: the probability that it ranks a label that is true above one that is not, on the later labels.
    """

    pipeline: Pipeline
    auc: float
    train_rows: int
    test_rows: int


def split_by_time(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Labels to train on, and those of the last 10 days to judge by.

    The outcome of every label to train on is known before the first label to judge by: a label's 30 days lie between.
    """
    cut = rows["label_timestamp"].max() - TEST_SPAN  # type: ignore[operator] # it is an instant
    at = pl.col("label_timestamp")
    return rows.filter(at <= cut - LABEL_WINDOW), rows.filter(at > cut)


def train(rows: pl.DataFrame) -> TrainedModel:
    """A logistic regression over `FEATURES`; a value that is missing is its median, and said to be missing.

    Args:
        rows: of a training set: `FEATURES`, label_timestamp and bought_again_30d.

    Raises:
        InputError: if the labels span less than 40 days, or all labels to train on or to judge by are the same.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    earlier, later = split_by_time(rows)
    if any(part[LABEL].n_unique() < 2 for part in (earlier, later)):
        raise InputError(
            "there are not enough labels to train on and to judge by",
            where=LABEL,
            remedy="give labels of more than 40 days, true ones and others",
            code="demo-labels",
        )
    pipeline = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), LogisticRegression()
    )
    pipeline.fit(matrix(earlier.select(FEATURES).rows()), earlier[LABEL].to_numpy())
    judged = pipeline.predict_proba(matrix(later.select(FEATURES).rows()))[:, 1]
    return TrainedModel(pipeline, float(roc_auc_score(later[LABEL].to_numpy(), judged)), earlier.height, later.height)


def matrix(rows: Sequence[Sequence[Any]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Rows of `FEATURES`, as the server answers them too, as the model takes them: NULL is NaN."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))


def save(model: TrainedModel, path: Path) -> None:
    """Writes a model to a file."""
    import joblib

    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model.pipeline, path)


def load(path: Path) -> Pipeline:
    """The model in a file that `save` has written: a pickle, which is not to be read from anybody else."""
    import joblib

    return joblib.load(path)
