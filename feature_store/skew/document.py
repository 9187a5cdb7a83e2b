"""A skew report as JSON values, as it is kept in the registry and given over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from feature_store.skew.replay import ReplayReport
from feature_store.skew.report import FacetSkew, FeatureSkew, SkewReport


def report_document(report: SkewReport) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "view": report.view,
        "created": report.created.isoformat(),
        "baseline": {"source": report.baseline, "bytes_read": report.size, "bytes": report.whole},
        "served_rows": report.served_rows,
        "skewed": [feature.name for feature in report.skewed],
        "features": [_feature_document(feature) for feature in report.features],
        "replay": _replay_document(report.replay),
    }


def _feature_document(feature: FeatureSkew) -> dict[str, Any]:
    return {
        "name": feature.name,
        "group": feature.group,
        "is_skewed": feature.is_skewed,
        "threshold": feature.threshold,
        "js": feature.js,
        "training": vars(feature.training),
        "serving": vars(feature.serving),
        "facets": [_facet_document(facet) for facet in feature.facets],
    }


def _facet_document(facet: FacetSkew) -> dict[str, Any]:
    counted = facet.histogram
    return {
        "facet": counted.facet,
        "bins": [*counted.labels],
        "training": counted.training.tolist(),
        "serving": counted.serving.tolist(),
        "divergence": None if facet.divergence is None else vars(facet.divergence),
    }


def _replay_document(replayed: ReplayReport) -> dict[str, Any]:
    return {
        "rows": replayed.rows,
        "compared": replayed.compared,
        "equal": replayed.equal,
        "pending": replayed.pending,
        "unavailable": replayed.unavailable,
        "other_definition": replayed.other_rows,
        "first": _text(replayed.first),
        "last": _text(replayed.last),
        "features": [
            {
                "name": feature.name,
                "group": feature.group,
                "outcomes": {str(outcome): count for outcome, count in feature.outcomes.items()},
                "deltas": dict(zip(("p50", "p95", "max"), feature.deltas, strict=False)),
                "examples": [_plain(vars(example)) for example in feature.examples],
            }
            for feature in replayed.features
        ],
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _plain(value: Any) -> Any:
    """A value without the types that JSON lacks."""
    match value:
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case datetime():
            return value.isoformat()
        case _:
            return value
