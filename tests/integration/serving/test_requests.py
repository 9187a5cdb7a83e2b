"""What the server says to requests that cannot be answered: a 4xx that names place, remedy and code; never a 500."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from feature_store.explanations.catalogue import explanation_of
from tests.integration.compared import COMPARED
from tests.integration.serving.server_process import ServerProcess, connected, get

USERS, PAIRS = "/feature-groups/user_facts/online", "/feature-groups/pair_facts/online"
ITEMS, RANKING = "/feature-groups/item_facts/online", "/feature-views/ranking/online"
REQUESTS = 10_000
AT_ONCE = 20
SEED = 20261128

REFUSED: list[tuple[str, str, bytes | None, int, str]] = [
    ("GET", USERS, None, 422, "no-rows"),
    ("GET", f"{USERS}?entity_ids=%FF", None, 400, "malformed-request"),
    ("GET", f"{USERS}?entity_ids=" + "u," * 1000 + "u", None, 422, "too-many-rows"),
    ("GET", f"{USERS}?entity_ids=a&features=user_count,nothing", None, 422, "not-in-view"),
    ("GET", f"{USERS}?entity_ids=a&shape=table", None, 422, "unknown-shape"),
    ("GET", f"{ITEMS}?entity_ids=1,one", None, 422, "wrong-key-type"),
    ("GET", f"{ITEMS}?entity_ids=99999999999999999999", None, 422, "wrong-key-type"),
    ("GET", f"{ITEMS}?entity_ids=9223372036854775808", None, 422, "wrong-key-type"),
    ("GET", f"{ITEMS}?entity_ids=", None, 422, "wrong-key-type"),
    ("GET", f"{PAIRS}?entity_ids=a|1,b", None, 422, "missing-key-column"),
    ("GET", f"{RANKING}?user_id=a", None, 422, "missing-key-column"),
    ("GET", f"{RANKING}?user_id=a,b&item_id=1,2,3", None, 400, "malformed-request"),
    ("GET", f"{RANKING}?user_id=a&item_id=1", None, 422, "missing-request-value"),
    ("GET", f"{RANKING}?user_id=a&item_id=1&budget=1&asked_at=null&colour=1", None, 422, "unknown-request-value"),
    ("GET", "/feature-groups/nothing/online?entity_ids=a", None, 404, "not-recorded"),
    ("GET", "/feature-groups/user_facts@9/online?entity_ids=a", None, 404, "not-recorded"),
    ("GET", "/feature-groups/user_facts@/online?entity_ids=a", None, 404, "not-recorded"),
    ("GET", "/feature-views/user_facts/online?user_id=a", None, 404, "not-recorded"),
    ("GET", "/models/nobody/online?user_id=a", None, 404, "unknown-model"),
    ("POST", USERS, b"", 400, "malformed-request"),
    ("POST", USERS, b"{", 400, "malformed-request"),
    ("POST", USERS, b'{"rows": 1}', 400, "malformed-request"),
    ("POST", USERS, b'{"rows": []}', 422, "no-rows"),
    ("POST", USERS, b'{"rows": [{}]}', 422, "missing-key-column"),
    ("POST", USERS, b'{"rows": [{"user_id": 1}]}', 422, "wrong-key-type"),
    ("POST", USERS, b'{"rows": [{"user_id": ["a"]}]}', 422, "wrong-key-type"),
    ("POST", USERS, b'{"rows": [{"user_id": "\\ud800"}]}', 400, "malformed-request"),
    ("POST", USERS, b'{"rows": [{"user_id": "a"}], "row": 1}', 400, "malformed-request"),
    ("POST", USERS, b"[" * 100_000, 400, "malformed-request"),
    ("POST", USERS, b'{"rows": [' + b'{"user_id": "a"},' * 1000 + b'{"user_id": "a"}]}', 422, "too-many-rows"),
    ("POST", USERS, b" " * ((1 << 20) + 1), 413, "large-request"),
    ("POST", ITEMS, b'{"rows": [{"item_id": 1.5}]}', 422, "wrong-key-type"),
    ("POST", ITEMS, b'{"rows": [{"item_id": 1e400}]}', 400, "malformed-request"),
    ("POST", RANKING, b'{"rows": [{"user_id": "a", "item_id": 1, "budget": "x", "asked_at": null}]}', 422,
     "wrong-request-type"),
    ("POST", RANKING, b'{"rows": [{"user_id": "a", "item_id": 1, "budget": 1, "asked_at": "soon"}]}', 422,
     "wrong-request-type"),
    ("POST", RANKING, b'{"rows": [{"user_id": "a", "item_id": 1, "budget": 1, "asked_at": 99999999999999999999}]}', 422,
     "wrong-request-type"),
    ("DELETE", USERS, None, 405, "wrong-method"),
    ("POST", "/feature-groups/user_facts", b"{}", 405, "wrong-method"),
    ("GET", "/nothing", None, 404, "no-route"),
    ("GET", "/feature-groups?limit=many", None, 400, "malformed-request"),
    ("GET", "/feature-groups/nothing", None, 404, "not-recorded"),
    ("GET", "/lineage/nothing@1", None, 404, "not-recorded"),
    ("GET", "/errors/nothing", None, 404, "unknown-code"),
    ("GET", "/feature-groups/user_facts/skew-report?count=101", None, 400, "malformed-request"),
    ("POST", "/feature-views/ranking/training-dataset", b"{}", 400, "malformed-request"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(
    server: ServerProcess, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    answer = server.ask(method, path, body or b"", {"X-Request-Id": "mine"})
    problem = answer.json
    assert (answer.status, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["instance"], problem["type"]) == (status, "mine", f"/errors/{code}")
    assert problem["title"] == explanation_of(code).title
    assert server.get(problem["type"]).json["remedy"]
    assert answer.headers["x-request-id"] == "mine"


def test_a_body_of_another_type_is_refused(server: ServerProcess) -> None:
    answer = server.ask("POST", USERS, b"user_id=a", {"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.json["code"]) == (415, "media-type")


def test_random_requests_never_fail_the_server(server: ServerProcess) -> None:
    chance = random.Random(SEED)
    pieces = ["a", "", "\0", "é", "𝄞", "x" * 3_000, "%", "{", "}", "|", ",", "&", "=", "1", "-1", "null", "{}", "true",
              "9" * 30, "1e5", "2026-01-01", " ", "+", "@1", "@", "online", "..", "user_facts", "ranking"]  # fmt: skip
    paths = [USERS, ITEMS, PAIRS, RANKING, "/feature-groups/slot_facts/online", "/feature-views/matching/online",
             "/models/x/online", "/feature-groups", "/features", "/entities", "/lineage/x"]  # fmt: skip
    names = ["entity_ids", "entity_id", "user_id", "item_id", "features", "shape", "budget", "asked_at", "q", "limit"]

    def text() -> str:
        return "".join(chance.choice(pieces) for _ in range(chance.randrange(4)))

    def value(depth: int = 0) -> Any:
        kind = chance.randrange(9 if depth < 3 else 6)
        if kind < 6:
            return [text(), chance.randrange(-(2**63), 2**64), chance.random(), None, True, text()][kind]
        if kind == 6:
            return [value(depth + 1) for _ in range(chance.randrange(3))]
        return {chance.choice([*names, "rows", "request"]): value(depth + 1) for _ in range(chance.randrange(4))}

    def request() -> bytes:
        path = chance.choice(paths) if chance.random() < 0.9 else f"/{quote(text(), safe='/')}/{quote(text())}/online"
        pairs = [f"{chance.choice(names)}={quote(text(), safe=',|')}" for _ in range(chance.randrange(4))]
        path = f"{path}?{'&'.join(pairs)}" if pairs else path
        if chance.random() < 0.5:
            return get(path)
        rows = [{n: value(1) for n in chance.sample(names, 3)} for _ in range(chance.randrange(3))]
        body = msgspec.json.encode(value() if chance.random() < 0.3 else {"rows": rows, "request": {}})
        return f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    statuses: dict[int, int] = {}
    with connected(server) as peer:
        for _ in range(REQUESTS // AT_ONCE):
            requests = [request() for _ in range(AT_ONCE)]
            peer.send(*requests)
            for sent in requests:
                answer, body = peer.answer()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
                assert answer.status < 500 or answer.status == 501, (SEED, sent, body)
                if answer.status != 200:
                    assert json.loads(body)["code"]
    COMPARED[f"random requests to the server, seed {SEED}"] += REQUESTS
    assert statuses[200] > REQUESTS // 50, statuses
    assert server.get(USERS, entity_ids="a").status == 200
