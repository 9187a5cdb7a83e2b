"""The demo's model: how good it is, and what it says of customers whose features the server has by its name."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.table import Table

from demo.dagster_runs import Dagster
from demo.model import load, matrix
from demo.model_asset import MODEL_KEY
from demo.repurchase import NAME
from demo.served import ask
from feature_store.client import FeatureStore
from feature_store.registry.model_records import ModelRecord

PATH = f"/models/{NAME}/online"


def show_model(console: Console, dagster: Dagster, store: FeatureStore) -> None:
    """The registered model, and how it was judged."""
    numbers, _ = dagster.latest(MODEL_KEY.path)
    model = store.model(NAME)
    console.print(
        f"registered {model.id}: {len(model.features)} features of {model.view}, AUC "
        f"{numbers['AUC on later labels']:.3f} on {numbers['labels to judge by']:,.0f} labels of the last 10 days, "
        f"trained on {numbers['labels to train on']:,.0f} whose 30 days had passed by then",
        soft_wrap=True,
        highlight=False,
    )


def show_scores(console: Console, url: str, model: ModelRecord, customers: Sequence[str]) -> None:
    """Asks the server for what the model reads of some customers, and the model whether they will buy again.

    Raises:
        StackError: if the server does not answer with vectors.
    """
    body = json.dumps({"rows": [{"user_id": customer} for customer in customers]})
    words = ("curl", "-s", f"{url}{PATH}?shape=records", "-H", "Content-Type: application/json", "-d", body)
    console.print(shlex.join(words), soft_wrap=True, highlight=False, markup=False)
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    found = json.loads(ask(connection, f"{PATH}?version={model.version}", body))
    connection.close()
    assert tuple(found["features"]) == model.feature_names, "the server has the model's order"
    scores = load(Path(unquote(urlsplit(model.uri).path))).predict_proba(matrix(found["rows"]))[:, 1]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("customer", f"buys again within 30 days, says {model.id}"):
        table.add_column(title)
    for customer, score in zip(customers, scores, strict=True):
        table.add_row(customer, f"{score:.0%}")
    console.print(table)
