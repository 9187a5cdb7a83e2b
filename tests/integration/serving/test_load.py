"""`./fs bench serving`: it asks for what is there, and says what it found."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from feature_store import FeatureView
from feature_store.errors import NotFoundError, StackError
from feature_store.local.serving_load import LoadFigures, entity_pools, load, load_table, requests_for
from feature_store.online.connection import OnlineClients
from feature_store.plan.build import view_schema
from feature_store.plan.schema import ViewSchema
from feature_store.settings import Settings
from tests.integration.own_valkey import running_valkey
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import RANKING, Shop


@pytest.mark.parametrize("size", [1, 100])
def test_a_load_finds_what_is_stored(stack: Settings, server: ServerProcess, shop: Shop, size: int) -> None:
    view = shop.views["view", "ranking@1"]
    with closing(OnlineClients(stack.online_store_url)) as redis:
        requests = requests_for(entity_pools(redis, view), view, size)
    assert {len(rows) for rows in requests} == {size}
    assert all({column.name for column in view.keys} == set(row) for rows in requests for row in rows)
    assert all(len({row["user_id"] for row in rows}) == 1 for rows in requests)
    url = f"http://127.0.0.1:{server.port}"
    figures = asyncio.run(load(url, "", view, requests, seconds=0.3, callers=4))
    assert not figures.failures
    assert figures.latencies
    assert figures.percentile(0.5) <= figures.percentile(0.99)
    assert figures.statuses["PRESENT"] > 0
    assert load_table([figures], 4).row_count == 1


def test_a_server_that_does_not_know_the_view_is_told_of(stack: Settings, server: ServerProcess, shop: Shop) -> None:
    unknown = view_schema(FeatureView("unknown", groups=RANKING.groups, owner="team:test"))
    with closing(OnlineClients(stack.online_store_url)) as redis:
        requests = requests_for(entity_pools(redis, unknown), unknown, 1)
    with pytest.raises(NotFoundError, match="no feature view 'unknown@1'"):
        asyncio.run(load(f"http://127.0.0.1:{server.port}", "", unknown, requests, seconds=0.1, callers=1))


def test_an_empty_store_is_told_of(shop: Shop, tmp_path: Path) -> None:
    view: ViewSchema = shop.views["view", "ranking@1"]
    with (
        running_valkey(tmp_path) as valkey,
        valkey.client() as redis,
        pytest.raises(StackError, match="Redis has no row of user_facts@1") as error,
    ):
        entity_pools(OnlineClients.of_one(redis), view)
    assert error.value.code == "nothing-to-read"


def test_a_load_without_an_answer_has_no_percentile() -> None:
    assert load_table([LoadFigures("ranking@1", 1, seconds=1.0)], 1).row_count == 1
