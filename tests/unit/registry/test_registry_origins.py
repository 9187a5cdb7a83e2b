"""Lineage in a plan: known from the definitions, no part of the state, and completed where it was never recorded."""

from __future__ import annotations

from dataclasses import replace

from feature_store.registry.desired import desired_state
from feature_store.registry.diff import plan_changes
from tests.unit.registry.registry_cases import ITEM_RANK, USER_ORDERS, compiled, group, view


def test_lineage_is_known_before_and_no_part_of_the_state() -> None:
    state = desired_state(compiled(group(USER_ORDERS)))
    (record,) = state.groups
    assert record.origins["user_order_value_mean_90d"] == tuple(
        ("orders", column) for column in ("amount", "order_ts", "status")
    )
    forgotten = replace(state, groups=(replace(record, origins={}),))
    assert forgotten == state
    assert forgotten.fingerprint == state.fingerprint


def test_a_lineage_that_was_never_recorded_is_recorded() -> None:
    state = desired_state(compiled(view("ranking", group(USER_ORDERS), group(ITEM_RANK))))
    older = replace(state, groups=tuple(replace(record, origins={}) for record in state.groups))
    (change,) = plan_changes(older, compiled(view("ranking", group(USER_ORDERS), group(ITEM_RANK)))).changes
    assert (change.id, change.breaking) == ("user_orders@1", False)
    assert [str(detail) for detail in change.details] == [
        "lineage: none -> orders.amount, orders.order_ts, orders.status"
    ]
