"""Up to when a group is computed without a hole: what STALE is judged by, whatever is computed again or written when.

It begins with the span that was computed first. A span behind a hole moves it only when the hole is filled, since an
entity that changed in the hole alone is served with an older row. What lies before it does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pyiceberg.table import Transaction

from feature_store.compile.span import Span

COMPUTED = "feature-store.computed"
"""Table property: the spans (JSON, microseconds) that were computed, the first up to where nothing is missing."""


def note_computed(transaction: Transaction, span: Span) -> None:
    """Notes in the table that the rows of a span are there, in the commit that publishes them."""
    properties = transaction.table_metadata.properties
    (begin, until), *beyond = _spans(properties) or [(span.after, span.until)]
    waiting = []
    for after, end in sorted([*beyond, (span.after, span.until)]):
        if after <= until:
            until = max(until, end)
        else:
            waiting.append([after, end])
    noted = json.dumps([[begin, until], *waiting])
    if properties.get(COMPUTED) != noted:
        transaction.set_properties({COMPUTED: noted})


def computed_until(properties: Mapping[str, str]) -> int | None:
    """The feature timestamp (microseconds) up to which the group's rows are all in the table; None if unknown."""
    spans = _spans(properties)
    return spans[0][1] if spans else None


def _spans(properties: Mapping[str, str]) -> list[tuple[int, int]]:
    return [(after, until) for after, until in json.loads(properties.get(COMPUTED, "[]"))]
