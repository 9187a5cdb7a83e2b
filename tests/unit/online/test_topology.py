"""What a node of a cluster says of its slots, in all the ways in which it names nodes."""

from __future__ import annotations

import pytest

from feature_store.online.read.topology import SlotRange, parse_place, parse_slots
from feature_store.online.shards import slot_texts

ASKED = ("asked", 7000)


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ([b"10.0.0.1", 6379, b"id"], "10.0.0.1"),
        ([b"redis.example", 6379, b"id", [b"ip", b"10.0.0.1"]], "redis.example"),
        ([None, 6379, b"id", []], "asked"),
        ([b"", 6379, b"id", []], "asked"),
        ([b"?", 6379, b"id", [b"ip", b"10.0.0.1"]], "10.0.0.1"),
        ([b"?", 6379, b"id"], "asked"),
        ([b"fd00::1", 6379, b"id"], "fd00::1"),
    ],
)
def test_a_node_is_named_in_many_ways(entry: list[object], host: str) -> None:
    ranges = parse_slots([[0, 5460, entry], [5461, 16383, [b"b", 1, b"x"], entry, entry]], ASKED)
    assert ranges == [
        SlotRange(0, 5460, (host, 6379), ()),
        SlotRange(5461, 16383, ("b", 1), ((host, 6379), (host, 6379))),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [("10.0.0.1:7001", ("10.0.0.1", 7001)), (":7001", ("asked", 7001)), ("fd00::1:7001", ("fd00::1", 7001))],
)
def test_a_redirection_names_a_place(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text, ASKED) == place


def test_every_slot_has_a_text() -> None:
    assert sorted(slot_texts()) == [*range(16_384)]
