"""The ranking call over HTTP: as a line to copy, and how long it takes."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from feature_store.client import FeatureStore
from feature_store.errors import StackError
from feature_store.skew.render import render_replay

PATH = "/feature-views/ranking/online"
_HEADERS = {"Content-Type": "application/json"}
_CALLS = 200
_CANDIDATES = 100
_SAMPLE_SECONDS = 90.0
"""The server writes its sample some seconds after it is full, at the latest a minute after it began."""


def show_served(console: Console, url: str, customers: Sequence[dict[str, str]]) -> None:
    """Asks the server for the customers' vectors, then for one customer with many items.

    Raises:
        StackError: if the server does not answer with vectors.
    """
    body = json.dumps({"rows": customers})
    words = ("curl", "-s", f"{url}{PATH}?shape=records", "-H", "Content-Type: application/json", "-d", body)
    console.print(shlex.join(words), soft_wrap=True, highlight=False, markup=False)
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    found = json.loads(ask(connection, PATH, body))
    console.print(f"{len(found['rows'])} rows of {len(found['features'])} features")
    candidates = [{**customers[0], "product_id": f"p{i:04}"} for i in range(_CANDIDATES)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("one caller, one request after the other", "p50", "p95", "p99"):
        table.add_column(title, justify="left" if title.startswith("one") else "right")
    for title, rows in (("1 customer, 1 item", customers[:1]), (f"1 customer, {_CANDIDATES} items", candidates)):
        table.add_row(title, *_percentiles(connection, json.dumps({"rows": rows})))
    console.print(table)
    connection.close()


def show_replay(console: Console, store: FeatureStore, view: str) -> None:
    """Joins what the server has answered again, as of each answer, and says how much of it is equal to training.

    Raises:
        StackError: if the server does not write its sample.
    """
    deadline = time.monotonic() + _SAMPLE_SECONDS
    while not (report := store.replay(view)).rows:
        if time.monotonic() > deadline:
            raise StackError(
                "the server keeps no sample of what it served",
                where=view,
                remedy="see ./fs logs serving",
                code="demo-served",
            )
        time.sleep(0.5)
    console.print(*render_replay(report), sep="\n")


def _percentiles(connection: HTTPConnection, body: str) -> list[str]:
    seconds = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        ask(connection, PATH, body)
        seconds.append(time.perf_counter() - began)
    seconds.sort()
    return [f"{seconds[int(share * _CALLS)] * 1e3:.2f} ms" for share in (0.5, 0.95, 0.99)]


def ask(connection: HTTPConnection, path: str, body: str) -> bytes:
    """The server's answer to a POST of JSON.

    Raises:
        StackError: if it is none of vectors.
    """
    connection.request("POST", path, body, _HEADERS)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise StackError(
            f"the server answers {answer.status}: {text.decode('utf-8', 'replace')[:300]}",
            where=path,
            remedy="see ./fs logs serving",
            code="demo-served",
        )
    return text
