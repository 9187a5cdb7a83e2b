"""Playing arrivals to the window kernel in its harness, and what the reference makes of the same events."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from feature_store import TIMESTAMP, FeatureGroup, StreamSource
from feature_store.compile.kernel_spec import KernelInputs, in_kernel_order, kernel_inputs, kernel_spec
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row, clean_events
from feature_store.compile.reference_expressions import evaluate
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import SECOND
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan, WindowedRows
from tests.integration.engine_cases import START, events
from tests.integration.kernel_harness import Answer, KernelHarness, json_value

NO_WATERMARK = -(2**63)


@dataclass(frozen=True)
class Arrival:
    """An event of the source as it arrives, and the watermark (milliseconds) that follows it; None if it stays."""

    row: Row
    watermark: int | None = None


@dataclass
class Played:
    """What the kernel made of arrivals; `counted` are the rows that were not too late."""

    answer: Answer
    counted: list[Row]
    late: int


def play(
    harness: KernelHarness,
    plan: GroupPlan,
    arrivals: Sequence[Arrival],
    *,
    cut: int | None = None,
    first: bool = False,
    restored: Collection[int] = (),
) -> Played:
    """Sends arrivals to a kernel, and checks each verdict of lateness by its definition.

    Before those with the numbers `restored` the job is restored from its state; only for arrivals that are never late.
    """
    rows, stream = plan.rows, plan.stream
    assert isinstance(rows, WindowedRows)
    assert stream is not None
    inputs, steps, counted, expected = kernel_inputs(rows), [], [], []
    watermark = NO_WATERMARK
    for number, arrival in enumerate(arrivals):
        if number in restored:
            steps.append({"restore": True})
        step = {"watermark": arrival.watermark} if arrival.watermark is not None else {}
        if (event := kernel_event(plan, inputs, arrival.row)) is not None:
            step["event"] = event
            final = final_at(watermark, plan)
            enters = event["at"] // plan.slide * plan.slide + plan.slide
            filling = cut is not None and final <= cut
            expected.append(not filling and enters + stream.lateness_size <= final)
            if not expected[-1]:
                counted.append(arrival.row)
        steps.append(step)
        watermark = max(watermark, arrival.watermark if arrival.watermark is not None else NO_WATERMARK)
    answer = harness.run(kernel_spec(plan, cut=cut, standing=first), [step for step in steps if step])
    assert answer.error is None, answer.error
    assert [verdict == "TOO_LATE" for verdict in answer.verdicts] == expected
    return Played(answer, counted, sum(expected))


def kernel_event(plan: GroupPlan, inputs: KernelInputs, given: Row) -> dict[str, Any] | None:
    """A row as Flink SQL hands it to the kernel; None where it would be filtered out."""
    assert isinstance(plan.rows, WindowedRows)
    source = plan.rows.source
    [row] = clean_events(replace(source, event_id=None), [given])
    if row[plan.keys[0]] is None or (inputs.where is not None and evaluate(inputs.where, row) is not True):
        return None
    values = [evaluate(value, row) for value in inputs.values]
    return {
        "key": row[plan.keys[0]],
        "at": to_micros(row[source.event_timestamp]),
        "id": None if source.event_id is None or row[source.event_id] is None else str(row[source.event_id]),
        "passes": [evaluate(condition, row) is True for condition in inputs.conditions],
        "values": [
            to_micros(value) if dtype == TIMESTAMP and value is not None else json_value(value)
            for value, dtype in zip(values, [value.dtype for value in inputs.values], strict=True)
        ],
    }


def newest_rows(plan: GroupPlan, answer: Answer) -> dict[tuple[str, int], dict[str, Any]]:
    """Of each key and T the row that was created last; created timestamps of a key never stand still."""
    assert isinstance(plan.rows, WindowedRows)
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    created: dict[str, int] = {}
    for key, at, written, values in answer.rows:
        assert written > created.get(key, 0)
        created[key] = written
        newest[key, at] = dict(zip([a.name for a in in_kernel_order(plan.rows)], values, strict=True))
    return newest


def expected_rows(plan: GroupPlan, rows: Iterable[Row], span: Span) -> dict[tuple[str, int], dict[str, Any]]:
    """The same by the reference."""
    assert isinstance(plan.rows, WindowedRows)
    names = [a.name for a in plan.rows.aggregates]
    found = run_reference(plan, {plan.rows.source.name: list(rows)}, span)
    return {
        (row[plan.keys[0]], to_micros(row["feature_timestamp"])): {name: _in_micros(row[name]) for name in names}
        for row in found
    }


def assert_same(found: dict[tuple[str, int], dict[str, Any]], wanted: dict[tuple[str, int], dict[str, Any]]) -> None:
    assert sorted(found) == sorted(wanted)
    for place, row in wanted.items():
        for name, value in row.items():
            if isinstance(value, float) and found[place][name] is not None:
                assert math.isclose(found[place][name], value, rel_tol=1e-9, abs_tol=1e-9), (place, name, value)
            else:
                assert found[place][name] == value, (place, name, found[place], row)


def _in_micros(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_micros(item) for item in value]
    return to_micros(value) if hasattr(value, "tzinfo") else value


def span_of(plan: GroupPlan, rows: Iterable[Row]) -> Span:
    """Every T at which one of the rows can matter."""
    assert isinstance(plan.rows, WindowedRows)
    times = [to_micros(row["ts"]) for row in rows] or [START]
    longest = max([0, *(size for size in plan.rows.windows if size is not None)])
    return Span(on_grid(min(times), plan) - plan.slide, on_grid(max(times) + longest, plan) + 2 * plan.slide)


def final_at(watermark: int, plan: GroupPlan) -> int:
    """The last T (microseconds) whose rows are final at a watermark (milliseconds)."""
    return (watermark + 1) * 1000 // plan.slide * plan.slide if watermark > NO_WATERMARK else -(2**62)


def on_grid(at: int, plan: GroupPlan) -> int:
    return at // plan.slide * plan.slide


def with_lateness(group: FeatureGroup, lateness: str) -> GroupPlan:
    assert isinstance(group.source, StreamSource)
    return build_plan(replace(group, source=replace(group.source, allowed_lateness=lateness)))


def interleaved(rows: Sequence[Row], pick: random.Random) -> list[Arrival]:
    """The events of each user in order of time, those of different users in any; the watermark waits for the last user.

    As it is where each user's events have a partition of Kafka of their own.
    """
    queues: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["ts"], reverse=True):
        queues.setdefault(row["user_id"], []).append(row)
    arriving = []
    for _ in rows:
        row = pick.choice([queue for queue in queues.values() if queue]).pop()
        next_at = [to_micros(queue[-1]["ts"]) for queue in queues.values() if queue]
        arriving.append(Arrival(row, min(next_at) // 1000 - 1 if next_at else None))
    return arriving


def disordered(rows: Sequence[Row], pick: random.Random, disorder: int) -> list[Arrival]:
    """Events that come after others which are up to `disorder` microseconds newer, for which the watermark waits."""
    order = sorted(rows, key=lambda row: to_micros(row["ts"]) + pick.randint(0, disorder))
    newest = itertools.accumulate((to_micros(row["ts"]) for row in order), max)
    return [Arrival(row, (latest - disorder) // 1000 - 1) for row, latest in zip(order, newest, strict=True)]


@st.composite
def arrivals(draw: st.DrawFn, disorder: int, holding: int = 0) -> list[Arrival]:
    """Events out of order by up to `disorder` microseconds or more, and a watermark that does not always wait for them.

    Args:
        draw: of hypothesis.
        disorder: how far an event is behind others, as a rule.
        holding: how many microseconds the watermark stays behind the latest event, at least.
    """
    rows = draw(events(long=2 * SECOND, short=SECOND))
    dense = draw(events(long=SECOND // 2, short=SECOND // 4))
    rows += [row | {"id": None if row["id"] is None else row["id"] + 1000} for row in dense]
    delays = draw(st.lists(st.integers(0, disorder), min_size=len(rows), max_size=len(rows)))
    order = sorted(range(len(rows)), key=lambda i: to_micros(rows[i]["ts"]) + delays[i])
    arriving, latest = [], -(2**62)
    for i in order:
        latest = max(latest, to_micros(rows[i]["ts"]))
        behind = draw(st.sampled_from([None, None, holding, holding + SECOND, holding + 7 * SECOND]))
        arriving.append(Arrival(rows[i], None if behind is None else (latest - behind) // 1000))
    return arriving
