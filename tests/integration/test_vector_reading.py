"""Vectors as servers read them: over one connection to a Valkey that is killed, emptied and back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import uvloop

from feature_store.dtypes import from_micros
from feature_store.online.native.core import NativeCore
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.read.node import NodeAddress, RedisNode
from feature_store.online.read.steps import ViewReading
from feature_store.online.reader import OnlineReader
from feature_store.online.vector_sets import keep_sets, vector_sets
from feature_store.online.vectors import OnlineVectors, Status
from feature_store.plan.schema import ViewedSchema, ViewSchema
from tests.conftest import PATIENCE_SECONDS
from tests.integration.own_valkey import running_valkey
from tests.integration.vector_cases import GROUPS, PLAIN, ROWS, SETS, VIEW, Life

ROLES = ViewSchema(
    "roles",
    1,
    (
        *map(ViewedSchema, GROUPS[:2]),
        ViewedSchema(replace(GROUPS[2], features=GROUPS[2].features[:1]), ("u1_text",), "friend_"),
        ViewedSchema(GROUPS[0], ("friend",), "other_"),
    ),
    prejoin=True,
)
"""A view that reads a group twice, and one of the two as a part of vectors; and a group keyed by a feature."""


def test_vectors_over_one_connection_that_breaks(tmp_path: Path, core: NativeCore) -> None:
    with running_valkey(tmp_path) as server:
        story = Life(server.client())
        for place, group in enumerate(GROUPS):
            story.happens(("write", place, [(entity, -place % 2, 1, f"a{group.id}") for entity in range(2)]))
            story.happens(("touch", place, 0))

        async def tell() -> None:
            async with RedisNode(NodeAddress.parse(server.url), deadline=PATIENCE_SECONDS) as node:
                reader, reading = MultiplexedReader(node), ViewReading(VIEW, core=core)

                async def read() -> OnlineVectors:
                    return await reader.read(reading, ROWS, {}, story.now)

                def same(found: OnlineVectors) -> None:
                    with OnlineReader(server.url) as groups:
                        expected = groups.read(PLAIN, ROWS, from_micros(story.now))
                    assert found.to_dicts() == expected.to_dicts()
                    assert (found.statuses, found.stale) == (expected.statuses, expected.stale)

                same(await read())
                keep_sets(server.client(), SETS, [])
                for vectors in await asyncio.gather(*(read() for _ in range(20))):
                    same(vectors)
                assert server.client().info("commandstats")["cmdstat_mget"]["calls"] >= 21

                server.kill()
                while node.is_up:
                    lost = await read()
                assert {status for row in lost.statuses for status in row.values()} == {Status.UNAVAILABLE}
                assert set(lost.stale.values()) == {True}
                server.start()
                while not node.is_up:
                    await asyncio.sleep(0.005)
                same(await read())
                server.client().flushdb()
                assert {status for row in (await read()).statuses for status in row.values()} == {Status.NOT_FOUND}
                same(await read())

        uvloop.run(tell())


def test_roles_are_read_beside_vectors(tmp_path: Path) -> None:
    with running_valkey(tmp_path) as server, OnlineReader(server.url) as joined, OnlineReader(server.url) as alone:
        client = server.client()
        story = Life(client)
        for place, text in ((0, "z"), (1, "a"), (2, "w")):
            story.happens(("write", place, [(0, 0, 1, text), (2, 0, 2, "a")]))
        keep_sets(client, vector_sets([ROLES]), [])
        rows = [{"user_id": user, "friend": friend} for user in ("a", "", None) for friend in ("", "a", "nobody")]
        plain = replace(ROLES, prejoin=False)
        for _ in range(3):
            found, expected = (
                joined.read(ROLES, rows, from_micros(story.now)),
                alone.read(plain, rows, from_micros(story.now)),
            )
            assert found.to_dicts() == expected.to_dicts()
            assert found.statuses == expected.statuses
        assert found.to_dicts()[0]["friend_u3_n"] == 1
        client.delete("u1@1:{a}")  # what the vector says is read, not the group
        assert joined.read(ROLES, rows, from_micros(story.now)).to_dicts() == found.to_dicts()
