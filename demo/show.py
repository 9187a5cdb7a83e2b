"""What the demo prints: tables for people."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from demo.dagster_runs import Dagster
from demo.load import LoadReport
from demo.shop import build_shop
from feature_assets.keys import offline_key, online_key
from feature_store.client import FeatureStore
from feature_store.datasets.dataset import load_dataset
from feature_store.datasets.storage import Folder, latest_dataset
from feature_store.dsl.collect import Project
from feature_store.pit.dataset import datasets_folder
from feature_store.settings import Settings

VIEW = "ranking@1"


def show_loaded(console: Console, loaded: LoadReport) -> None:
    """The raw tables and their rows, or that they were there."""
    if loaded.skipped:
        console.print(f"skipped: the shop's data of {loaded.anchor} are there")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("raw table")
    table.add_column("rows", justify="right")
    for name, rows in loaded.rows.items():
        table.add_row(name, f"{rows:,}")
    console.print(table)


def show_computed(console: Console, dagster: Dagster, project: Project) -> None:
    """What the newest run of each group computed, checked and published."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("feature group", no_wrap=True)
    for title in ("rows", "seconds", "checks passed", "in Redis", "per second"):
        table.add_column(title, justify="right")
    for group in (group for group in project.groups if group.stream is None):
        offline, checks = dagster.latest(offline_key(group).path)
        online, _ = dagster.latest(online_key(group).path)
        passed = sum(status == "SUCCEEDED" for status in checks.values())
        table.add_row(
            group.id,
            f"{offline.get('dagster/row_count', 0):,.0f}",
            f"{offline.get('seconds', 0):.1f}",
            f"{passed} of {len(checks)}",
            f"{online.get('dagster/row_count', 0):,.0f}",
            f"{online.get('entities per second', 0):,.0f}",
        )
    console.print(table)


def labelled_customers(loaded: LoadReport) -> list[dict[str, str]]:
    """Three customers who bought last, each with the item, as rows of the ranking view."""
    bought = build_shop(loaded.anchor).order_events.filter(pl.col("status") == "completed")
    latest = bought.sort("event_ts", descending=True).unique("user_id", keep="first", maintain_order=True).head(3)
    return [{"user_id": row["user_id"], "product_id": row["product_id"]} for row in latest.to_dicts()]


def show_vectors(console: Console, store: FeatureStore, rows: list[dict[str, str]]) -> None:
    """One column per entity row, one line per feature, with the status of its group."""
    vectors = store.online(VIEW, rows)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("feature", no_wrap=True)
    for row in rows:
        table.add_column(f"{row['user_id']} · {row['product_id']}")
    values = vectors.to_dicts()
    for group in vectors.view.groups:
        late = " STALE" if vectors.stale[group.id] else ""
        statuses = [f"[dim]{status[group.id]}[/dim]" for status in vectors.statuses]
        table.add_row(f"[bold]{group.id}[/bold]{late}", *statuses)
        for feature in group.features:
            table.add_row(f"  {feature.name}", *(_shown(vector[feature.name]) for vector in values))
    table.add_row("[bold]on demand[/bold]")
    for feature in vectors.view.on_demand:
        table.add_row(f"  {feature.name}", *(_shown(vector[feature.name]) for vector in values))
    console.print(table)


def latest_training_set(settings: Settings) -> Folder | None:
    """Where the newest training set is; None: none was made yet."""
    return latest_dataset(datasets_folder(settings).inside("repurchase"))


def show_training(console: Console, settings: Settings) -> None:
    """Rows, time and NULL rates of the newest training set, from the manifest beside its files."""
    folder = latest_training_set(settings)
    if folder is None:
        return
    made = load_dataset(folder.url, folder.storage)
    summary = f"{made.row_count:,} rows, one for each label, in {made.seconds:.2f} s -> {made.url}"
    console.print(summary, soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("feature")
    table.add_column("missing or NULL", justify="right")
    for name, rate in made.null_rates.items():
        table.add_row(name, f"{rate:.1%}")
    console.print(table)


def show_next(console: Console, settings: Settings, seconds: float) -> None:
    """Where to look and what to type next."""
    console.rule(f"[bold]Done in {seconds:.0f} s", align="left")
    url = settings.dagster_url
    console.print(f"Dagster: {url}  (asset graph: {url}/asset-groups)", soft_wrap=True)
    served = settings.serving_url
    console.print(f"Server:  {served}  (what is recorded: {served}/feature-groups)", soft_wrap=True)
    console.print("\nTry next:")
    for command, meaning in (
        ("./fs get user_orders@1", "what the registry knows of a feature group"),
        ("./fs lineage repurchase@1", "the way from source columns to the model"),
        ("./fs plan", "what a change in feature_defs/ would do"),
        ("./fs skew ranking@1", "what was served beside what models are trained on"),
        ("./fs stream status", "the Flink jobs: watermark, lag, checkpoints"),
        ("./fs status", "ports and memory; ./fs down stops, data stay"),
    ):
        console.print(f"  [bold]{command:<26}[/bold]  {meaning}", highlight=False)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
