"""What is wrong right now, told to a webhook: failed jobs, failed checks, assets past their freshness policy.

Each problem is told once when it begins, once a day while it lasts, and once when it is over.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from feature_assets.checks import check_specs
from feature_assets.keys import offline_key, online_key
from feature_assets.online import FRESH
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

ALERTS = "alerts"
LOOK_SECONDS = 60
AGAIN_SECONDS = 24 * 60 * 60.0
_ANSWER_SECONDS = 10.0
_LOOK_BACK = 100  # runs


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
    def of(cls, plans: Sequence[GroupPlan]) -> Watched:
        """The assets of all groups, and their checks; of jobs it looks at all."""
        assets = [make(plan.group) for plan in plans for make in (offline_key, online_key)]
        batch = [plan for plan in plans if plan.stream is None]
        checks = [spec.key for plan in batch for spec in check_specs(offline_key(plan.group), plan)]
        checks += [dg.AssetCheckKey(online_key(plan.group), FRESH) for plan in plans if plan.stream is not None]
        return cls(tuple(assets), tuple(checks))


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
        told: dict[str, float] = json.loads(context.cursor or "{}")
        problems = {problem.key: problem for problem in find_problems(context.instance, watched)}
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
        return dg.SensorResult(skip_reason=said, cursor=json.dumps(told))

    return look


def find_problems(instance: dg.DagsterInstance, watched: Watched) -> Iterator[Alert]:
    """What is wrong now: of jobs and checks the latest outcome counts, of assets their freshness."""
    yield from _failed_jobs(instance)
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


def _failed_jobs(instance: dg.DagsterInstance) -> Iterator[Alert]:
    """Jobs whose last finished run failed; runs of chosen assets are told apart by what they chose."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    seen: set[str] = set()
    for record in instance.get_run_records(dg.RunsFilter(statuses=ended), limit=_LOOK_BACK):
        run = record.dagster_run
        chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
        key = f"job {run.job_name}" + (f" of {', '.join(chosen)}" if chosen else "")
        if key in seen:
            continue
        seen.add(key)
        if run.status == dg.DagsterRunStatus.FAILURE:
            yield Alert(key, f"{key} failed", f"run {run.run_id}")


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
