"""The life of a streaming group: a state machine whose steps are everything that can happen to it, in any order."""

from __future__ import annotations

import uuid

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from feature_store import INT, STRING, TIMESTAMP, Entity, Feature, FeatureGroup, StreamSource, agg, session
from feature_store.compile.span import Span
from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY, HOUR, MINUTE
from feature_store.offline.late import unreconciled_spans
from feature_store.offline.reconcile import settled_at
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.online.materialize import materialize
from feature_store.plan.build import build_plan
from tests.integration.kernel_harness import KernelHarness
from tests.simulation.batch_life import BEGIN, STEPS, deaths, users
from tests.simulation.batch_run import reference_rows, run_partition
from tests.simulation.faults import Effects, dying_after
from tests.simulation.group_store import GroupStore, Services, rewrite
from tests.simulation.oracle import Row, check_rows, standing
from tests.simulation.stream_job import EventLog, Message, StreamJob
from tests.simulation.update_loader import UpdateLoader

delays = st.sampled_from([0, 0, 3, 9, 25, 65, 90, 3 * 24 * 60])
"""How many minutes an event is behind the clock."""
EVENTS = {"user_id": STRING, "id": INT, "amount": INT, "ts": TIMESTAMP}


class StreamLife(RuleBasedStateMachine):
    """A group with a sliding window and a session over a stream."""

    services: Services
    harness: KernelHarness

    @initialize(ttl=st.sampled_from([None, "8h"]), buckets=st.sampled_from([1, 3]), copies=st.booleans())
    def begin(self, ttl: str | None, buckets: int, copies: bool) -> None:
        name = uuid.uuid4().hex[:12]
        stream = StreamSource(
            f"s{name}", topic=name, event_timestamp="ts", schema=EVENTS,
            max_out_of_orderness="10m", allowed_lateness="1h",
            event_id="id" if copies else None, deduplicate_within="2h",
        )  # fmt: skip
        group = FeatureGroup(
            f"user_{name}", entity=Entity("user", join_key="user_id", dtype=STRING), source=stream,
            owner="team:test", slide="10m", ttl=ttl, buckets=buckets,
            features=[
                Feature("user_click_count_1h", agg.count(), window="1h", dtype=INT, default=0),
                Feature("user_click_sum_session", agg.sum("amount"), window=session("30m"), dtype=INT),
            ],
        )  # fmt: skip
        self.plan = build_plan(group)
        self.store = GroupStore(self.services, self.plan.schema, BEGIN + HOUR)
        self.job = StreamJob(self.harness, self.store, self.plan)
        self.log = EventLog(self.services.catalog, stream, self.job.topic)
        self.log.commit(0)
        self.loader = UpdateLoader(self.store, self.job.updates)
        self.loader.begin_at(0)
        self.planned: list[str] = []
        self.dump: dict[bytes, bytes] = {}
        self.store.table()

    def _step(self, name: str, minutes: int = 1) -> None:
        STEPS[name] += 1
        self.store.now += minutes * MINUTE

    @rule(events=st.lists(st.tuples(users, delays, st.integers(1, 3)), min_size=1, max_size=6))
    def events_arrive(self, events: list[tuple[str, int, int]]) -> None:
        """In time, late, later than allowed, or days late."""
        self._step("events arrive")
        for user, behind, amount in events:
            self.store.now += MINUTE
            at = max(self.store.now - behind * MINUTE, BEGIN)
            event = {"user_id": user, "id": len(self.job.topic), "amount": amount, "ts": from_micros(at)}
            self.job.topic.append(Message(at, event))

    @precondition(lambda self: self._events())
    @rule(
        data=st.data(), minutes=st.sampled_from([0, 0, 5, 70, 110, 130, -5, -70]), amount=st.none() | st.integers(4, 6)
    )
    def event_comes_again(self, data: st.DataObject, minutes: int, amount: int | None) -> None:
        """At its time, or said to have been later or earlier; the same, or with another amount."""
        self._step("event comes again")
        event = data.draw(st.sampled_from(self._events()))
        at = min(max(to_micros(event["ts"]) + minutes * MINUTE, BEGIN), self.store.now)
        again = event if amount is None else event | {"amount": amount}
        self.job.topic.append(Message(at, again | {"ts": from_micros(at)}))

    @rule(minutes=st.sampled_from([5, 20, 70, 300, 1500]))
    def time_passes(self, minutes: int) -> None:
        """A heartbeat tells the job."""
        self._step("time passes", minutes)
        self.job.topic.append(Message(self.store.now))

    @rule(messages=st.integers(1, 8), completes=st.booleans())
    def job_processes(self, messages: int, completes: bool) -> None:
        """And completes a checkpoint after it, or not."""
        self._step("job processes")
        self.job.process(messages)
        if completes:
            self.job.checkpoint()

    @rule(back=st.sampled_from([0, 0, 0, 1, 3]))
    def job_is_restored(self, back: int) -> None:
        self._step("job is restored")
        self.job.restore(back)

    @rule(updates=st.integers(1, 6), death=deaths)
    def loader_loads(self, updates: int, death: int | None) -> None:
        self._step("loader loads")
        if self.loader.place is None:
            self._refill()
        with dying_after(Effects(death), self.services.catalog, self.services.redis):
            self.loader.load(updates)

    @rule(back=st.integers(1, 10))
    def loader_starts_from_older_place(self, back: int) -> None:
        self._step("loader starts from an older place")
        if (place := self.loader.place) is not None:
            self.loader.begin_at(max(0, place - back))

    @rule(what=st.sampled_from(["Redis is saved", "Redis goes back", "Redis loses everything"]))
    def redis_fails(self, what: str) -> None:
        """It goes back to what was on disk: later writes are lost, the places of the loader with them."""
        self._step(what)
        redis = self.services.redis
        if what == "Redis is saved":
            self.dump = {key: redis.dump(key) for key in redis.scan_iter(f"{self.store.schema.id}:*", count=10_000)}
            return
        self._forget()
        for key, value in self.dump.items() if what == "Redis goes back" else ():
            redis.restore(key, 0, value)

    def _forget(self) -> None:
        for key in self.services.redis.scan_iter(f"{self.store.schema.id}:*", count=10_000):
            self.services.redis.delete(key)

    @rule(full=st.sampled_from([False, False, True]), death=deaths)
    def is_materialized(self, full: bool, death: int | None) -> None:
        self._step("is materialized")
        with dying_after(Effects(death), self.services.catalog, self.services.redis):
            self._materialize(full)

    def _materialize(self, full: bool) -> None:
        materialize(
            self.services.catalog, self.services.redis, self.store.schema, now=from_micros(self.store.now), full=full
        )

    def _refill(self) -> None:
        """What the loader does where Redis does not know its place: the table, then what it may not have yet."""
        self._materialize(full=True)
        self.loader.begin_at(len(self.job.updates) - len(self.job.pending))

    @rule(messages=st.integers(1, 12))
    def log_is_committed(self, messages: int) -> None:
        self._step("log is committed")
        self.log.commit(messages)

    @rule(day=st.integers(0, 3), death=deaths)
    def day_is_reconciled(self, day: int, death: int | None) -> None:
        """In any order; not before it is settled and the log has it."""
        self._step("day is reconciled")
        self._reconcile(day, death)

    def _reconcile(self, day: int, death: int | None = None) -> None:
        after, until = BEGIN + day * DAY, BEGIN + (day + 1) * DAY
        is_settled = from_micros(self.store.now) >= settled_at(self.plan, from_micros(until))
        if not (is_settled and self.log.has_all_before(until)):
            return
        effects = Effects(death)
        with dying_after(effects, self.services.catalog, self.services.redis):
            run_partition(self.store, self.plan, after, until)
        self.store.note_written()

    def _reconcile_what_is_due(self, settled: int) -> None:
        """What the sensor asks for; again, since the run of a new day may find what came late for earlier ones."""
        for _ in range(3):
            for after, until in unreconciled_spans(self.store.table(), self.plan, settled):
                for day in range((after - BEGIN) // DAY, (until - BEGIN) // DAY):
                    self._reconcile(day)
        assert not unreconciled_spans(self.store.table(), self.plan, settled), "days are asked for for ever"

    @rule(commits=st.booleans())
    def compaction_runs(self, commits: bool) -> None:
        """It is planned, and committed when more has happened; not if its files are gone by then."""
        self._step("compaction is committed" if commits else "compaction is planned")
        table = self.store.table()
        files = [task.file.file_path for task in table.scan().plan_files()]
        if not commits:
            self.planned = files
        elif self.planned and set(self.planned) <= set(files):
            rewrite(table, self.planned)
            self.planned = []

    @rule()
    def quiet(self) -> None:
        """Everybody catches up and the day ends; then all is compared."""
        self._step("quiet moment")
        stream = self.plan.stream
        assert stream is not None
        day = (self.store.now - BEGIN) // DAY
        self.store.now = BEGIN + (day + 1) * DAY + 2 * HOUR
        self.job.topic.append(Message(self.store.now))
        self.job.process(len(self.job.topic))
        self.job.checkpoint()
        self.log.commit(len(self.job.topic))
        self._reconcile_what_is_due(BEGIN + (day + 1) * DAY)
        if self.loader.place is None:
            self._refill()
        self.loader.load(len(self.job.updates))
        self._materialize(full=False)
        self._check_offline(BEGIN + (day + 1) * DAY)
        self.store.now += MINUTE
        self.store.check()

    def _check_offline(self, until: int) -> None:
        """The rows that stand are those of one run over all events, from the first partition that has any."""
        begin = self.store.table().properties.get(FIRST_TIMESTAMP)
        stands = {place: row for place, row in standing(self.store.rows()).items() if place[1] <= until}
        if begin is None:
            assert not stands
            return
        span = Span(int(begin) - self.plan.slide, until, first=True)
        check_rows(stands, reference_rows(self.store, self.plan, span, self._events()))

    def _events(self) -> list[Row]:
        return [message.row for message in self.job.topic if message.row is not None]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.quiet()
            self._forget()
            self.services.catalog.drop_table(self.store.schema.table)
            self.services.catalog.drop_table(str(self.log.stream.log.table))
