"""What a call does with the outcomes of its exchanges: again, when, and until when."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from feature_store import INT, STRING
from feature_store.errors import FeatureStoreError, NotFoundError, StackError
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.calls import Exchange, OnlineCalls, Pause, Steps
from feature_store.remote.messages import ConnectionFailure, Response
from feature_store.remote.schema import ViewDocument

SERVER = ServerAddress.of("https://store.example:8443/behind/", "fs_" + "x" * 43)
USERS = GroupSchema("users", 1, (Column("user_id", STRING),), (Column("n", INT),), None, 0, 10, 4)
VIEW = ViewSchema("v", 2, (ViewedSchema(USERS),))


def begun(deadline: float = 10.0, calls: OnlineCalls | None = None) -> tuple[Steps[OnlineVectors], Exchange]:
    steps = (calls or OnlineCalls(SERVER, 1.0, 0.25)).online("v", [{"user_id": "a"}], "view", None, None, deadline)
    first = next(steps)
    assert isinstance(first, Exchange)
    return steps, first


def problem(status: int, code: str, **headers: str) -> Response:
    body = {"type": "", "title": "", "status": status, "detail": "so", "code": code, "instance": "7-1", "remedy": "do"}
    return Response(status, {k.encode(): v.encode() for k, v in headers.items()}, msgspec.json.encode(body))


def answer(**changes: Any) -> Response:
    group = {"group": "users@1", "stale": True, "updated_at": 90, "features": ["n"], "rows": [[1]], "absent": [0],
             "statuses": ["PRESENT"], "feature_timestamps": [80]}  # fmt: skip
    whole = {"id": "v@2", "request_time": 95, "row_count": 1, "groups": [group | changes.pop("group", {})], **changes}
    return Response(200, {}, msgspec.msgpack.encode(whole))


def detail(view: ViewSchema = VIEW) -> Response:
    return Response(200, {}, msgspec.json.encode({"id": view.id, "schema": ViewDocument.of(view)}))


def result(steps: Steps[OnlineVectors], *outcomes: Any) -> OnlineVectors:
    """What a call gives after some outcomes, none of which it pauses for."""
    for outcome in outcomes[:-1]:
        assert isinstance(steps.send(outcome), Exchange)
    with pytest.raises(StopIteration) as done:
        steps.send(outcomes[-1])
    vectors = done.value.value
    assert isinstance(vectors, OnlineVectors)
    return vectors


def failure(steps: Steps[OnlineVectors], outcome: Any) -> FeatureStoreError:
    with pytest.raises(FeatureStoreError) as error:
        steps.send(outcome)
    return error.value


def test_a_request_says_who_asks_for_what() -> None:
    _, first = begun()
    lines = first.request.data.split(b"\r\n")
    assert lines[0] == b"POST /behind/feature-views/v/online HTTP/1.1"
    assert {b"host: store.example:8443", b"authorization: Bearer fs_" + b"x" * 43} < set(lines)
    assert msgspec.msgpack.decode(lines[-1]) == {"rows": [{"user_id": "a"}], "request": {}}
    assert first.hedge_after == 0.25
    assert "fs_" not in repr(first)


def test_a_schema_is_looked_up_once_and_when_an_answer_does_not_fit() -> None:
    calls = OnlineCalls(SERVER, 1.0, None)
    steps, _ = begun(calls=calls)
    asked = steps.send(answer())
    assert isinstance(asked, Exchange)
    assert asked.request.data.startswith(b"GET /behind/feature-views/v@2 ")
    assert result(steps, detail()).to_dicts() == [{"user_id": "a", "n": 1}]
    assert len(result(begun(calls=calls)[0], answer())) == 1
    larger = ViewSchema(
        "v", 2, (ViewedSchema(GroupSchema(**{**vars(USERS), "features": (*USERS.features, Column("m", STRING))})),)
    )
    grown = answer(group={"features": ["n", "m"], "rows": [[1, "x"]], "absent": [0, None]})
    assert result(begun(calls=calls)[0], grown, detail(larger)).to_dicts() == [{"user_id": "a", "n": 1, "m": "x"}]
    steps, _ = begun(calls=OnlineCalls(SERVER, 1.0, None))  # servers of two versions behind one address
    assert result(steps, grown, detail(), grown, detail(larger)).to_dicts()[0]["m"] == "x"
    steps, _ = begun(calls=OnlineCalls(SERVER, 1.0, None))
    for _ in range(2):
        steps.send(grown)
        steps.send(detail())
    steps.send(grown)
    assert failure(steps, detail()).code == "unexpected-answer"


def test_whether_a_group_is_stale_is_the_server_s_word() -> None:
    for said in (True, False):
        steps, _ = begun()
        vectors = result(steps, answer(group={"stale": said, "updated_at": 1_000 if said else None}), detail())
        assert vectors.stale == {"users@1": said}


def test_what_passes_is_asked_again_after_random_and_growing_pauses() -> None:
    steps, first = begun()
    longest = 0.0
    for number in range(12):
        trouble = ConnectionFailure("refused") if number % 2 else problem(503, "registry-down")
        pause = steps.send(trouble)
        assert isinstance(pause, Pause)
        assert 0 <= pause.seconds <= min(1.0, 0.02 * 2**number)
        longest = max(longest, pause.seconds)
        assert steps.send(None) == first
    assert longest > 0.1
    assert len(result(steps, ConnectionFailure("closed", is_used=True), answer(), detail())) == 1


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    steps, _ = begun()
    pause = steps.send(problem(503, "busy", **{"retry-after": "3"}))
    assert isinstance(pause, Pause)
    assert 3 <= pause.seconds <= 3.02
    steps, _ = begun(2.0)
    began = time.monotonic()
    error = failure(steps, problem(503, "busy", **{"retry-after": "3"}))
    assert (type(error), error.code, error.where, error.remedy) == (StackError, "busy", "request 7-1", "do")
    assert time.monotonic() - began < 1


def test_what_is_refused_is_not_asked_again() -> None:
    error = failure(begun()[0], problem(404, "not-recorded"))
    assert (type(error), error.code, error.where, error.message) == (NotFoundError, "not-recorded", "", "so")
    assert failure(begun()[0], problem(500, "server-failed")).where == "request 7-1"
    for strange in (Response(302, {}, b""), Response(200, {}, b"<html>"), Response(200, {}, b"\xff")):
        assert failure(begun()[0], strange).code == "unexpected-answer"
    assert failure(begun()[0], answer(row_count=2)).code == "unexpected-answer"
    steps, _ = begun()
    steps.send(answer())
    assert failure(steps, Response(200, {}, b'{"schema": null}')).code == "unexpected-answer"


def test_a_call_ends_with_its_deadline() -> None:
    error = failure(begun(0.0)[0], ConnectionFailure("refused"))
    assert (error.code, error.where) == ("deadline", "https://store.example:8443/behind")
    assert "no answer within 0 s: refused" in str(error)
    assert failure(begun()[0], None).code == "deadline"
    assert failure(begun(0.0)[0], Response(502, {}, b"<html>")).code == "unexpected-answer"
