"""`./fs demo`: the whole way once, on real purchases, every step visible in Dagster."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from demo.dagster_runs import Dagster, RunState
from demo.live import await_stream, make_topic, play, send_bad_events, show_dead_letters
from demo.load import LoadReport, load_shop
from demo.repurchase import NAME
from demo.scored import show_model, show_scores
from demo.served import show_replay, show_served
from demo.show import (
    VIEW,
    labelled_customers,
    latest_training_set,
    show_computed,
    show_loaded,
    show_next,
    show_training,
    show_vectors,
)
from feature_assets.keys import offline_key
from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project, load_project
from feature_store.local import stack
from feature_store.local.display import Display
from feature_store.registry.render import render_plan
from feature_store.settings import Settings
from feature_store.stack_settings import StackSettings

DAILY_SPAN = timedelta(days=95)
"""How far back customers are computed: 30 days of labels' future, 60 days of labels, and some before."""
HOURLY_SPAN = timedelta(days=7)


def main() -> None:
    """Runs the demo; what an earlier run has done is kept and said to be skipped."""
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width to fit into
    began = time.monotonic()
    with _step(console, "Stack: Postgres, Valkey, Kafka, Flink, Dagster"), Display(console) as display:
        stack.up(StackSettings.load(), dagster=True, streams=True, report=display)
    settings = Settings.load()
    store, dagster = FeatureStore(settings), Dagster(settings.dagster_url)
    project = load_project("feature_defs")

    with _step(console, "Raw data: the purchases of a real shop, and what surrounds them"):
        # In a process of its own, which gives back the memory of a million rows.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            loaded = pool.submit(load_shop, settings, datetime.now(UTC).date()).result()
        show_loaded(console, loaded)
        make_topic(settings)
    with _step(console, "Registry: what ./fs plan and ./fs apply do"):
        plan = store.plan(project)
        console.print(render_plan(plan))
        applied = store.registry.apply(plan, "demo")
        console.print("nothing to apply" if applied is None else f"applied plan #{applied.plan_id}")
    with _step(console, "Backfill: Spark -> Iceberg -> checks -> Redis, run by Dagster"):
        computed = _backfill(console, dagster, project, loaded)
        show_computed(console, dagster, project)
    with _step(console, "Training set: labels joined to features as of each purchase; a model trained on it"):
        if computed or latest_training_set(settings) is None or not any(model.name == NAME for model in store.models()):
            _run(console, dagster, "repurchase_training_set", "training set and model", steps=2)
        else:
            console.print("skipped: no feature has changed since the last one")
        show_training(console, settings)
        show_model(console, dagster, store)
    customers = labelled_customers(loaded)
    with _step(console, "Live: events -> Kafka -> Flink -> Redis and Iceberg"):
        began_live = datetime.now(UTC)
        await_stream(console, store, project)
        played = play(console, store, [row["user_id"] for row in customers])
        console.print(f"{played.events:,} events in {played.seconds:.0f} s")
    with _step(console, "Dead letters: a malformed event and one that came an hour late"):
        send_bad_events(settings)
        show_dead_letters(console, store, began_live)
    with _step(console, "Online: customers, each with an item they bought: daily, hourly and live features together"):
        show_vectors(console, store, customers)
    with _step(console, "Server: the same over HTTP"):
        show_served(console, settings.serving_url, customers)
        show_scores(console, settings.serving_url, store.model(NAME), [row["user_id"] for row in customers])
    with _step(console, "Promise: what was served, joined again as of each answer"):
        show_replay(console, store, VIEW)
    show_next(console, settings, time.monotonic() - began)


def _backfill(console: Console, dagster: Dagster, project: Project, loaded: LoadReport) -> bool:
    """Computes what is missing of the last months (customers) and days (items); whether anything was."""
    end = _midnight(loaded.anchor)
    spans = {"daily": (end - DAILY_SPAN, timedelta(days=1), "%Y-%m-%d"),
             "hourly": (end - HOURLY_SPAN, timedelta(hours=1), "%Y-%m-%d-%H:00")}  # fmt: skip
    computed = False
    for cadence, (start, size, shape) in spans.items():
        groups = [group for group in project.groups if group.refresh == cadence and group.stream is None]
        first, last = start.strftime(shape), (end - size).strftime(shape)
        if all(dagster.has_partitions(offline_key(group).path, first, last) for group in groups):
            console.print(f"skipped: the {cadence} partitions {first} to {last} are there")
            continue
        title = f"{len(groups)} {cadence} groups, {(end - start) // size} partitions {first} to {last}"
        _run(console, dagster, f"{cadence}_features", title, 2 * len(groups), first, last)
        computed = True
    return computed


def _run(console: Console, dagster: Dagster, job: str, title: str, steps: int, first: str = "", last: str = "") -> None:
    """One run in Dagster, with its progress."""
    run_id = dagster.launch(job, first, last)
    console.print(f"{title}\n  {dagster.run_url(run_id)}", highlight=False, soft_wrap=True)
    began = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("  {task.description}"), BarColumn(), TimeElapsedColumn())
    seen: set[str] = set()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("queued", total=steps)

        def tell(state: RunState) -> None:
            at_work = ", ".join(step.replace("__", "/") for step in state.working) or state.status.lower()
            progress.update(task, completed=len(state.done), description=at_work)
            for step in state.done:
                if step not in seen:
                    seen.add(step)
                    console.print(f"  {time.monotonic() - began:5.1f} s  {step.replace('__', '/')}", highlight=False)

        dagster.watch(run_id, tell)


@contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    """A heading before, the time it took after."""
    console.rule(f"[bold]{title}", align="left")
    began = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - began:.1f} s[/dim]\n")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
