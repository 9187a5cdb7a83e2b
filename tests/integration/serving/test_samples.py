"""The sample of what was served: every row in it was answered so, and all had the same chance."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from feature_store import Entity, FeatureView
from feature_store.dtypes import from_micros
from feature_store.online.codec import wire_of
from feature_store.online.connection import connect
from feature_store.online.keys import entity_key
from feature_store.online.reader import OnlineReader
from feature_store.online.samples import ServedBatch, read_samples, served_row
from feature_store.online.writer import GuardedWriter
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.schema import ViewSchema
from feature_store.registry.store import Registry
from feature_store.settings import Settings
from serving.samples import ROWS
from tests.integration.serving.conftest import address_of
from tests.integration.serving.server_process import ServerProcess, connected, get
from tests.integration.serving.shop import Shop, facts_of

ASKED = 800


def served(stack: Settings, kind: str, view: str) -> list[ServedBatch]:
    with connect(stack.redis_url) as redis:
        return [*read_samples(redis, kind, view)]


def values_of(view: ViewSchema, batch: ServedBatch, row: Any) -> dict[str, Any]:
    found = dict(zip(batch.keys, row.keys, strict=True))
    types = {feature.name: feature.dtype for feature in view.features}
    for names, values in zip(batch.features, row.values, strict=True):
        for name, value in zip(names, values, strict=True):
            decode = wire_of(types[name]).decode
            found[name] = value if value is None or decode is None else decode(value)
    return found | dict(zip(batch.on_demand, row.on_demand, strict=True))


def test_the_sample_has_what_was_answered(
    stack: Settings, serving_registry: Registry, shop: Shop, reader: OnlineReader, tmp_path: Path
) -> None:
    began = time.time_ns() // 1_000  # other servers sample, too
    process = ServerProcess(tmp_path, address_of(serving_registry))
    process.start()
    chance = random.Random(3)
    ids = ["a", "b", "nobody", "é"]
    requests = [chance.choices(ids, k=chance.choice([1, 7])) for _ in range(ASKED)]
    with connected(process) as peer:
        for names in requests:
            shape = chance.choice(["columns", "msgpack", "records"])
            body = ",".join("%C3%A9" if name == "é" else name for name in names)
            peer.send(get(f"/feature-groups/user_facts/online?entity_ids={body}&shape={shape}", "X-Model: churn"))
        assert {peer.answer()[0].status for _ in requests} == {200}
    rows = [{"user_id": "a", "item_id": 1}, {"user_id": None, "item_id": 2}]
    request = {"budget": 2.5, "asked_at": None}
    assert process.post("/feature-views/ranking/online", {"rows": rows, "request": request}).status == 200
    assert process.post("/feature-views/matching/online", {"rows": [{"item_id": 1, "buyer_id": "a"}]}).status == 200
    process.stop()

    for (kind, name), asked in {("group", "user_facts@1"): {}, ("view", "ranking@1"): request,
                                ("view", "matching@1"): {}}.items():  # fmt: skip
        view = shop.views[kind, name]
        batches = [batch for batch in served(stack, kind, name) if batch.rows[0].instant >= began]
        assert batches
        for batch in batches:
            assert (batch.view, len(batch.rows) <= ROWS) == (name, True)
            for row in batch.rows:
                keys = dict(zip(batch.keys, row.keys, strict=True))
                vectors = reader.read(view, [keys], from_micros(row.instant), request=asked)
                assert values_of(view, batch, row) == vectors.to_dicts()[0]
                assert dict(zip(batch.groups, row.statuses, strict=True)) == vectors.statuses[0]
                assert [t and from_micros(t) for t in row.timestamps] == [*vectors.feature_timestamps[0].values()]
                assert row.layouts == [
                    None if time is None else int.from_bytes(part.values[0][1:3], "big")
                    for time, part in zip(row.timestamps, vectors.groups, strict=True)
                ]
                assert row.created == row.timestamps  # as the shop has them
                assert dict(zip(batch.request, row.request, strict=True)) == asked

    sampled = [row for batch in served(stack, "group", "user_facts@1") for row in batch.rows if row.instant >= began]
    assert len(sampled) == ROWS
    assert {row.model for row in sampled} == {"churn"}
    share = Counter(str(row.keys[0]) for row in sampled)
    assert all(30 <= share[name] <= 75 for name in ids), share  # a quarter each: 50, give or take four deviations


def test_rows_of_several_layouts_are_told_apart(stack: Settings, reader: OnlineReader) -> None:
    entity = Entity("sampled", join_key="sampled_id")
    before, group = facts_of(entity, {"count": 7}), facts_of(entity, {"price": 0.5, "count": 7})
    now = time.time_ns() // 1_000
    with connect(stack.redis_url) as redis:
        for name, written, values in (("old", before, [3]), ("new", group, [2.5, 4])):
            schema = build_plan(written).schema
            writer = GuardedWriter(redis, schema)
            key = entity_key(schema, {"sampled_id": name})
            assert key is not None
            writer.write([key], [writer.encode(now - 9, now - 4, values, now)])
    view = view_schema(FeatureView(group.name, groups=[group], owner="team:shop"))
    vectors = reader.read(view, [{"sampled_id": name} for name in ("old", "nobody", "new", None)], from_micros(now))
    rows = [served_row(vectors, place, "") for place in range(4)]
    assert [[*row.values[0]] for row in rows] == [[0.5, 3], [0.5, 7], [2.5, 4], [0.5, 7]]
    assert [row.layouts for row in rows] == [[1], [None], [2], [None]]
    assert [row.created for row in rows] == [[now - 4], [None], [now - 4], [None]]
