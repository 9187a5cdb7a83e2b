"""What a call with a memory asks for, waits for and puts together; calls are taken step by step, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest

from feature_store import INT, LIST
from feature_store.errors import StackError
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.cache import CachedCalls, CachedSteps, Wait
from feature_store.remote.calls import Exchange, OnlineCalls
from feature_store.remote.messages import Response
from feature_store.remote.schema import ViewDocument

SERVER = ServerAddress.of("http://127.0.0.1:1", "")
TAGS = LIST(INT)


def view_of(cache: int | None = 60_000_000, *more: Column, version: int = 1) -> ViewSchema:
    features = (Column("n", INT), Column("tags", TAGS), *more)
    return ViewSchema(
        "v", version, (ViewedSchema(GroupSchema("g", 1, (Column("k", INT),), features, None, 0, 10, 4, cache)),)
    )


class Server:
    """Answers exchanges: n is ten times the key, plus what has been added meanwhile."""

    def __init__(self, view: ViewSchema | None = None) -> None:
        self.view = view or view_of()
        self.added = 0
        self.masked: list[str] = []
        self.asked: list[list[Any]] = []
        self.status = "PRESENT"

    def answer(self, command: Exchange) -> Response:
        head, _, body = command.request.data.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            return Response(200, {}, msgspec.json.encode({"schema": ViewDocument.of(self.view)}))
        keys = [row["k"] for row in msgspec.msgpack.decode(body)["rows"]]
        self.asked.append(keys)
        names = [column.name for column in self.view.features]
        row = {"tags": [1, 2]}
        rows = [[row.get(name, None if key is None else 10 * key + self.added) for name in names] for key in keys]
        group = {"group": "g@1", "stale": False, "updated_at": 90 + self.added, "features": names, "rows": rows,
                 "absent": [None] * len(names), "statuses": [self.status] * len(keys),
                 "feature_timestamps": [80] * len(keys)}  # fmt: skip
        whole = {"id": self.view.id, "request_time": 95, "row_count": len(keys), "groups": [group]}
        return Response(200, {}, msgspec.msgpack.encode({**whole, "masked": self.masked}))

    def run(self, steps: CachedSteps, outcome: Any = None) -> OnlineVectors:
        """What a call gives that waits for no other."""
        try:
            while True:
                command = steps.send(outcome)
                assert isinstance(command, Exchange), command
                outcome = self.answer(command)
        except StopIteration as done:
            vectors: OnlineVectors = done.value
            return vectors


def cached(seconds: float = 60.0, entries: int = 100) -> CachedCalls:
    return CachedCalls(OnlineCalls(SERVER, 1.0, None), seconds, entries)


def call(calls: CachedCalls, *keys: Any, **given: Any) -> CachedSteps:
    return calls.online("v", [{"k": key} for key in keys], "view", given.get("request"), given.get("features"), 10.0)


def numbers(vectors: OnlineVectors) -> list[Any]:
    return [row["n"] for row in vectors.to_dicts()]


def test_rows_out_of_several_answers_are_in_the_order_that_was_asked_for() -> None:
    server, calls = Server(), cached()
    assert numbers(server.run(call(calls, 1, 2))) == [10, 20]
    server.added = 5
    vectors = server.run(call(calls, 3, 2, 1, None, 3, 2))
    assert vectors.to_dicts() == [
        {"k": k, "n": n, "tags": [1, 2]} for k, n in ((3, 35), (2, 20), (1, 10), (None, None), (3, 35), (2, 20))
    ]
    assert server.asked == [[1, 2], [3, None]]
    assert vectors.complete_at == [90], "the older of the two"
    assert calls.statistics == (2, 4, 4)
    assert calls.statistics.hit_rate == pytest.approx(1 / 3)
    server.run(call(calls, 3, None, 1))
    assert len(server.asked) == 2


def test_what_equals_but_is_of_another_type_is_another_row() -> None:
    """A server refuses it."""
    server, calls = Server(), cached()
    server.run(call(calls, 1))
    for key in (True, 1.0):
        assert isinstance(call(calls, key).send(None), Exchange)


@pytest.mark.parametrize("rows", [[], [{"k": 1}] * 1_001, [{"j": 1}], [{"k": [1]}]], ids=["none", "many", "no", "list"])
def test_a_server_looks_at_rows_that_may_be_wrong(rows: Sequence[dict[str, Any]]) -> None:
    server, calls = Server(), cached()
    server.run(call(calls, 1))
    assert isinstance(calls.online("v", rows, "view", None, None, None).send(None), Exchange)


def test_lists_that_callers_change_are_their_own() -> None:
    server, calls = Server(), cached()
    for _ in range(3):
        vectors = server.run(call(calls, 1))
        assert vectors.to_dicts()[0]["tags"] == [1, 2]
        vectors.to_dicts()[0]["tags"].append(3)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", ["EXPIRED", "UNAVAILABLE"])
def test_what_only_a_server_knows_the_end_of_is_asked_for_again(status: str) -> None:
    server, calls = Server(), cached()
    server.run(call(calls, 1))
    server.status = status
    for _ in range(2):
        found = server.run(call(calls, 1, 2)).statuses
        assert [*found[0].values(), *found[1].values()] == ["PRESENT", status]
    assert server.asked == [[1], [2], [2]]


def test_groups_say_whether_their_rows_are_remembered() -> None:
    for cache in (None, 1):
        server, calls = Server(view_of(cache)), cached()
        for _ in range(2):
            assert numbers(server.run(call(calls, 1))) == [10]
        assert len(server.asked) == 2


def test_a_view_that_changes_is_not_mixed_with_what_is_remembered() -> None:
    server, calls = Server(), cached()
    server.run(call(calls, 1, 2))
    server.view = view_of(60_000_000, Column("m", INT), version=2)
    assert server.run(call(calls, 1, 3)).to_dicts()[0] == {"k": 1, "n": 10, "tags": [1, 2], "m": 10}
    assert server.asked[1:] == [[3], [1, 3]], "all of it again"
    assert server.run(call(calls, 1, 3)).view.id == "v@2"
    server.masked = ["n"]
    assert server.run(call(calls, 1, 4)).masked == ("n",)
    assert server.asked[3:] == [[4], [1, 4]]


def test_no_more_rows_are_remembered_than_may_be() -> None:
    server, calls = Server(), cached(entries=10)
    for first in range(1, 60, 3):
        server.run(call(calls, *range(first, first + 3), 0))
        assert calls.statistics.entries <= 10
    assert sum(keys.count(0) for keys in server.asked) == 1, "it is read all the time"


def waiting(calls: CachedCalls, server: Server) -> tuple[CachedSteps, Exchange, CachedSteps, Wait]:
    """A call that asks for a row, and one that waits for it, after the row that only it wants."""
    server.run(call(calls, 0))
    first, second = call(calls, 1), call(calls, 1, 2)
    asked = first.send(None)
    assert isinstance(asked, Exchange)
    own = second.send(None)
    assert isinstance(own, Exchange)
    wait = second.send(server.answer(own))
    assert isinstance(wait, Wait)
    assert 9 < wait.seconds <= 10
    return first, asked, second, wait


def test_of_two_calls_that_miss_a_row_one_asks_for_it() -> None:
    server, calls = Server(), cached()
    first, asked, second, wait = waiting(calls, server)
    assert numbers(server.run(first, server.answer(asked))) == [10]
    assert wait.flight.done()
    assert numbers(server.run(second)) == [10, 20]
    assert server.asked == [[0], [2], [1]]


@pytest.mark.parametrize("end", ["closed", "refused"])
def test_who_waits_for_a_call_that_fails_asks_itself(end: str) -> None:
    server, calls = Server(), cached()
    first, _, second, wait = waiting(calls, server)
    if end == "closed":
        first.close()
    else:
        with pytest.raises(StackError):
            first.send(Response(500, {}, b""))
    assert wait.flight.result() is None
    assert numbers(server.run(second)) == [10, 20]
    assert server.asked == [[0], [2], [1]]


def test_who_waits_does_so_until_its_own_deadline() -> None:
    server, calls = Server(), cached()
    first, _, second, _ = waiting(calls, server)
    with pytest.raises(StackError) as error:
        second.send(None)
    assert error.value.code == "deadline"
    assert "within 10 s" in str(error.value)
    first.close()


def test_a_process_that_was_forked_remembers_nothing() -> None:
    server, calls = Server(), cached()
    server.run(call(calls, 1))
    flight: Future[Any] = Future()
    calls._state.flights[1] = flight
    calls._state.lock.acquire()
    calls._state.process = -1
    server.run(call(calls, 1))
    assert len(server.asked) == 2
    assert calls.statistics == (0, 1, 1)


def test_names_and_choices_of_features_are_remembered_apart() -> None:
    server, calls = Server(), cached()
    server.run(call(calls, 1))
    assert isinstance(call(calls, 1, features=["n"]).send(None), Exchange)
    assert isinstance(calls.online("w", [{"k": 1}], "view", None, None, None).send(None), Exchange)
    assert isinstance(calls.online("v", [{"k": 1}], "group", None, None, None).send(None), Exchange)
    assert isinstance(call(calls, 1, request={"x": 1}).send(None), Exchange)
    for wrong in ([["n"]], ["n", {}]):
        assert isinstance(call(calls, 1, features=wrong).send(None), Exchange)
