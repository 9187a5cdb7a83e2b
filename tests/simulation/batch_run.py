"""A run of a batch group as `offline/materialize.py` makes it, with the reference in the place of Spark."""

from __future__ import annotations

from pyiceberg.table import Transaction

from feature_store.compile.reference import run_reference
from feature_store.compile.span import Span
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import to_micros
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.beginning import former_beginnings, note_beginning, note_former_beginnings, span_of
from feature_store.offline.late import Reading, noted, read_sources
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import FEATURE_TIMESTAMP
from tests.simulation.group_store import GroupStore, corrections
from tests.simulation.oracle import Row, StoredRow


def run_partition(store: GroupStore, plan: GroupPlan, after: int, until: int) -> None:
    """Computes the rows with `after < T <= until` and adds what is new, different, or to be taken back."""
    catalog = store.services.catalog
    table = store.table()
    span = span_of(table, plan, after, until)
    reading = read_sources(catalog, table, plan, span, _no_arrivals)
    _publish(store, plan, span, reference_rows(store, plan, span, _events(store, plan, reading)), reading)
    for former in sorted(former_beginnings(store.table().properties)):
        part = Span(former - plan.slide, former)
        _publish(store, plan, part, reference_rows(store, plan, part, _events(store, plan, reading)), None)


def reference_rows(store: GroupStore, plan: GroupPlan, span: Span, events: list[Row]) -> list[StoredRow]:
    """The rows of a span by the reference, created at no time yet."""
    names = [feature.name for feature in store.schema.features]
    key = store.schema.keys[0].name
    [source] = plan.sources
    return [
        StoredRow(row[key], to_micros(row[FEATURE_TIMESTAMP]), 0, False, {name: row[name] for name in names})
        for row in run_reference(plan, {source.name: events}, span)
    ]


def _publish(store: GroupStore, plan: GroupPlan, span: Span, right: list[StoredRow], reading: Reading | None) -> None:
    added = corrections(store.rows(), right, span.after, span.until, store.now)
    table = store.table()

    def commit(transaction: Transaction) -> None:
        if added:
            transaction.append(store.arrow(added))
        note_former_beginnings(transaction, plan, span)
        if reading is not None:
            note_beginning(transaction, plan, span)
            transaction.set_properties(noted(transaction.table_metadata.properties, reading, span))

    with table.transaction() as transaction:
        commit(transaction)


def _events(store: GroupStore, plan: GroupPlan, reading: Reading) -> list[Row]:
    [source] = plan.sources
    assert source.table is not None
    table = store.services.catalog.load_table(source.table)
    snapshot = reading.snapshots.get(source.name)
    return [] if snapshot is None else table.scan(snapshot_id=snapshot).to_arrow().to_pylist()


def _no_arrivals(source: BatchSource, since: Cursor | None) -> Arrivals:
    raise AssertionError(f"{source.name} is an Iceberg table")
