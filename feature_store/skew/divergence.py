"""How far two histograms lie apart, and whether that can be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from feature_store.skew.distribution import Histogram

Floats: TypeAlias = "NDArray[np.float64]"

_DRAWS = 500
_LEAST_SHARE = 1e-4
"""What an empty bin counts as in the population stability index, which has no value for it otherwise."""
_LEAST_EXPECTED = 5.0
"""Values that a bin is expected to have for the chi-square test to hold (Cochran 1954); rarer ones are put together."""


@dataclass(frozen=True)
class Divergence:
    """How far serving lies from training in one facet of a feature.

    Attributes:
        js: the Jensen-Shannon divergence to base 2: 0 for the same shares, 1 for nothing in common.
        interval: the central 95 % of `js` over bootstrap samples of both sides.
        psi: the population stability index.
        ks: the greatest distance of the distribution functions (Kolmogorov-Smirnov); None for categories.
        p_value: how likely the counts are if both sides are one distribution (chi-square test of homogeneity).
    """

    js: float
    interval: tuple[float, float]
    psi: float
    ks: float | None
    p_value: float


def divergence(histogram: Histogram, seed: int = 0) -> Divergence | None:
    """The divergence of two sides; None if one of them has no values."""
    training, serving = histogram.training, histogram.serving
    if not training.sum() or not serving.sum():
        return None
    shares = training / training.sum(), serving / serving.sum()
    draws = np.random.default_rng(seed)
    drawn = [draws.multinomial(side.sum(), share, _DRAWS) / side.sum() for side, share in
             zip((training, serving), shares, strict=True)]  # fmt: skip
    low, high = np.quantile(js_divergence(*drawn), (0.025, 0.975))
    return Divergence(
        js=float(js_divergence(*shares)),
        interval=(float(low), float(high)),
        psi=_psi(*shares),
        ks=None if histogram.numbers is None else _ks(*histogram.numbers),
        p_value=_p_value(training, serving),
    )


def js_divergence(training: Floats, serving: Floats) -> Floats:
    """The Jensen-Shannon divergence to base 2 over the last axis (Lin 1991); scipy has its square root."""
    distance: Floats = jensenshannon(training, serving, base=2, axis=-1)
    return np.nan_to_num(distance) ** 2  # the root of a rounding error below zero is NaN


def _psi(training: Floats, serving: Floats) -> float:
    """Sum of (serving - training) * ln(serving / training) over the bins."""
    p, q = np.maximum(training, _LEAST_SHARE), np.maximum(serving, _LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def _ks(training: Floats, serving: Floats) -> float:
    """The greatest distance of the empirical distribution functions; scipy's test would also weigh it, for seconds."""
    bounds = np.concatenate([training, serving])
    below = [np.searchsorted(np.sort(side), bounds, "right") / len(side) for side in (training, serving)]
    return float(np.abs(below[0] - below[1]).max())


def _p_value(training: NDArray[np.int64], serving: NDArray[np.int64]) -> float:
    table = np.array([training, serving], np.float64)
    smaller = min(table.sum(axis=1)) / table.sum()
    rare = table.sum(axis=0) * smaller < _LEAST_EXPECTED
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    return float(chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
