"""`fs stream`: what the Flink jobs do, and taking them in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store.streaming.jobs import Outcome, Streams

DEFINITIONS = "feature_defs"


@click.group("stream")
def stream() -> None:
    """Show and steer the Flink jobs of streaming groups and of their event logs."""


@stream.command("status")
def status() -> None:
    """Show every job: state, watermark, lag, checkpoints, throughput. Exit code 1 if one does not run that should."""
    from rich.console import Console

    from feature_store.streaming.display import status_table
    from feature_store.streaming.progress import job_states

    states = job_states(_streams())
    Console().print(status_table(states))
    if any(not state.is_good for state in states):
        raise SystemExit(1)


@stream.command("start")
@click.argument("names", nargs=-1, metavar="[JOB]…")
def start(names: tuple[str, ...]) -> None:
    """Start jobs, or go on with them where they were stopped; all of them unless named."""
    streams = _streams()
    for name in _chosen(streams, names):
        _tell(streams.start(name))


@stream.command("stop")
@click.argument("names", nargs=-1, metavar="[JOB]…")
def stop(names: tuple[str, ...]) -> None:
    """Stop jobs with a savepoint; they stay stopped until `start`."""
    streams = _streams()
    for name in _chosen(streams, names):
        record = streams.stop(name)
        click.echo(
            f"{name}: was never started" if record is None else f"{name}: stopped, savepoint {record.state_path}"
        )


@stream.command("restart")
@click.argument("names", nargs=-1, metavar="[JOB]…")
def restart(names: tuple[str, ...]) -> None:
    """Stop jobs with a savepoint and go on from it."""
    streams = _streams()
    for name in _chosen(streams, names):
        streams.stop(name)
        _tell(streams.start(name))


@stream.command("replay")
@click.argument("source")
@click.option(
    "--reason", default="malformed", show_default=True, help="Which dead letters: malformed, too late, no key."
)
@click.option("--since", help="Only those recorded since then, as 2026-01-31T00:00:00Z.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
def replay(source: str, reason: str, since: str | None, dry_run: bool) -> None:
    """Send dead letters of SOURCE to its topic again, such as after a correction of its schema."""
    from feature_store.streaming.dead_letters import replay as replay_letters

    sent = replay_letters(_streams(), source, reason=reason, since=since, dry_run=dry_run)
    click.echo(f"{sent:,} dead letters {'would be ' if dry_run else ''}sent to their topic again")


def _streams() -> Streams:
    from feature_store.client import FeatureStore
    from feature_store.dsl.collect import load_project
    from feature_store.plan.project import compile_project
    from feature_store.streaming.jobs import open_streams

    store = FeatureStore()
    return open_streams(
        store.settings, store.catalog, store.registry, compile_project(load_project(DEFINITIONS)).groups
    )


def _chosen(streams: Streams, names: Sequence[str]) -> Sequence[str]:
    from feature_store.errors import NotFoundError

    for name in names:
        if name not in streams.wanted:
            raise NotFoundError(
                f"there is no stream job {name!r}", remedy=f"jobs are: {', '.join(streams.wanted) or 'none'}"
            )
    return names or tuple(streams.wanted)


def _tell(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        click.echo(f"{outcome.name}: {outcome.did} (Flink job {outcome.record.flink_job_id})")
