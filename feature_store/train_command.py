"""`fs train`; it imports what it needs when it runs, like the other commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from feature_store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from feature_store.pit.dataset import TrainingDataset
    from feature_store.training_jobs.job import TrainingJob

_POSTGRES = "postgres:"
_LOOK_SECONDS = 1.0


@click.command("train")
@click.argument("view")
@click.option(
    "--labels",
    required=True,
    metavar="FILE|TABLE",
    help="Parquet or CSV files (a path or glob), an Iceberg table namespace.table, or postgres:database.schema.table.",
)
@click.option("--name", required=True, help="What to call the dataset.")
@click.option("--known-by", type=click.Choice(["label"]), help="Only rows that were written by the time of the label.")
@click.option("--model", default="", help="What is trained on it; recorded as a user of the view.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the rows to this .parquet or .csv file, too.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the dataset, or print the job's id.")
@click.option(
    "--engine",
    type=click.Choice(["local", "dagster"]),
    help="Who works: this process, or a run of Dagster. Default: Dagster where one is known.",
)
@click.option("--group", "is_group", is_flag=True, help="VIEW is a group, which is joined by itself.")
@click.option("--fresh", is_flag=True, help="Make it even if there is the same one already.")
def train(
    view: str,
    labels: str,
    name: str,
    known_by: str | None,
    model: str,
    out: str | None,
    wait: bool,
    engine: str | None,
    is_group: bool,
    fresh: bool,
) -> None:
    """Make a training dataset of VIEW ("ranking@1"): LABELS with the features known at each of them.

    The same asked for again is the same dataset. The job's id goes to standard output, what else there is to say to
    standard error.
    """
    from feature_store.client import FeatureStore
    from feature_store.pit.label_sources import LabelTable

    store = FeatureStore()
    runs_here = engine == "local" or (engine is None and not store.settings.dagster_url)
    place = _place_of(out, wait, runs_here)
    job = store.training_dataset(
        view,
        LabelTable(labels.removeprefix(_POSTGRES)) if labels.startswith(_POSTGRES) else labels,
        name=name,
        model=model,
        known_by="label" if known_by else None,
        engine="local" if runs_here else "dagster",
        kind="group" if is_group else "view",
        fresh=fresh,
    )
    click.echo(job.id)
    if wait:
        made = _watched(job)
        click.echo(f"{made.row_count:,} rows in {made.url} ({made.seconds:.1f} s)", err=True)
        for warning in made.warnings:
            click.echo(f"warning: {warning}", err=True)
        if place is not None:
            _write(made, place)


def _place_of(out: str | None, wait: bool, runs_here: bool) -> Path | None:
    """Where rows are written to; refuses what cannot be before anything is computed."""
    from pathlib import Path

    if not wait and (runs_here or out):
        raise InputError(
            "nobody would be there to make the dataset, or to write it to a file",
            where="--no-wait",
            remedy="use --engine dagster without --out, or wait",
            code="train-options",
        )
    place = None if out is None else Path(out)
    if place is not None and (place.suffix not in (".parquet", ".csv") or not place.absolute().parent.is_dir()):
        raise InputError(
            f"rows cannot be written to {out}",
            where="--out",
            remedy="name a .parquet or .csv file in a folder that is there",
            code="train-options",
        )
    return place


def _watched(job: TrainingJob) -> TrainingDataset:
    """The dataset, when it is there; tells each new step. An interruption cancels the job."""
    told = ""
    try:
        while True:
            record = job.record()
            said = f"{record.state.lower()} {record.progress:.0%} {record.step}".rstrip()
            if said != told:
                click.echo(told := said, err=True)
            try:
                return job.wait(_LOOK_SECONDS)
            except TimeoutError:
                continue
    except KeyboardInterrupt:
        job.cancel()
        raise


def _write(made: TrainingDataset, place: Path) -> None:
    """All rows in one file, which appears whole."""
    import pyarrow as pa
    import pyarrow.csv as pcsv
    import pyarrow.parquet as pq

    unfinished = place.with_name(f".{place.name}.unfinished")
    if place.suffix == ".csv":
        try:
            pcsv.write_csv(made.table, unfinished)
        except pa.ArrowInvalid as error:
            unfinished.unlink()
            raise InputError(
                f"a CSV file cannot hold all columns: {error}",
                where="--out",
                remedy="name a .parquet file",
                code="train-options",
            ) from None
    else:
        pq.write_table(made.table, unfinished)
    unfinished.replace(place)
