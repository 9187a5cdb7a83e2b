"""The demo's model: labels are split without a leak, the AUC is that of all pairs, and a saved model says the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demo.model import TEST_SPAN, load, matrix, save, split_by_time, train
from demo.repurchase import FEATURES, LABEL
from feature_store.errors import InputError

END = datetime(2026, 6, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def rows(count: int = 600, days: int = 60) -> pl.DataFrame:
    """Labels that are true the more often, the more orders a customer has; some values are missing."""
    chance = random.Random(3)
    found = []
    for _ in range(count):
        orders = chance.randrange(12)
        values = [None if chance.random() < 0.2 else chance.uniform(0, 100) for _ in FEATURES[1:]]
        at = END - timedelta(days=days * chance.random())
        found.append((at, chance.random() < 0.1 + 0.06 * orders, orders, *values))
    return pl.DataFrame(found, ["label_timestamp", LABEL, *FEATURES], orient="row").with_columns(
        pl.col("label_timestamp").dt.convert_time_zone("UTC")
    )


def test_every_outcome_that_is_trained_on_is_known_before_the_first_label_to_judge_by() -> None:
    cut = END - TEST_SPAN
    known = cut - timedelta(days=30)
    moments = [END, cut + TICK, cut, cut - TICK, known + TICK, known, known - TICK]
    earlier, later = split_by_time(pl.DataFrame({"label_timestamp": moments}))
    assert later["label_timestamp"].to_list() == [END, cut + TICK]
    assert earlier["label_timestamp"].to_list() == [known, known - TICK]
    assert earlier["label_timestamp"].max() + timedelta(days=30) < later["label_timestamp"].min()


def test_the_auc_is_the_share_of_pairs_that_are_ranked_right() -> None:
    data = rows()
    model = train(data)
    earlier, later = split_by_time(data)
    assert (model.train_rows, model.test_rows) == (earlier.height, later.height)
    scores = model.pipeline.predict_proba(matrix(later.select(FEATURES).rows()))[:, 1]
    judged = [*zip(later[LABEL], scores, strict=True)]
    pairs = [(yes > no) + 0.5 * (yes == no) for is_yes, yes in judged if is_yes for is_no, no in judged if not is_no]
    assert model.auc == pytest.approx(sum(pairs) / len(pairs))
    assert model.auc > 0.6


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    model = train(rows())
    save(model, tmp_path / "models" / "1.joblib")
    asked = matrix([[None] * len(FEATURES), [3, None, 1.5, 2, 0, 0.0]])
    assert np.isnan(asked[0]).all()
    again = load(tmp_path / "models" / "1.joblib")
    assert again.predict_proba(asked).tolist() == model.pipeline.predict_proba(asked).tolist()


@pytest.mark.parametrize("data", [rows(days=20), rows().with_columns(pl.lit(True).alias(LABEL))])
def test_labels_that_are_too_few_are_refused(data: pl.DataFrame) -> None:
    with pytest.raises(InputError) as refused:
        train(data)
    assert refused.value.code == "demo-labels"
