"""The skew report of a view: features in training and in serving side by side, and how consistent served values are."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from feature_store.dtypes import arrow_type
from feature_store.online.vectors import Status
from feature_store.plan.schema import Column, ViewSchema
from feature_store.skew.baseline import Baseline
from feature_store.skew.distribution import Histogram, Summary, histograms, summary
from feature_store.skew.divergence import Divergence, divergence
from feature_store.skew.replay import ReplayReport
from feature_store.skew.served_table import ServedGroup, ServedTable

THRESHOLD = 0.1
"""The Jensen-Shannon divergence, and the difference of null rates, above which a feature is skewed."""
_CHANCE = 1e-6
"""A difference that chance gives more often than this is none, however great it is: samples may be small."""


@dataclass(frozen=True)
class FacetSkew:
    """One facet of a feature on both sides; no divergence if a side has no values."""

    histogram: Histogram
    divergence: Divergence | None

    def exceeds(self, threshold: float) -> bool:
        """Whether the two sides differ by more than a threshold, and not by chance."""
        found = self.divergence
        return found is not None and found.js > threshold and found.p_value < _CHANCE


@dataclass(frozen=True)
class FeatureSkew:
    """One feature in training and in serving.

    Attributes:
        group: what the view calls the group of the feature.
        nulls: how far the two sides lie apart by whether a value is NULL; None if a side has no rows.
    """

    name: str
    group: str
    training: Summary
    serving: Summary
    facets: tuple[FacetSkew, ...]
    nulls: Divergence | None
    threshold: float = THRESHOLD

    @property
    def js(self) -> float | None:
        """The greatest Jensen-Shannon divergence of its facets; None if a side has no values."""
        return max((facet.divergence.js for facet in self.facets if facet.divergence is not None), default=None)

    @property
    def is_skewed(self) -> bool:
        """Whether its values or its null rate differ by more than the threshold, and not by chance."""
        differs = abs(self.training.null_rate - self.serving.null_rate) > self.threshold
        has_nulls = differs and self.nulls is not None and self.nulls.p_value < _CHANCE
        return has_nulls or any(facet.exceeds(self.threshold) for facet in self.facets)


@dataclass(frozen=True)
class SkewReport:
    """A view's features, the worst first, and the replay of its served values.

    Attributes:
        baseline: what training's values were read from, in words.
        size, whole: bytes of the baseline that were read, and of all that was there.
        served_rows: how many served rows were looked at.
    """

    view: str
    created: datetime
    baseline: str
    size: int
    whole: int
    served_rows: int
    features: tuple[FeatureSkew, ...]
    replay: ReplayReport

    @property
    def skewed(self) -> tuple[FeatureSkew, ...]:
        """The features whose values or null rates differ."""
        return tuple(feature for feature in self.features if feature.is_skewed)

    def without(self, names: Set[str]) -> SkewReport:
        """The report without some features, which its reader must not see."""
        features = tuple(feature for feature in self.features if feature.name not in names)
        return replace(self, features=features, replay=self.replay.without(names))


def skew_report(
    view: ViewSchema, served: ServedTable, baseline: Baseline, replayed: ReplayReport, created: datetime
) -> SkewReport:
    """Compares served rows with a baseline, feature by feature."""
    features = [
        compare_feature(feature, viewed.id, baseline.values[feature.name], _served(served_group, feature, baseline))
        for viewed, served_group in zip(view.groups, served.groups, strict=True)
        for feature in viewed.features
    ]
    return SkewReport(
        view=view.id,
        created=created,
        baseline=baseline.source,
        size=baseline.size,
        whole=baseline.whole,
        served_rows=served.rows,
        features=tuple(sorted(features, key=_severity)),
        replay=replayed,
    )


def _severity(feature: FeatureSkew) -> tuple[bool, float, str]:
    return not feature.is_skewed, -(feature.js or 0.0), feature.name


def _served(group: ServedGroup, feature: Column, baseline: Baseline) -> pa.Array:
    """The served values to compare: without failed answers, and of entities that the baseline can have.

    A row that was served often counts once, as it does in training; otherwise a popular entity would be the population.
    """
    kept = {Status.PRESENT, Status.DEFAULTED} | ({Status.EXPIRED, Status.NOT_FOUND} if baseline.has_absent else set())
    answers = zip(group.entities, group.timestamps, group.statuses, group.values[feature.name], strict=True)
    rows = {(entity, time): value for entity, time, status, value in answers if status in kept}
    return pa.array(rows.values(), arrow_type(feature.dtype))


def compare_feature(feature: Column, group: str, training: pa.Array, serving: pa.Array) -> FeatureSkew:
    in_training, in_serving = (
        np.array([len(side) - side.null_count, side.null_count], np.int64) for side in (training, serving)
    )
    nulls = Histogram("null", ("value", "NULL"), in_training, in_serving)
    return FeatureSkew(
        name=feature.name,
        group=group,
        training=summary(training, feature.dtype),
        serving=summary(serving, feature.dtype),
        facets=tuple(FacetSkew(each, divergence(each)) for each in histograms(training, serving, feature.dtype)),
        nulls=divergence(nulls),
    )
