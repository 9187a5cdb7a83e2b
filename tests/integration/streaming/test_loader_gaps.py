"""Updates that a real Kafka has deleted before the loader read them: the gap is named, and filled from the table."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pyiceberg.catalog import Catalog
from redis import Redis

from feature_store.compile.flink import updates_topic
from feature_store.errors import FeatureStoreError
from feature_store.local import jars
from feature_store.local.kafka import EmbeddedKafka
from feature_store.offline.tables import ensure_table
from feature_store.online.reader import OnlineReader
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings
from feature_store.streaming import loader as loading
from feature_store.streaming.loaded import LoadedPlaces
from feature_store.streaming.loader import Loader
from feature_store.streaming.refill import refill
from feature_store.streaming.topics import Topics
from tests.conftest import Eventually
from tests.integration.online_tables import AHEAD, START, TODAY, Row, arrow_rows, new_group, online
from tests.integration.streaming.application_cluster import free_ports


@pytest.fixture(scope="module")
def servers(stack: Settings, tmp_path_factory: pytest.TempPathFactory, jars_folder: Path) -> Iterator[str]:
    """The address of a broker of this module alone."""
    home = tmp_path_factory.mktemp("kafka")
    port, controller = list(free_ports().values())[:2]
    paths = [jars_folder / jar.file_name for jar in jars.select(jars.read_lock(), "kafka")]
    broker = EmbeddedKafka.prepare(home, stack.java_home, paths, port, controller)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(broker.service().command, cwd=broker.folder, stdout=log, stderr=log, env=os.environ)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


class Updates:
    """The topic of updates of a group, of one partition."""

    def __init__(self, servers: str, group: GroupSchema) -> None:
        self.topic, self._servers = updates_topic(group), servers
        self.place = TopicPartition(self.topic, 0)
        Topics(servers).ensure(self.topic, 1)

    def send(self, rows: Sequence[Row]) -> None:
        producer = Producer({"bootstrap.servers": self._servers})
        for row in rows:
            value = {"user_id": row.user_id, "_feature": row.timestamp, "_created": row.created, "n": row.n}
            producer.produce(self.topic, msgspec.json.encode(value))
        assert producer.flush(30) == 0

    def delete(self, before: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._servers})
        for done in admin.delete_records([TopicPartition(self.topic, 0, before)]).values():
            done.result()


def test_a_gap_is_named_and_filled_from_the_table(
    servers: str,
    catalog: Catalog,
    redis: Redis,
    reader: OnlineReader,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answers() -> bool:
        try:
            Topics(servers).ensure("answers", 1)
        except FeatureStoreError:
            return False
        return True

    eventually(answers)
    group = new_group()
    updates, table = Updates(servers, group), ensure_table(catalog, group)
    fill = partial(refill, catalog, redis)

    def start() -> Loader:
        loader = Loader(servers, lambda _: redis, lambda schema, full: fill(schema, 0, full=full), lambda *_: None)
        loader.serve([group])
        return loader

    def load(loader: Loader, end: int) -> None:
        def loaded() -> bool:
            loader.step()
            return LoadedPlaces(redis, group).read([0]) == {0: end}

        eventually(loaded)

    rows = [Row(number, START, START, number) for number in range(9)]
    updates.send(rows[:2])
    loader = start()
    load(loader, 2)
    assert "gap" not in caplog.text
    loader.close()
    updates.send(rows[2:5])
    table.append(arrow_rows(group, rows[:4]))
    read = Loader._read_from_places

    def deleted_meanwhile(loader: Loader) -> None:
        """Between the look at what Kafka has and the first read."""
        monkeypatch.setattr(Loader, "_read_from_places", read)
        updates.delete(before=4)
        read(loader)

    monkeypatch.setattr(Loader, "_read_from_places", deleted_meanwhile)
    loader = start()
    load(loader, 5)
    assert online(reader, group, TODAY, range(5)) == {number: number for number in range(5)}
    assert f"{updates.topic}: a gap in partition 0: updates are loaded up to offset 2, Kafka has 4 to 5" in caplog.text
    loader.close()

    updates.send(rows[5:])  # while there is no loader
    table.append(arrow_rows(group, rows[4:8]))
    updates.delete(before=8)
    loader = start()
    load(loader, 9)
    assert "loaded up to offset 5, Kafka has 8 to 9" in caplog.text
    assert online(reader, group, TODAY, range(9)) == {number: number for number in range(9)}
    loader.close()


def test_the_table_is_looked_at_until_it_has_what_was_lost(
    servers: str, redis: Redis, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream commits what Kafka has deleted later: the table is asked until it has all of the time of the gap."""
    monkeypatch.setattr(loading, "GAP_SECONDS", 0.0)
    group = new_group()
    updates = Updates(servers, group)
    asked: list[bool] = []

    def fill(_: GroupSchema, full: bool) -> int:
        asked.append(full)
        return START if len(asked) < 4 else AHEAD

    updates.send([Row(0, START, START, 0)] * 3)
    updates.delete(before=2)
    redis.set(f"{group.id}:loaded:0", 1)
    loader = Loader(servers, lambda _: redis, fill, lambda *_: None)
    loader.serve([group])

    def is_filled() -> bool:
        loader.step()
        return len(asked) >= 4

    eventually(is_filled)
    for _ in range(3):
        loader.step()
    assert asked == [True, False, False, False]
    loader.close()
