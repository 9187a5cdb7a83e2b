"""`fs stream`: what the Flink jobs do, and taking them in hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from feature_store.streaming.jobs import Outcome, Streams

DEFINITIONS = "feature_defs"


@click.group("stream")
def stream() -> None:
    """Show and steer the Flink jobs of streaming groups and of their event logs."""


@stream.command("status")
def status() -> None:
    """Show every job: state, watermark, lag, checkpoints, throughput. Exit code 1 if one does not run that should."""
    from rich.console import Console

    from feature_store.streaming.display import explained, status_table
    from feature_store.streaming.progress import job_states

    streams = _streams()
    states = [explained(streams, state) for state in job_states(streams)]
    if not states:
        click.echo("no group reads a stream")
        return
    Console(width=None if sys.stdout.isatty() else 240).print(status_table(states))  # a log has no width to fit into
    if any(not state.is_good for state in states):
        raise SystemExit(1)


@stream.command("start")
@click.argument("names", nargs=-1, metavar="[JOB]…")
@click.option("--accept-gap", is_flag=True, help="Begin or go on without messages that Kafka has deleted.")
def start(names: tuple[str, ...], accept_gap: bool) -> None:
    """Start jobs, or go on with them where they were stopped; all of them unless named."""
    from feature_store.streaming import steering

    streams = _streams()
    for name in steering.chosen(streams, names):
        _tell(steering.start(streams, name, accept_gap))


@stream.command("stop")
@click.argument("names", nargs=-1, metavar="[JOB]…")
def stop(names: tuple[str, ...]) -> None:
    """Stop jobs with a savepoint; they stay stopped until `start`."""
    from feature_store.streaming import steering

    streams = _streams()
    for name in steering.chosen(streams, names):
        record = steering.stop(streams, name)
        click.echo(
            f"{name}: was never started" if record is None else f"{name}: stopped, savepoint {record.state_path}"
        )


@stream.command("restart")
@click.argument("names", nargs=-1, metavar="[JOB]…")
def restart(names: tuple[str, ...]) -> None:
    """Stop jobs with a savepoint and go on from it."""
    from feature_store.streaming import steering

    streams = _streams()
    for name in steering.chosen(streams, names):
        _tell(steering.restart(streams, name))


@stream.command("replay")
@click.argument("source")
@click.option(
    "--reason",
    default="malformed",
    show_default=True,
    type=click.Choice(["malformed", "too late", "no key", "overflow"]),
    help="Which dead letters.",
)
@click.option("--since", help="Only those recorded since then, as 2026-01-31T00:00:00Z; the last 7 days unless given.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
def replay(source: str, reason: str, since: str | None, dry_run: bool) -> None:
    """Send dead letters of SOURCE to its topic again, each once, such as after a correction of its schema."""
    from feature_store.registry.commands import user_name
    from feature_store.streaming.replay import replay as replay_letters

    sent = replay_letters(_streams(), source, reason=reason, since=since, dry_run=dry_run, by=user_name())
    click.echo(f"{sent:,} dead letters {'would be ' if dry_run else ''}sent to their topic again")


@stream.command("dead-letters")
def dead_letters() -> None:
    """Count the dead letters of every source over the last hour, by reason, and list the replays."""
    from datetime import UTC, datetime

    from feature_store.registry.replays import Replays
    from feature_store.streaming.dead_letters import count_dead_letters

    streams = _streams()
    replays = Replays(streams.records.engine)
    for source in {wanted.stream.name: wanted.stream for wanted in streams.wanted.values()}.values():
        click.echo(str(count_dead_letters(streams.catalog, source, datetime.now(UTC))))
        for begun in replays.of_source(source.name):
            state = "not finished" if begun.done_at is None else "done"
            sent = len(replays.letters(source.topic, begun))
            click.echo(f"  {begun.begun_at:%Y-%m-%d %H:%M} {begun.begun_by}: {sent:,} {begun.reason} replayed, {state}")


def _streams() -> Streams:
    from feature_store.client import FeatureStore
    from feature_store.dsl.collect import load_project
    from feature_store.plan.project import compile_project
    from feature_store.registry.posted import with_posted
    from feature_store.streaming.jobs import open_streams

    store = FeatureStore()
    project = with_posted(load_project(DEFINITIONS), store.registry.posted())
    return open_streams(store.settings, store.catalog, store.registry, compile_project(project).groups)


def _tell(outcome: Outcome) -> None:
    note = f": {outcome.record.message}" if outcome.did == "kept" else ""
    click.echo(f"{outcome.name}: {outcome.did} (Flink job {outcome.record.flink_job_id}){note}")
