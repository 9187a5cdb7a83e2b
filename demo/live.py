"""The live part of the demo: customers click, search, fill carts and buy, and their features change as one watches."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from feature_store.client import FeatureStore
from feature_store.dsl.collect import Project
from feature_store.errors import StackError
from feature_store.kafka_address import kafka_client
from feature_store.plan.project import compile_project
from feature_store.settings import Settings
from feature_store.streaming.dead_letters import read_dead_letters
from feature_store.streaming.jobs import Streams, open_streams
from feature_store.streaming.progress import job_states
from feature_store.streaming.topics import Topics

PARTITIONS = 2
SECONDS = 15.0
EVENTS_PER_SECOND = 40
SEED = 7
START_SECONDS = 180.0
LETTER_SECONDS = 60.0
CATEGORIES = ("jazz", "classical", "rock", "folk")
QUERIES = ("Kind of Blue", "goldberg variations", " abbey road ", "blue", "bach")
VIEW = "ranking@1"
GROUP = "user_interactions@1"
TOPIC, SOURCE = "shop.interactions", "interactions"


@dataclass(frozen=True)
class Played:
    """What was sent, and the time from the last event of each watched customer to its vector in Redis."""

    events: int
    seconds: float


def make_topic(settings: Settings) -> None:
    """The topic of the shop's interactions, if it is not there."""
    Topics(settings.kafka_servers).ensure(TOPIC, PARTITIONS)


def await_stream(console: Console, store: FeatureStore, project: Project) -> Streams:
    """Waits until the sensors have started the Flink jobs.

    Raises:
        StackError: if they do not run in time.
    """
    streams = open_streams(store.settings, store.catalog, store.registry, compile_project(project).groups)
    deadline = time.monotonic() + START_SECONDS
    with console.status("waiting for Dagster's sensors to start the Flink jobs"):
        while not all(state.is_good for state in job_states(streams)):
            if time.monotonic() > deadline:
                raise StackError(
                    f"the Flink jobs do not run after {START_SECONDS:.0f} s",
                    where=store.settings.flink_url,
                    remedy="look at ./fs stream status and ./fs logs flink-jobmanager, then run ./fs demo again",
                    code="job-failing",
                )
            time.sleep(1.0)
    for state in job_states(streams):
        console.print(f"{state.name}: {state.state}, started by its sensor")
    console.print(f"Flink: {store.settings.flink_url}", soft_wrap=True)
    return streams


def play(console: Console, store: FeatureStore, customers: Sequence[str]) -> Played:
    """Sends a seeded stream of events and shows some customers' features while it goes on."""
    from confluent_kafka import Producer

    producer = Producer({**kafka_client(store.settings.kafka_servers), "log_level": 0})
    began = time.monotonic()
    sent = 0
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        for event in _events(customers):
            producer.produce(TOPIC, json.dumps(event).encode(), partition=sent % PARTITIONS)
            producer.poll(0)
            sent += 1
            if sent % (EVENTS_PER_SECOND // 4) == 0:
                live.update(_table(store, customers, sent, event))
            time.sleep(max(0.0, began + sent / EVENTS_PER_SECOND - time.monotonic()))
        producer.flush(30)
        time.sleep(2.0)  # what a row takes from its event to Redis
        live.update(_table(store, customers, sent, None))
    if not console.is_terminal:
        console.print(_table(store, customers, sent, None))
    return Played(sent, time.monotonic() - began)


def send_bad_events(settings: Settings) -> None:
    """One message that is no event, and one event of an hour ago: beyond the allowed lateness."""
    from confluent_kafka import Producer

    producer = Producer({**kafka_client(settings.kafka_servers), "log_level": 0})
    late = _event(random.Random(SEED), "late", "00001", datetime.now(UTC) - timedelta(hours=1), Counter())
    producer.produce(TOPIC, b'{"user_id": "00001", "event_ts": "yesterday"}', partition=0)
    producer.produce(TOPIC, json.dumps(late).encode(), partition=0)
    producer.flush(30)


def show_dead_letters(console: Console, store: FeatureStore, since: datetime) -> None:
    """Where the bad events went: a row each, with the reason and the message as it came.

    Raises:
        StackError: if they are not there after several commits.
    """
    deadline = time.monotonic() + LETTER_SECONDS
    with console.status("waiting for the next commit"):
        rows = read_dead_letters(store.catalog, SOURCE, since=since).to_pylist()
        while len({row["reason"] for row in rows}) < 2:
            if time.monotonic() > deadline:
                raise StackError(
                    "the bad events did not become dead letters",
                    remedy="look at ./fs stream status",
                    code="no-dead-letters",
                )
            time.sleep(1.0)
            rows = read_dead_letters(store.catalog, SOURCE, since=since).to_pylist()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, width in (("reason", 9), ("detail", 45), ("payload", 60)):
        table.add_column(heading, overflow="ellipsis", no_wrap=True, min_width=9, max_width=width)
    for row in rows[-2:]:
        table.add_row(row["reason"], row["detail"], (row["payload"] or b"").decode("utf-8", "replace"))
    console.print(table)


def _events(customers: Sequence[str]) -> Iterator[dict[str, Any]]:
    pick = random.Random(SEED)
    carts: Counter[str] = Counter()
    run = f"{time.time_ns():x}"
    others = [f"{number:05d}" for number in range(1, 200)]
    for number in range(int(SECONDS * EVENTS_PER_SECOND)):
        customer = pick.choice(customers) if pick.random() < 0.4 else pick.choice(others)
        happened = datetime.now(UTC) - timedelta(milliseconds=pick.choice([0, 0, 0, 120, 350]))
        yield _event(pick, f"{run}-{number}", customer, happened, carts)


def _event(
    pick: random.Random, event_id: str, customer: str, happened: datetime, carts: Counter[str]
) -> dict[str, Any]:
    """A random event; `carts` holds how many items each customer has, and nobody takes out more."""
    kind = pick.choices(["click", "search", "cart_add", "cart_remove", "purchase"], [60, 15, 14, 6, 5])[0]
    quantity = pick.randint(1, 3)
    if kind == "cart_remove":
        quantity = min(quantity, carts[customer])
        kind = "cart_remove" if quantity else "click"
    carts[customer] += {"cart_add": quantity, "cart_remove": -quantity}.get(kind, 0)
    event: dict[str, Any] = {
        "event_id": event_id,
        "user_id": customer,
        "event_type": kind,
        "event_ts": int(happened.timestamp() * 1000),
        "client": "demo",
    }
    if kind == "search":
        return {**event, "query": pick.choice(QUERIES)}
    return {**event, "category": pick.choice(CATEGORIES), "quantity": quantity}


def _table(store: FeatureStore, customers: Sequence[str], sent: int, event: dict[str, Any] | None) -> Group:
    """The interaction features of some customers as Redis has them now."""
    rows = [{"user_id": customer, "product_id": "p0001"} for customer in customers]
    values = store.online(VIEW, rows).to_dicts()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"{sent:,} events sent", no_wrap=True, min_width=34)
    for customer in customers:
        table.add_column(f"customer {customer}", min_width=18, no_wrap=True)
    group = next(group for group in store.view(VIEW).groups if group.id == GROUP)
    for name in [*(feature.name for feature in group.features), "user_time_since_last_purchase"]:
        table.add_row(name, *(_shown(name, vector[name]) for vector in values))
    newest = f"{event['user_id']} {event['event_type']}" if event is not None else "no more events"
    return Group(table, Text(newest, style="dim"))


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "user_time_since_last_purchase":
        return f"{value / 1e6:.1f} s"
    if isinstance(value, datetime):
        return f"{value:%H:%M:%S}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
