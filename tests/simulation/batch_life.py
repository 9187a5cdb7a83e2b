"""The life of a batch group: a state machine whose steps are everything that can happen to it, in any order."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from pyiceberg.table import Table

from feature_store import FLOAT, INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.compile.span import Span
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY, HOUR, MINUTE
from feature_store.offline.late import late_spans
from feature_store.offline.maintenance import Retention, expirable
from feature_store.online.materialize import materialize
from feature_store.online.progress import load_progress
from feature_store.plan.build import build_plan
from feature_store.plan.nodes import GroupPlan
from tests.simulation.batch_run import reference_rows, run_partition
from tests.simulation.faults import Effects, dying_after
from tests.simulation.group_store import USERS, GroupStore, Services, rewrite
from tests.simulation.oracle import check_rows, standing

BEGIN = to_micros(datetime.now(UTC)) // DAY * DAY + 2 * DAY
"""The first day of events: ahead of the clock of Redis, which would delete rows that are old by it."""
DAYS = 4
EVENTS = {"user_id": STRING, "amount": INT, "ts": TIMESTAMP}
FEATURES = (
    Feature("user_order_count_1d", agg.count(), window="1d", dtype=INT, default=0),
    Feature("user_order_mean_2d", agg.mean("amount"), window="2d", dtype=FLOAT),
)
GAINED = Feature("user_order_max_1d", agg.max("amount"), window="1d", dtype=INT)
STEPS: Counter[str] = Counter()
"""How often each step was taken, in all sequences of this session."""

users = st.sampled_from(USERS)
days = st.integers(0, DAYS - 1)
deaths = st.none() | st.integers(0, 6)


class BatchLife(RuleBasedStateMachine):
    """A windowed group over an Iceberg table, computed by the day."""

    services: Services
    begins: int = BEGIN
    ttl: str = "3d"
    compute: Callable[[GroupStore, GroupPlan, int, int], None] = staticmethod(run_partition)

    @initialize(expires=st.booleans(), delay=st.sampled_from(["0s", "2h"]), buckets=st.sampled_from([1, 3]))
    def begin(self, expires: bool, delay: str, buckets: int) -> None:
        name = uuid.uuid4().hex[:12]
        self.source = BatchSource("orders", table=f"raw.s{name}", event_timestamp="ts", schema=EVENTS)
        self.group = FeatureGroup(
            f"user_{name}", entity=Entity("user", join_key="user_id", dtype=STRING), source=self.source,
            owner="team:test", slide="6h", ttl=self.ttl if expires else None, availability_delay=delay,
            buckets=buckets, features=FEATURES,
        )  # fmt: skip
        self.plan = build_plan(self.group)
        self.store = GroupStore(self.services, self.plan.schema, self.begins)
        self.events: list[dict[str, Any]] = []
        self.computed: set[int] = set()
        self.planned: list[str] = []
        self.keys_lost = False
        self.outdated: set[int] = set()
        schema = pa.schema([("user_id", pa.string()), ("amount", pa.int64()), ("ts", pa.timestamp("us", "UTC"))])
        catalog = self.services.catalog
        catalog.create_namespace_if_not_exists("raw")
        self.raw = catalog.create_table(str(self.source.table), schema)
        self.store.table()

    def _step(self, name: str, minutes: int = 7) -> None:
        STEPS[name] += 1
        self._advance(minutes)

    def _advance(self, minutes: int) -> None:
        self.store.now += minutes * MINUTE

    @rule(events=st.lists(st.tuples(users, days, st.integers(0, 23), st.integers(1, 3)), min_size=1, max_size=5))
    def events_arrive(self, events: list[tuple[str, int, int, int]]) -> None:
        """Also for days that are computed, and the same event twice."""
        self._step("events arrive")
        self._append(
            [
                {"user_id": user, "amount": amount, "ts": from_micros(self.begins + day * DAY + hour * HOUR)}
                for user, day, hour, amount in events
            ]
        )

    def _append(self, rows: list[dict[str, Any]]) -> None:
        self.events += rows
        self.raw.append(pa.Table.from_pylist(rows, schema=self.raw.schema().as_arrow()))

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def event_is_corrected(self, data: st.DataObject) -> None:
        """The source is written anew with another amount of one event, or without it."""
        self._step("event is corrected")
        place = data.draw(st.integers(0, len(self.events) - 1))
        changed = data.draw(st.none() | st.integers(4, 6))
        event = self.events.pop(place)
        if changed is not None:
            self.events.append(event | {"amount": changed})
        self.raw.overwrite(pa.Table.from_pylist(self.events, schema=self.raw.schema().as_arrow()))

    @rule(day=days, length=st.integers(1, 2), death=deaths)
    def partitions_are_computed(self, day: int, length: int, death: int | None) -> None:
        self._step("partitions are computed")
        self._compute(day, min(day + length, DAYS), death)

    def _compute(self, day: int, end: int, death: int | None = None) -> None:
        effects = Effects(death)
        self.store.now = max(self.store.now, self.begins + end * DAY)
        before = self.store.table().metadata.current_snapshot_id
        with dying_after(effects, self.services.catalog, self.services.redis):
            self.compute(self.store, self.plan, self.begins + day * DAY, self.begins + end * DAY)
        self.store.deaths += effects.dead
        self.store.note_written()
        if not effects.dead or self.store.table().metadata.current_snapshot_id != before:
            self.computed |= set(range(day, end))

    @rule(full=st.sampled_from([False, False, False, True]), death=deaths)
    def is_materialized(self, full: bool, death: int | None) -> None:
        self._step("is materialized")
        self._materialize(full, death)

    def _materialize(self, full: bool, death: int | None = None) -> None:
        with dying_after(Effects(death), self.services.catalog, self.services.redis):
            materialize(
                self.services.catalog,
                self.services.redis,
                self.store.schema,
                now=from_micros(self.store.now),
                full=full,
            )

    @rule(what=st.sampled_from(["compaction is planned", "compaction is committed", "snapshots expire"]))
    def table_is_maintained(self, what: str) -> None:
        self._step(what)
        table = self.store.table()
        files = [task.file.file_path for task in table.scan().plan_files()]
        if what == "compaction is planned":
            self.planned = files
        elif what == "compaction is committed":
            if self.planned and set(self.planned) <= set(files):
                rewrite(table, self.planned)
            self.planned = []
        else:
            self._expire(table)

    def _expire(self, table: Table) -> None:
        """All that maintenance may expire a year from now."""
        later = datetime.now(UTC) + timedelta(days=365)
        done = load_progress(self.services.redis, self.store.schema)
        needed = [] if done is None else [done.snapshot]
        if gone := expirable(table, later, Retention(snapshots=1), needed):
            table.maintenance.expire_snapshots().by_ids(gone).commit()

    @rule(everything=st.booleans())
    def redis_loses_keys(self, everything: bool) -> None:
        """All keys of the group; or the vector of one entity, which only a full materialization can know."""
        self._step("Redis loses keys")
        keys = sorted(self.services.redis.scan_iter(f"{self.store.schema.id}:*", count=10_000))
        if not everything:
            keys = [key for key in keys if b"{" in key][:1]
            self.keys_lost |= bool(keys)
        for key in keys:
            self.services.redis.delete(key)

    @rule(hours=st.sampled_from([1, 6, 30, 80]))
    def time_passes(self, hours: int) -> None:
        self._step("time passes", hours * 60)

    @rule(death=deaths)
    def dataset_is_built(self, death: int | None) -> None:
        self._step("dataset is built")
        effects = Effects(death)
        with dying_after(effects, self.services.catalog, self.services.redis):
            self.store.joined([(user, self.store.now) for user in USERS])

    @precondition(lambda self: GAINED not in self.group.features)
    @rule()
    def schema_gains_a_feature(self) -> None:
        """Rows that are there have no value of it until their days are computed again."""
        self._step("schema gains a feature")
        self.group = replace(self.group, features=[*FEATURES, GAINED])
        self.plan = build_plan(self.group)
        self.store.schema = self.plan.schema
        self.store.table()  # apply adds the column
        self.outdated = set(self.computed)

    @rule()
    def quiet(self) -> None:
        """Everybody catches up: touched partitions are computed, the table is materialized; then all is compared."""
        self._step("quiet moment")
        if not self.computed:
            return
        for day in sorted(self.outdated):
            self._compute(day, day + 1)
        self.outdated = set()
        following = max(self.computed) + 1
        self._compute(following, following + 1)  # the run of a new partition finds what came late for earlier ones
        for after, until in late_spans(self.store.table().properties):
            first, end = (after - self.begins) // DAY, (until - self.begins) // DAY
            for day in range(max(first, 0), end):
                if day in self.computed:
                    self._compute(day, day + 1)
        self._materialize(full=self.keys_lost)
        self.keys_lost = False
        self._check_offline()
        self._advance(0)  # to behind what this step has created, where that is the machine's clock
        self.store.check()

    def _check_offline(self) -> None:
        """The rows that stand are those of one run over all events, in every day that was computed."""
        begin = min(self.computed)
        spans = [
            Span(self.begins + day * DAY, self.begins + (day + 1) * DAY, first=day == begin)
            for day in sorted(self.computed)
        ]
        wanted = [row for span in spans for row in reference_rows(self.store, self.plan, span, self.events)]
        check_rows(standing(self.store.rows()), wanted)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.quiet()
            for key in self.services.redis.scan_iter(f"{self.store.schema.id}:*", count=10_000):
                self.services.redis.delete(key)
            self.services.catalog.drop_table(str(self.source.table))
            self.services.catalog.drop_table(self.store.schema.table)
