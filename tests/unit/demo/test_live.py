"""The events that the demo plays."""

from __future__ import annotations

from collections import Counter

import pytest

from demo import live


def test_nobody_takes_more_out_of_a_cart_than_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS", 100.0)
    carts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for event in live._events(["00042", "00043"]):
        kinds[event["event_type"]] += 1
        if event["event_type"] == "cart_add":
            carts[event["user_id"]] += event["quantity"]
        if event["event_type"] == "cart_remove":
            assert event["quantity"] > 0
            carts[event["user_id"]] -= event["quantity"]
            assert carts[event["user_id"]] >= 0
    assert set(kinds) == {"click", "search", "cart_add", "cart_remove", "purchase"}
    assert max(carts.values()) > 0
