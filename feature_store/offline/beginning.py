"""Where a group's history begins: at the first T of its first span, where every entity whose windows hold something
gets a row.

Spans are computed in any order, also at the same time. So one that was computed as the first may not be it in the end:
the commit that makes its T a former beginning notes so, and the rows that are none of changes are taken back from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pyiceberg.table import Table, Transaction

from feature_store.compile.span import Span
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.plan.nodes import GroupPlan

FORMER_BEGINNINGS = "feature-store.former-beginnings"
"""Table property: the feature timestamps (JSON, microseconds) that have rows of a beginning and are none any more."""


def span_of(table: Table, plan: GroupPlan, after: int, until: int) -> Span:
    """The span; `first` if the group's history begins in it, because no earlier partition was ever written."""
    recorded = table.properties.get(FIRST_TIMESTAMP)
    return Span(after, until, first=recorded is None or after + plan.slide <= int(recorded))


def note_beginning(transaction: Transaction, plan: GroupPlan, span: Span) -> None:
    """Notes in the table where the group's history begins, if it begins with this span."""
    recorded = transaction.table_metadata.properties.get(FIRST_TIMESTAMP)
    first = span.after + plan.slide
    if span.first and (recorded is None or first < int(recorded)):
        transaction.set_properties({FIRST_TIMESTAMP: str(first)})


def note_former_beginnings(transaction: Transaction, plan: GroupPlan, span: Span) -> None:
    """Notes what a span leaves of former beginnings, and makes one: before `note_beginning`, in the same commit."""
    properties = transaction.table_metadata.properties
    before = former_beginnings(properties)
    former = {t for t in before if not span.after < t <= span.until}
    if span.first and plan.group.emits == "changes":
        first = span.after + plan.slide
        recorded = int(properties.get(FIRST_TIMESTAMP, first))
        if recorded < first:  # of a run that published meanwhile
            former.add(first)
        elif recorded > span.until:
            former.add(recorded)
    if former != before:
        transaction.set_properties({FORMER_BEGINNINGS: json.dumps(sorted(former))})


def former_beginnings(properties: Mapping[str, str]) -> set[int]:
    """The feature timestamps (microseconds) from which rows are to be taken back."""
    return set(json.loads(properties.get(FORMER_BEGINNINGS, "[]")))
