"""When a group is fresh, late, overdue, and what Dagster is told of it."""

from __future__ import annotations

import pytest

from feature_assets.metadata import freshness_metadata
from feature_assets.online import severity_of
from feature_store.streaming.freshness import Freshness


@pytest.mark.parametrize(
    ("touched", "behind", "verdict", "severity"),
    [
        (0.0, 0.0, "fresh", "WARN"),
        (30.0, 0.0, "fresh", "WARN"),
        (0.5, 30.0, "fresh", "WARN"),
        (30.001, 0.0, "late", "WARN"),
        (0.5, 60.0, "late", "WARN"),
        (60.001, 0.0, "overdue", "ERROR"),
        (0.5, 60.001, "overdue", "ERROR"),
        (None, 0.0, "unknown", "WARN"),
    ],
)
def test_the_worse_of_both_ages_is_judged(touched: float | None, behind: float, verdict: str, severity: str) -> None:
    found = Freshness("user_activity@1", sla=30.0, touched=touched, newest=None, behind=behind)
    assert found.verdict == verdict
    assert severity_of(found).value == severity


def test_it_is_told_in_words_and_numbers() -> None:
    late = Freshness("user_activity@1", sla=30.0, touched=31.26, newest=33.0, behind=31.0)
    assert str(late) == "user_activity@1 was up to date 31.3 s ago, its SLA is 30 s"
    assert freshness_metadata(late) == {
        "verdict": "late",
        "age (s)": 31.26,
        "since the last update (s)": 31.26,
        "behind the clock (s)": 33.0,
        "SLA (s)": 30.0,
        "overdue after (s)": 60.0,
    }
    never = Freshness("user_activity@1", sla=30.0, touched=None, newest=None, behind=0.0)
    assert str(never) == "user_activity@1 has not told yet how far it is"
    assert freshness_metadata(never) == {"verdict": "unknown", "SLA (s)": 30.0, "overdue after (s)": 60.0}
