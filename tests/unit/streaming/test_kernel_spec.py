"""What the window kernel is told of a group."""

from __future__ import annotations

import json
from dataclasses import replace

from feature_store import BOOL, FLOAT, INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg
from feature_store.compile.kernel_spec import kernel_spec
from feature_store.compile.reference_expressions import evaluate
from feature_store.dtypes import LIST
from feature_store.plan.build import build_plan
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.nodes import WindowedRows

CLICKS = StreamSource(
    "clicks",
    topic="clicks",
    schema={"user_id": STRING, "ts": TIMESTAMP, "amount": FLOAT, "n": INT, "ok": BOOL},
    event_timestamp="ts",
    allowed_lateness="3m",
)
GROUP = FeatureGroup(
    "user_clicks",
    entity=Entity("user", join_key="user_id"),
    source=CLICKS,
    owner="team:test",
    columns={"doubled": "n * 2", "quadrupled": "doubled * 2"},
    where="amount > 0",
    features=[
        Feature("user_count_30m", agg.count(), window="30m", dtype=INT),
        Feature("user_good_sum_1h", agg.sum("quadrupled"), where="doubled > 2 and ok", window="1h", dtype=INT),
        Feature("user_session_last", agg.last("amount"), where="doubled > 2 and ok", window="session(5m)", dtype=FLOAT),
        Feature("user_top_all_time", agg.top_k("n", 3, by="amount"), window="all_time", dtype=LIST(INT)),
        Feature("user_zenith_30m", agg.max("ts"), window="30m", dtype=TIMESTAMP),
    ],
)


def test_the_spec_of_a_group() -> None:
    spec = json.loads(kernel_spec(build_plan(GROUP)))
    assert [a.pop("name") for a in spec["aggregates"]] == [feature.name for feature in GROUP.features]
    nothing = dict.fromkeys(("type", "window", "value", "weight", "weight_type", "pass", "k")) | {"session": False}
    assert spec == {
        "format": 1,
        "slide": 1_000_000,
        "lateness": 180_000_000,
        "cut": None,
        "standing": False,
        "event_id": False,
        "aggregates": [
            nothing | {"function": "count", "window": 1_800_000_000},
            nothing | {"function": "sum", "type": "INT", "window": 3_600_000_000, "value": 0, "pass": 0},
            nothing
            | {"function": "last", "type": "FLOAT", "window": 300_000_000, "value": 1, "pass": 0, "session": True},
            nothing | {"function": "top_k", "type": "INT", "value": 2, "weight": 1, "weight_type": "FLOAT", "k": 3},
            nothing | {"function": "max", "type": "TIMESTAMP", "window": 1_800_000_000, "value": 3},
        ],
    }


def test_the_order_of_features_does_not_matter_to_the_state() -> None:
    turned = replace(GROUP, features=tuple(reversed(GROUP.features)))
    one, other = build_plan(GROUP), build_plan(turned)
    assert kernel_spec(one) == kernel_spec(other)
    assert one.state_fingerprint == other.state_fingerprint
    assert isinstance(one.rows, WindowedRows)
    assert isinstance(other.rows, WindowedRows)
    assert event_inputs(one.rows) == event_inputs(other.rows)


def test_a_start_from_batch() -> None:
    plan = build_plan(replace(GROUP, source=replace(CLICKS, event_id="n")))
    spec = json.loads(kernel_spec(plan, cut=7_000_000, standing=True))
    assert (spec["cut"], spec["standing"], spec["event_id"]) == (7_000_000, True, True)


def test_inputs_are_over_the_columns_of_the_source() -> None:
    rows = build_plan(GROUP).rows
    assert isinstance(rows, WindowedRows)
    inputs = event_inputs(rows)
    row = {"user_id": "u", "ts": None, "amount": 0.5, "n": 3, "ok": True}
    assert inputs.where is not None
    assert evaluate(inputs.where, row) is True
    assert [evaluate(condition, row) for condition in inputs.conditions] == [True]
    assert [evaluate(value, row) for value in inputs.values] == [12, 0.5, 3, None]
