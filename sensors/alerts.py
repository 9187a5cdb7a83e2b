"""What is wrong right now, told to a webhook: failed jobs, failed checks, assets past their freshness policy.

Each problem is told once when it begins, once a day while it lasts, and once when it is over.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from feature_assets.checks import check_specs
from feature_assets.dead_letters import dead_letter_key, streams_of
from feature_assets.keys import offline_key, online_key
from feature_assets.online import FRESH
from feature_assets.skew import skew_check_keys
from feature_store.dsl.view import FeatureView
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

ALERTS = "alerts"
LOOK_SECONDS = 60
AGAIN_SECONDS = 24 * 60 * 60.0
_ANSWER_SECONDS = 10.0
_FIRST_LOOK_BACK = timedelta(days=30)
"""How old runs may be that the first look counts; what comes after it is counted whatever its number."""
_PAGE = 500  # runs of one query
_OVERLAP = timedelta(minutes=1)
"""Runs are looked at again for so long: they become visible out of the order of their times."""


@dataclass(frozen=True)
class Alert:
    """One thing that is wrong; the same `key` is the same problem at another time."""

    key: str
    title: str
    details: str = ""


@dataclass(frozen=True)
class Watched:
    """What the alarm looks at."""

    assets: tuple[dg.AssetKey, ...]
    checks: tuple[dg.AssetCheckKey, ...]

    @classmethod
    def of(cls, plans: Sequence[GroupPlan], views: Sequence[FeatureView] = ()) -> Watched:
        """The assets of all groups, their checks and those of the views' skew reports; of jobs it looks at all."""
        assets = [make(plan.group) for plan in plans for make in (offline_key, online_key)]
        batch = [plan for plan in plans if plan.stream is None]
        checks = [spec.key for plan in batch for spec in check_specs(offline_key(plan.group), plan)]
        checks += [dg.AssetCheckKey(online_key(plan.group), FRESH) for plan in plans if plan.stream is not None]
        checks += [dead_letter_key(stream) for stream in streams_of(plans)]
        checks += [key for view in views for key in skew_check_keys(view)]
        return cls(tuple(assets), tuple(checks))


@dataclass(frozen=True)
class FailedJobs:
    """The jobs whose last finished run failed.

    Args:
        runs: that run, by the job's key.
        ends: when it ended (Unix seconds), by the job's key.
        until: the newest run that was looked at was updated then, in ISO form; empty before the first look.
    """

    runs: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, float] = field(default_factory=dict)
    until: str = ""


@dataclass(frozen=True)
class Memory:
    """What the sensor remembers, its cursor: when each problem was told (Unix seconds), and the failed jobs."""

    told: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def jobs(self) -> FailedJobs:
        return FailedJobs(**self.failed)


def alert_sensor(watched: Watched) -> dg.SensorDefinition:
    """The sensor that tells FS_ALERT_WEBHOOK; without that address it does nothing."""

    @dg.sensor(
        name=ALERTS,
        description="Tells FS_ALERT_WEBHOOK what has failed or is overdue: once when it begins, once when it is over.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def look(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult:
        webhook = store.settings.alert_webhook
        if not webhook:
            return dg.SensorResult(skip_reason="no webhook is set: FS_ALERT_WEBHOOK")
        memory = Memory(**json.loads(context.cursor or "{}"))
        told = dict(memory.told)
        jobs = failed_jobs(context.instance, memory.jobs)
        problems = {problem.key: problem for problem in find_problems(context.instance, watched, jobs)}
        now = time.time()
        try:
            for problem in problems.values():
                if now - told.get(problem.key, 0.0) >= AGAIN_SECONDS:
                    _post(webhook, "firing", problem, store.settings.dagster_url)
                    told[problem.key] = now
            for key in [key for key in told if key not in problems]:
                _post(webhook, "resolved", Alert(key, f"over: {key}"), store.settings.dagster_url)
                del told[key]
            said = f"{len(problems)} problems" if problems else "nothing is wrong"
        except OSError as error:  # the rest is told when it answers again
            said = f"FS_ALERT_WEBHOOK does not take alerts ({error})"
            context.log.error(said)
        return dg.SensorResult(skip_reason=said, cursor=json.dumps(asdict(Memory(told, asdict(jobs)))))

    return look


def find_problems(instance: dg.DagsterInstance, watched: Watched, jobs: FailedJobs) -> Iterator[Alert]:
    """What is wrong now: of jobs and checks the latest outcome counts, of assets their freshness."""
    for job, run in jobs.runs.items():
        yield Alert(job, f"{job} failed", f"run {run}")
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(watched.checks).items():
        event = record.event.dagster_event if record.event is not None else None
        if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        found = event.asset_check_evaluation_data
        if not found.passed and found.severity == dg.AssetCheckSeverity.ERROR:
            name = key.asset_key.to_user_string()
            yield Alert(f"check {name}:{key.name}", f"check {key.name} of {name} failed", found.description or "")
    for asset, state in instance.get_freshness_state_records(watched.assets).items():
        if state.freshness_state.value == "FAIL":
            name = asset.to_user_string()
            yield Alert(f"fresh {name}", f"{name} is past its freshness policy", f"since {state.updated_at}")


def failed_jobs(instance: dg.DagsterInstance, before: FailedJobs) -> FailedJobs:
    """The jobs whose last finished run failed: what was known before, changed by the runs that have ended since then.

    However many runs there are, a failure stands until a later run of the same job and assets succeeds, or somebody
    deletes the failed run.
    """
    since = datetime.fromisoformat(before.until) if before.until else datetime.now(UTC) - _FIRST_LOOK_BACK
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    found: list[dg.RunRecord] = []
    while True:
        cursor = found[-1].dagster_run.run_id if found else None
        filters = dg.RunsFilter(statuses=ended, updated_after=since - _OVERLAP)
        page = instance.get_run_records(filters, limit=_PAGE, cursor=cursor)
        found += page
        if len(page) < _PAGE:
            break
    runs, ends = dict(before.runs), dict(before.ends)
    for record in sorted(found, key=lambda record: record.end_time or 0.0):
        key, end = _job_key(record.dagster_run), record.end_time or 0.0
        if end < max(ends.get(key, 0.0), (since - _OVERLAP).timestamp()):
            continue  # it was counted when it ended, and has only got a tag since
        runs.pop(key, None)
        ends.pop(key, None)
        if record.dagster_run.status == dg.DagsterRunStatus.FAILURE:
            runs[key], ends[key] = record.dagster_run.run_id, end
    there = instance.get_run_records(dg.RunsFilter(run_ids=list(runs.values()))) if runs else []
    kept = {record.dagster_run.run_id for record in there}
    until = max([since, *(record.update_timestamp.replace(tzinfo=UTC) for record in found)])
    left = {key: run for key, run in runs.items() if run in kept}
    return FailedJobs(left, {key: ends[key] for key in left}, until.isoformat())


def _job_key(run: dg.DagsterRun) -> str:
    """Runs of chosen assets are told apart by what they chose."""
    chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
    return f"job {run.job_name}" + (f" of {', '.join(chosen)}" if chosen else "")


def _post(webhook: str, status: str, problem: Alert, dagster: str) -> None:
    """Sends one alert; `text` is what chat programs show.

    Raises:
        OSError: if the address does not answer, or not with success.
    """
    sign = "🔴" if status == "firing" else "🟢"
    text = f"{sign} {problem.title}" + (f": {problem.details}" if problem.details else "")
    alert = {"text": text, "status": status, "key": problem.key, "title": problem.title, "details": problem.details,
             "dagster": dagster}  # fmt: skip
    request = urllib.request.Request(
        webhook, json.dumps(alert).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):
        pass
