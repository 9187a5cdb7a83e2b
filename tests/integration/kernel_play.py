"""Playing arrivals to the window kernel in its harness, and what the reference makes of the same events."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from feature_store import TIMESTAMP, FeatureGroup, StreamSource
from feature_store.compile.kernel_spec import in_kernel_order, kernel_spec
from feature_store.compile.reference import run_reference
from feature_store.compile.reference_events import Row, clean_events
from feature_store.compile.reference_expressions import IntOverflowError, evaluate
from feature_store.compile.span import Span
from feature_store.dtypes import to_micros
from feature_store.duration import SECOND, parse_duration
from feature_store.plan.build import build_plan
from feature_store.plan.event_inputs import EventInputs, event_inputs
from feature_store.plan.nodes import GroupPlan, WindowedRows
from tests.integration.engine_cases import START, events
from tests.integration.kernel_harness import Answer, KernelHarness, json_value

NO_WATERMARK = -(2**63)
Vectors = dict[tuple[str, int], dict[str, Any]]
"""Values by key and T."""


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
    restored: Mapping[int, str | None] | None = None,
) -> Played:
    """Sends arrivals to a kernel, and checks each verdict of lateness by its definition.

    Args:
        restored: before the arrivals with these numbers the job is restored from its state, with another
            `allowed_lateness` where one is given. It does not know the watermark then, until the next one comes.
    """
    rows, stream = plan.rows, plan.stream
    assert isinstance(rows, WindowedRows)
    assert stream is not None
    spec, inputs = kernel_spec(plan, cut=cut, standing=first), event_inputs(rows)
    steps, expected, sent = [], [], []
    lateness, limits = stream.lateness_size, Limits(cut)
    watermark = NO_WATERMARK
    for number, arrival in enumerate(arrivals):
        if restored is not None and number in restored:
            watermark = NO_WATERMARK
            changed = restored[number]
            if changed is not None:
                plan, lateness = with_lateness(plan.group, changed), parse_duration(changed)
            steps.append({"restore": json.loads(kernel_spec(plan, cut=cut, standing=first))})
        step: dict[str, Any] = {"watermark": arrival.watermark} if arrival.watermark is not None else {}
        if (event := kernel_event(plan, inputs, arrival.row)) is not None:
            step["event"] = event
            limits.call(final_at(watermark, plan), lateness)
            expected.append(limits.of(event["at"] // plan.slide * plan.slide + plan.slide))
            sent.append(arrival.row)
        steps.append(step)
        if arrival.watermark is not None and arrival.watermark > watermark:
            watermark = arrival.watermark
            limits.pass_by(final_at(watermark, plan), lateness)
    answer = harness.run(spec, [step for step in steps if step])
    assert answer.error is None, answer.error
    refused = [verdict == "TOO_LATE" for verdict in answer.verdicts]
    assert all(is_refused in allowed for is_refused, allowed in zip(refused, expected, strict=True))
    counted = [row for row, is_refused in zip(sent, refused, strict=True) if not is_refused]
    return Played(answer, counted, sum(refused))


@dataclass
class Limits:
    """Up to which T events are too late.

    The kernel learns the watermark with an event or a timer. Whether it has fired one since the watermark moved
    is not known here: of a restored job it can be either.
    """

    cut: int | None
    surely: int = NO_WATERMARK
    maybe: int = NO_WATERMARK

    def call(self, final: int, lateness: int) -> None:
        """An event comes while rows up to `final` (microseconds) are final."""
        self.pass_by(final, lateness)
        if self.cut is None or final > self.cut:
            self.surely = max(self.surely, final - lateness)

    def pass_by(self, final: int, lateness: int) -> None:
        """The watermark moves."""
        if self.cut is None or final > self.cut:
            self.maybe = max(self.maybe, final - lateness)

    def of(self, enters: int) -> tuple[bool, ...]:
        """Whether an event that enters the windows at a T is refused: what may be."""
        if enters <= self.surely:
            return (True,)
        return (False, True) if enters <= self.maybe else (False,)


def kernel_event(plan: GroupPlan, inputs: EventInputs, given: Row) -> dict[str, Any] | None:
    """A row as Flink SQL hands it to the kernel; None where it would be filtered out."""
    assert isinstance(plan.rows, WindowedRows)
    source = plan.rows.source
    [row] = clean_events(replace(source, event_id=None), [given])
    values: list[Any] = [None] * len(inputs.values)
    passes = [False] * len(inputs.conditions)
    try:
        counts = inputs.where is None or evaluate(inputs.where, row) is True
        if counts:
            values = [evaluate(value, row) for value in inputs.values]
            passes = [evaluate(condition, row) is True for condition in inputs.conditions]
    except IntOverflowError:
        counts = False
    if row[plan.keys[0]] is None or (source.event_id is None and not counts):
        return None
    passes += [counts] if source.event_id is not None else []
    return {
        "key": row[plan.keys[0]],
        "at": to_micros(row[source.event_timestamp]),
        "id": None if source.event_id is None or row[source.event_id] is None else str(row[source.event_id]),
        "row": [(str(dtype), json_value(_in_micros(row[name]))) for name, dtype in source.schema.items()],
        "passes": passes,
        "values": [
            to_micros(value) if dtype == TIMESTAMP and value is not None else json_value(value)
            for value, dtype in zip(values, [value.dtype for value in inputs.values], strict=True)
        ],
    }


def newest_rows(plan: GroupPlan, answer: Answer) -> Vectors:
    """Of each key and T the row that was created last; created timestamps of a key never stand still."""
    assert isinstance(plan.rows, WindowedRows)
    newest: Vectors = {}
    created: dict[str, int] = {}
    for key, at, written, values in answer.rows:
        assert written > created.get(key, 0)
        created[key] = written
        newest[key, at] = dict(zip([a.name for a in in_kernel_order(plan.rows)], values, strict=True))
    return newest


def expected_rows(plan: GroupPlan, rows: Iterable[Row], span: Span) -> Vectors:
    """The same by the reference."""
    assert isinstance(plan.rows, WindowedRows)
    names = [a.name for a in plan.rows.aggregates]
    found = run_reference(plan, {plan.rows.source.name: list(rows)}, span)
    return {
        (row[plan.keys[0]], to_micros(row["feature_timestamp"])): {name: _in_micros(row[name]) for name in names}
        for row in found
    }


def assert_same(found: Vectors, wanted: Vectors, *, replaced: bool = False) -> None:
    """The same rows.

    Args:
        found: by the kernel.
        wanted: by the reference.
        replaced: whether events may have been found to be copies after rows were written where they came or went:
            these rows were corrected, to what stands there since the row before.
    """
    if replaced:
        wanted = wanted | {place: _standing(place, found, wanted) for place in found.keys() - wanted.keys()}
    assert sorted(found) == sorted(wanted)
    for place, row in wanted.items():
        for name, value in row.items():
            if isinstance(value, float) and found[place][name] is not None:
                assert math.isclose(found[place][name], value, rel_tol=1e-9, abs_tol=1e-9), (place, name, value)
            else:
                assert found[place][name] == value, (place, name, found[place], row)


def _standing(place: tuple[str, int], found: Vectors, wanted: Vectors) -> dict[str, Any]:
    before = [at for key, at in wanted if key == place[0] and at < place[1]]
    if before:
        return wanted[place[0], max(before)]
    return {name: 0 if value == 0 else None for name, value in found[place].items()}


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


def has_ids(plan: GroupPlan) -> bool:
    """Whether events of a group have ids."""
    return plan.sources[0].event_id is not None


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
    rows = draw(events(long=2 * SECOND, short=SECOND, far=15 * SECOND))
    dense = draw(events(long=SECOND // 2, short=SECOND // 4, far=15 * SECOND))
    rows += [row | {"id": None if row["id"] is None else row["id"] + 1000} for row in dense]
    delays = draw(st.lists(st.integers(0, disorder), min_size=len(rows), max_size=len(rows)))
    order = sorted(range(len(rows)), key=lambda i: to_micros(rows[i]["ts"]) + delays[i])
    arriving, latest = [], -(2**62)
    for i in order:
        latest = max(latest, to_micros(rows[i]["ts"]))
        behind = draw(st.sampled_from([None, None, holding, holding + SECOND, holding + 7 * SECOND]))
        arriving.append(Arrival(rows[i], None if behind is None else (latest - behind) // 1000))
    return arriving
