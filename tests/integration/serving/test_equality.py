"""Random views and rows: HTTP, both clients over HTTP and gRPC, the store in process and training give the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store import AsyncFeatureStoreClient, FeatureStoreClient, FeatureView
from feature_store.dsl.collect import Project
from feature_store.dtypes import from_micros
from feature_store.offline.tables import ensure_table
from feature_store.online.materialize import materialize
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.pit.dataset import build_training_dataset
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.project import compile_project
from feature_store.settings import Settings
from tests.integration.compared import COMPARED
from tests.integration.serving.client.comparison import assert_same
from tests.integration.serving.conftest import NewRegistry, address_of
from tests.integration.serving.server_process import ServerProcess
from tests.unit.pit.pit_cases import rows_table
from tests.unit.view_cases import GROUPS, Row, Tables, key_rows, oracle, tables, views

ROUNDS, READS = 3, 6
PATIENT = 60.0


@dataclass(frozen=True)
class Read:
    """A view and rows to read of it."""

    view: FeatureView
    rows: list[Row]


@dataclass(frozen=True)
class Setting:
    """A server, clients of it and the stores behind it."""

    stack: Settings
    server: ServerProcess
    reader: OnlineReader
    threads: dict[str, FeatureStoreClient]
    events: dict[str, AsyncFeatureStoreClient]
    runner: asyncio.Runner

    def check(self, read: Read, found: Tables) -> None:
        """Asks everybody, and compares with the store at the instant of each answer, with the join and the oracle."""
        schema, rows = view_schema(read.view), read.rows
        answers = [client.online(read.view.id, rows) for client in self.threads.values()]
        answers += [self.runner.run(client.online(read.view.id, rows)) for client in self.events.values()]
        for vectors in answers:
            assert_same(vectors, self.reader.read(schema, rows, from_micros(vectors.instant)))
        plain = self.server.post(f"/feature-views/{read.view.id}/online", {"rows": rows})
        assert plain.status == 200, plain.body
        instants = [vectors.instant for vectors in answers]
        self._check_json(plain.json, answers[0])
        labels = [{**row, "label_timestamp": from_micros(at)} for at in instants for row in rows]
        trained = build_training_dataset(self.stack, schema, labels, name="equality").table.drop("label_timestamp")
        served = [row for vectors in answers for row in vectors.to_dicts()]
        assert trained.to_pylist() == served
        expected = [row | oracle(read.view, found, row, from_micros(at)) for at in instants for row in rows]
        assert served == expected

    @staticmethod
    def _check_json(body: Any, vectors: OnlineVectors) -> None:
        names = [column.name for column in vectors.outputs]
        assert body["features"] == names
        assert body["rows"] == [[row[name] for name in names] for row in vectors.to_dicts()]
        for i, group in enumerate(body["groups"]):
            part = vectors.groups[i]
            assert group["group"] == part.group.id
            assert group["statuses"] == [*part.statuses]
            assert group["feature_timestamps"] == [*part.timestamps]
            assert (group["stale"], group["updated_at"]) == (vectors.is_stale(i), vectors.complete_at[i])


@pytest.fixture(scope="module")
def drawn() -> list[Read]:
    """Random views of names of their own, and rows."""
    found: list[Read] = []

    @settings(max_examples=READS * 2, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        view = replace(data.draw(views()), name=f"equal_{uuid.uuid4().hex[:8]}")
        rows = data.draw(key_rows(view).filter(bool))
        found.append(Read(view, rows))

    draw()
    return found[-READS:]


@pytest.fixture(scope="module")
def setting(
    stack: Settings,
    reader: OnlineReader,
    new_registry: NewRegistry,
    drawn: list[Read],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Setting]:
    registry = new_registry("registry_of_equality")
    project = Project(GROUPS, tuple(read.view for read in drawn), {})
    registry.apply(registry.plan(compile_project(project)), "tests")
    server = ServerProcess(tmp_path_factory.mktemp("equality"), address_of(registry))
    server.start()
    urls = {"http": f"http://localhost:{server.port}", "grpc": f"grpc://localhost:{server.grpc_port}"}
    threads = {name: FeatureStoreClient(url, "", deadline=PATIENT) for name, url in urls.items()}
    events = {name: AsyncFeatureStoreClient(url, "", deadline=PATIENT) for name, url in urls.items()}
    with asyncio.Runner() as runner:
        yield Setting(stack, server, reader, threads, events, runner)
        for client in events.values():
            runner.run(client.close())
    for sync in threads.values():
        sync.close()
    server.stop()


@settings(
    max_examples=ROUNDS, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_everybody_gives_what_the_join_gives(
    setting: Setting, drawn: list[Read], catalog: Catalog, redis: Redis, data: st.DataObject
) -> None:
    found = data.draw(tables())
    for group in GROUPS:
        schema = build_plan(group).schema
        keys = list(redis.scan_iter(f"{group.id}:*"))
        if keys:
            redis.delete(*keys)
        ensure_table(catalog, schema).overwrite(rows_table(schema, found.get(group.id, [])))
        materialize(catalog, redis, schema, now=datetime.now(UTC), full=True)
    for read in drawn:
        setting.check(read, found)
        COMPARED["views over HTTP, gRPC, in process and in training"] += 1
