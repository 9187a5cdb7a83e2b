"""Alerts: each problem is told once, and its end once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest

from feature_assets.keys import offline_key
from feature_store import INT, STRING, TIMESTAMP, BatchSource, Entity, Feature, FeatureGroup, agg
from feature_store.plan.build import build_plan
from resources.store import FeatureStoreResource
from sensors.alerts import AGAIN_SECONDS, Watched, alert_sensor

ORDERS = BatchSource("orders", table="raw.o", event_timestamp="ts", schema={"user_id": STRING, "ts": TIMESTAMP})
COUNT = Feature("user_count_1d", agg.count(), window="1d", dtype=INT)
GROUP = FeatureGroup(
    "user_days", entity=Entity("user", join_key="user_id"), source=ORDERS, owner="team:t", features=[COUNT]
)
KEY = offline_key(GROUP)


class Receiver:
    """A webhook on this machine; `answer` is the status it gives."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.answer = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.answer == 200:
                    receiver.alerts.append(json.loads(body))
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not to the terminal of the tests."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def told(self) -> list[tuple[str, str]]:
        """Status and key of what has come since the last look."""
        told = [(alert["status"], alert["key"]) for alert in self.alerts]
        self.alerts.clear()
        return told


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("FS_PG_URL", "postgresql://u:p@127.0.0.1:1")
    monkeypatch.setenv("FS_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("FS_ALERT_WEBHOOK", receiver.url)
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


class Watch:
    """The sensor on an instance of its own, tick after tick."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.sensor = alert_sensor(Watched.of([build_plan(GROUP)]))
        self.cursor: str | None = None

    def tick(self) -> str:
        store = {"store": FeatureStoreResource()}
        with dg.build_sensor_context(self.instance, self.cursor, resources=store) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor or self.cursor
        assert isinstance(result.skip_reason, dg.SkipReason)
        return str(result.skip_reason.skip_message)

    def check(self, *, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> None:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name="unique_key",
            passed=passed,
            metadata={},
            severity=severity,
            description="two rows",
        )
        self.instance.report_runless_asset_event(evaluation)

    def run(self, *, fails: bool, name: str = "daily_features") -> str:
        """Runs a job; returns the run's id."""

        @dg.op
        def step() -> None:
            if fails:
                raise dg.Failure("no")

        @dg.job(name=name)
        def job() -> None:
            step()

        return job.execute_in_process(instance=self.instance, raise_on_error=False).run_id


def test_a_problem_is_told_when_it_begins_and_when_it_is_over(receiver: Receiver) -> None:
    watch = Watch()
    assert watch.tick() == "nothing is wrong"
    watch.run(fails=True)
    watch.check(passed=False)
    assert watch.tick() == "2 problems"
    alert = next(alert for alert in receiver.alerts if alert["key"].startswith("check"))
    assert alert["text"] == "🔴 check unique_key of offline/user_days/v1 failed: two rows"
    check = "check offline/user_days/v1:unique_key"
    assert sorted(receiver.told) == [("firing", check), ("firing", "job daily_features")]
    watch.run(fails=True)
    watch.check(passed=False)
    assert watch.tick() == "2 problems"
    assert receiver.told == [], "they last, and were told"
    watch.run(fails=False)
    watch.tick()
    assert receiver.told == [("resolved", "job daily_features")]
    watch.check(passed=True)
    assert watch.tick() == "nothing is wrong"
    assert receiver.told == [("resolved", check)]


def test_a_failure_is_not_over_because_of_other_runs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensors.alerts._PAGE", 2)
    watch = Watch()
    failed = watch.run(fails=True)
    for number in range(5):
        watch.run(fails=False, name=f"other_{number}")
    assert watch.tick() == "1 problems"
    for _ in range(2):
        for number in range(3):
            watch.run(fails=False, name=f"other_{number}")
        watch.tick()
    assert receiver.told == [("firing", "job daily_features")]
    watch.instance.delete_run(failed)
    assert watch.tick() == "nothing is wrong", "somebody has deleted the failed run"
    assert receiver.told == [("resolved", "job daily_features")]


def test_a_warning_is_no_alert(receiver: Receiver) -> None:
    watch = Watch()
    watch.check(passed=False, severity=dg.AssetCheckSeverity.WARN)
    assert watch.tick() == "nothing is wrong"
    assert receiver.told == []


def test_what_lasts_is_told_again_after_a_day(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    watch.run(fails=True)
    now = [1_000_000.0]
    monkeypatch.setattr("sensors.alerts.time.time", lambda: now[0])
    for later in (0.0, AGAIN_SECONDS - 1, 1.0):
        now[0] += later
        watch.tick()
    assert receiver.told == [("firing", "job daily_features")] * 2


def test_what_the_webhook_did_not_take_is_told_later(receiver: Receiver) -> None:
    watch = Watch()
    watch.run(fails=True)
    receiver.answer = 500
    assert "does not take alerts" in watch.tick()
    receiver.answer = 200
    watch.tick()
    assert receiver.told == [("firing", "job daily_features")]


def test_without_an_address_nothing_is_told(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FS_ALERT_WEBHOOK")
    watch = Watch()
    watch.run(fails=True)
    assert watch.tick() == "no webhook is set: FS_ALERT_WEBHOOK"
    assert receiver.told == []
