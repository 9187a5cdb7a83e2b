"""The command line behind `./fs`. Commands import what they need when they run: `--help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from feature_store.errors import FeatureStoreError, StackError
from feature_store.registry import commands as registry_commands
from feature_store.registry.access import commands as access_commands
from feature_store.streaming import commands as stream_commands
from feature_store.train_command import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from feature_store.stack_file import StackRecord


class Commands(click.Group):
    """Prints an expected error as one line, cause and remedy, and lets unexpected ones through."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeatureStoreError as error:
            click.echo(f"fs: {error}", err=True)
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)  # in the order of this file, which is the order of use


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A feature store on Dagster: the local stack, its definitions and its data."""


@main.command()
@click.option("--no-dagster", is_flag=True, help="Databases only; for tests and scripts.")
@click.option("--streams/--no-streams", default=None, help="With Kafka and Flink. Default: if a group reads a stream.")
def up(no_dagster: bool, streams: bool | None) -> None:
    """Start Postgres, Valkey, Dagster, the server, and for streams Kafka and Flink; or find them running."""
    from feature_store.local import stack
    from feature_store.local.display import Display
    from feature_store.stack_settings import StackSettings

    console = _console()
    with Display(console) as display:
        wanted = _defines_streams(display.note) if streams is None else streams
        record = stack.up(StackSettings.load(), dagster=not no_dagster, streams=wanted, report=display)
        if streams is None and not record.streams and _has_posted_streams():
            display.note("a group that was posted to the server reads a stream: Kafka and Flink are wanted, too")
            record = stack.up(StackSettings.load(), dagster=not no_dagster, streams=True, report=display)
    _print_addresses(console, record)


@main.command()
def down() -> None:
    """Stop the stack; data stay."""
    from feature_store.local import stack
    from feature_store.local.display import Display
    from feature_store.settings import state_folder

    console = _console()
    with Display(console) as display:
        was_running = stack.down(state_folder(os.environ), display)
    console.print("the stack is down" if was_running else "nothing was running")


@main.command()
def status() -> None:
    """Show the services: state, process, port, memory, log. Exit code 1 if the stack is not running."""
    from feature_store import stack_file
    from feature_store.local.display import status_table
    from feature_store.settings import state_folder

    console = _console()
    record = stack_file.read(state_folder(os.environ))
    if record is None or not record.is_running():
        console.print("the stack is not running -> ./fs up")
        sys.exit(1)
    console.print(status_table(record))
    _print_addresses(console, record)


@main.command()
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many lines of the past, per service.")
def logs(service: str | None, follow: bool, lines: int) -> None:
    """Show the end of the log of SERVICE, or of all."""
    from feature_store.local import logs as stack_logs
    from feature_store.settings import state_folder

    files = stack_logs.log_files(state_folder(os.environ), service)

    def show(name: str, line: str) -> None:
        click.echo(line if service else f"{name:>17} | {line}")

    for name, path in files.items():
        for line in stack_logs.tail(path, lines):
            show(name, line)
    if follow:
        for name, line in stack_logs.follow(files):
            show(name, line)


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Stop the stack and delete its data: databases, warehouse, Redis, Dagster's history."""
    from feature_store.local import stack
    from feature_store.local.display import Display
    from feature_store.settings import state_folder

    console, home = _console(), state_folder(os.environ)
    folders = stack.data_folders(home)
    if not folders:
        console.print(f"no data in {home}")
        return
    for folder, size in folders.items():
        console.print(f"  {folder}  {size / 2**20:.0f} MiB", highlight=False, soft_wrap=True)
    if not yes:
        click.confirm("Stop the stack and delete these folders?", abort=True)
    with Display(console) as display:
        stack.reset(home, display)
    console.print("deleted; the environment and the jars were kept")


@main.command()
def demo() -> None:
    """Run the whole way once: definitions, Iceberg, Redis, a training set."""
    import importlib

    importlib.import_module("demo.run").main()


for command in (
    registry_commands.plan,
    registry_commands.apply,
    registry_commands.get,
    registry_commands.export,
    registry_commands.lineage,
    registry_commands.retire,
    access_commands.token,
    access_commands.grant,
    access_commands.ungrant,
    access_commands.grants,
    access_commands.audit,
    stream_commands.stream,
    train,
):
    main.add_command(command)


@main.command()
@click.argument("view")
@click.option("--dataset", type=click.Path(exists=True, file_okay=False), help="Compare with this training dataset.")
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(1), help="Compare with rows of so many days."
)
def skew(view: str, dataset: str | None, days: int) -> None:
    """Compare what VIEW, such as ranking@1, has served with training. Exit code 1 if a feature or a value differs."""
    from feature_store.client import FeatureStore
    from feature_store.skew.render import render_report

    report = FeatureStore().skew(view, dataset=dataset, days=days)
    _console().print(render_report(report))
    sys.exit(1 if report.skewed or not report.replay.is_consistent else 0)


@main.group()
def bench() -> None:
    """Measure the running stack."""


@bench.command()
@click.argument("views", nargs=-1)
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(1, 60), help="For each view and size.")
@click.option("--callers", default=8, show_default=True, type=click.IntRange(1, 256), help="Requests at once.")
def serving(views: tuple[str, ...], seconds: int, callers: int) -> None:
    """Ask the server for VIEWS ("ranking@1"; all active ones unless given): latencies, and what it finds in Redis."""
    import asyncio
    from contextlib import closing

    from feature_store.client import FeatureStore
    from feature_store.local.serving_load import SIZES, entity_pools, load, load_table, requests_for
    from feature_store.online.connection import OnlineClients
    from feature_store.registry.tables import Status

    store = FeatureStore()
    names = views or [view.id for view in store.registry.snapshot().views if view.status is Status.ACTIVE]
    found = []
    with closing(OnlineClients(store.settings.online_store_url)) as clients:
        for name in names:
            view = store.view(name)
            pools = entity_pools(clients, view)
            for size in SIZES:
                requests = requests_for(pools, view, size)
                asking = load(store.settings.serving_url, None, view, requests, seconds=seconds, callers=callers)
                found.append(asyncio.run(asking))
    console = _console()
    console.print(load_table(found, callers))


@main.command()
@click.argument("code", required=False)
def errors(code: str | None) -> None:
    """Explain an error CODE, the word in brackets behind an error; without one, list them all."""
    from feature_store.explanations.catalogue import explanation_of
    from feature_store.explanations.render import render_areas, render_explanation

    console = _console()
    found = render_areas() if code is None else render_explanation(explanation_of(code.strip("[]")))
    console.print(found, width=min(console.width, 80))


@main.command()
def schema() -> None:
    """Print the JSON schema of definitions; docs/definitions.schema.json is a copy."""
    from feature_store.dsl.json_schema import schema_text

    click.echo(schema_text(), nl=False)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run linters, types, layers and all tests; with ARGUMENTS only pytest, which gets them."""
    from feature_store.local.checks import run_checks

    sys.exit(run_checks(arguments, tell=lambda text: click.secho(text, bold=True)))


@main.command()
def lock() -> None:
    """Regenerate requirements/*.txt from pyproject.toml."""
    from feature_store.local.locks import lock_all
    from feature_store.settings import state_folder

    lock_all(state_folder(os.environ), tell=click.echo)


def _defines_streams(note: Callable[[str], None]) -> bool:
    """Whether a defined group reads a stream. Definitions with a mistake do not keep the stack from starting."""
    from feature_store.dsl.collect import Project, load_project
    from feature_store.dsl.source import StreamSource
    from feature_store.errors import DefinitionError

    try:
        project = load_project(registry_commands.DEFINITIONS)
    except DefinitionError as error:
        project = Project(groups=(), views=(), domains={}, errors=(error,))
    streams = any(isinstance(group.source, StreamSource) for group in project.groups)
    if project.errors and not streams:
        note(f"whether streams are wanted is unknown; ./fs up --streams starts Kafka and Flink ({project.errors[0]})")
    return streams


def _has_posted_streams() -> bool:
    """Whether a group in the registry reads a stream; asked when the stack is up, as the registry is part of it."""
    from feature_store.registry.store import Registry
    from feature_store.settings import Settings

    try:
        return any(group.is_streaming for group in Registry(Settings.load().database_url("registry")).posted())
    except StackError:  # no tables yet, so no groups
        return False


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)  # a log has no width to fit into


def _print_addresses(console: Console, record: StackRecord) -> None:
    if record.connections is None:
        return
    found = record.connections
    for name, url in (
        ("Dagster", found.dagster_url),
        ("Server", found.serving_url),
        ("Server (gRPC)", found.serving_grpc),
        ("Flink", found.flink_url),
    ):
        if url:
            console.print(f"{name}: {url}", soft_wrap=True)


if __name__ == "__main__":
    main(prog_name="./fs")
