"""What the server says over gRPC to what cannot be answered: a status with place, remedy and code; never INTERNAL."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from feature_store.explanations.catalogue import explanation_of
from feature_store.plan import schema
from feature_store.plan.schema import ViewSchema
from feature_store.remote.online_pb2 import Column, Input, ReadRequest
from feature_store.remote.online_pb2_grpc import OnlineStub
from tests.integration.serving.grpc_client import ARRAYS, SECONDS, channel_to, refused, stub_of
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import Shop

REQUESTS = 1_000
SEED = 20261128
WRONG, ABSENT, MUCH = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
READ = "/feature_store.v1.Online/Read"


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[OnlineStub]:
    with stub_of(server) as stub:
        yield stub


def users(group: str = "user_facts", **column: Any) -> ReadRequest:
    return ReadRequest(id=group, keys=[Input(name="user_id", column=Column(**column))])


def items(**column: Any) -> ReadRequest:
    return ReadRequest(id="item_facts", keys=[Input(name="item_id", column=Column(**column))])


def ranking(keys: dict[str, Column], **request: Column) -> ReadRequest:
    return ReadRequest(
        id="ranking",
        keys=[Input(name=name, column=column) for name, column in keys.items()],
        request=[Input(name=name, column=column) for name, column in request.items()],
    )


A, ONE, NULL = Column(strings=["a"]), Column(ints=[1]), Column(ints=[0], nulls=[0])
PAIR = {"user_id": A, "item_id": ONE}
TWICE = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=A)] * 2)
MANY = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=A)] * 1_001)
BOTH = ReadRequest(id="user_facts", keys=[Input(name="user_id", column=A)], features=["user_count", "nothing"])
REFUSED: list[tuple[str, ReadRequest, grpc.StatusCode, str]] = [
    ("Group", ReadRequest(id="user_facts"), WRONG, "no-rows"),
    ("Group", users(), WRONG, "no-rows"),
    ("Group", users(strings=["u"] * 1_001), WRONG, "too-many-rows"),
    ("Group", users(ints=[1]), WRONG, "wrong-key-type"),
    ("Group", users(strings=["a"], ints=[1]), WRONG, "malformed-request"),
    ("Group", users(embeddings=b"1234"), WRONG, "malformed-request"),
    ("Group", users(strings=["a"], lengths=[1]), WRONG, "malformed-request"),
    ("Group", users(strings=["a"], nulls=[1]), WRONG, "malformed-request"),
    ("Group", users(strings=["a"], nulls=[0, 0]), WRONG, "malformed-request"),
    ("Group", users(timestamps=[2**62]), WRONG, "malformed-request"),
    ("Group", TWICE, WRONG, "malformed-request"),
    ("Group", MANY, WRONG, "malformed-request"),
    ("Group", BOTH, WRONG, "not-in-view"),
    ("Group", items(doubles=[1.5]), WRONG, "wrong-key-type"),
    ("Group", items(bools=[True]), WRONG, "wrong-key-type"),
    ("Group", ReadRequest(id="item_facts", keys=[Input(name="item", column=ONE)]), WRONG, "missing-key-column"),
    ("Group", users("nothing", strings=["a"]), ABSENT, "not-recorded"),
    ("Group", users("user_facts@9", strings=["a"]), ABSENT, "not-recorded"),
    ("Group", users("", strings=["a"]), ABSENT, "not-recorded"),
    ("Group", users("𝄞" * 100_000, strings=["a"]), ABSENT, "not-recorded"),
    ("View", users(strings=["a"]), ABSENT, "not-recorded"),
    ("Model", users("nobody", strings=["a"]), ABSENT, "unknown-model"),
    ("View", ranking(PAIR), WRONG, "missing-request-value"),
    ("View", ranking(PAIR, budget=ONE, asked_at=NULL, colour=A), WRONG, "unknown-request-value"),
    ("View", ranking(PAIR, budget=ONE, asked_at=NULL, colour=Column(ints=[1, 2])), WRONG, "unknown-request-value"),
    ("View", ranking(PAIR, budget=A, asked_at=NULL), WRONG, "wrong-request-type"),
    ("View", ranking(PAIR, budget=Column(strings=["é" * 100_000]), asked_at=NULL), WRONG, "wrong-request-type"),
    ("View", ranking(PAIR, budget=ONE, asked_at=ONE), WRONG, "wrong-request-type"),
    ("View", ranking(PAIR, budget=Column(), asked_at=NULL), WRONG, "malformed-request"),
    ("View", ranking({"user_id": Column(strings=["a", "b"]), "item_id": Column(ints=[1, 2, 3])}), WRONG,
     "malformed-request"),
    ("Group", users(strings=["x" * (1 << 20)]), MUCH, "large-request"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "request_", "status", "code"), REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(
    stub: OnlineStub, method: str, request_: ReadRequest, status: grpc.StatusCode, code: str
) -> None:
    told, trailers = refused(getattr(stub, f"Read{method}"), request_)
    assert told == (status, code)
    assert trailers["remedy-bin"].decode()
    assert trailers["x-request-id"]
    assert explanation_of(code)


def test_what_is_no_message_or_method_is_refused(server: ServerProcess) -> None:
    with channel_to(server) as channel:
        told, _ = refused(channel.unary_unary(f"{READ}Group"), bytes(5 << 20))
        assert told[0] is MUCH  # gRPC itself, before it is ours
        told, _ = refused(channel.unary_unary(f"{READ}Group"), b"\xff\xff")
        assert told == (WRONG, "malformed-request")
        told, _ = refused(channel.unary_unary(f"{READ}Everything"), b"")
        assert told[0] is grpc.StatusCode.UNIMPLEMENTED


SOME: dict[str, list[Any]] = {
    "doubles": [1.5, float("nan"), float("inf"), -0.0],
    "ints": [0, 1, -(2**63), 2**63 - 1],
    "strings": ["a", "", "\0", "é", "𝄞", "x" * 3_000],
    "bools": [True, False],
    "timestamps": [0, 2**62, -(2**63), 1_790_000_000_000_000],
}
"""Values of the arrays of a column."""


def random_column(column: schema.Column, chance: random.Random) -> Input:
    """A column of a request, of the type that is expected more often than not."""
    made = Input(name=column.name if chance.random() < 0.95 else chance.choice(["", "é", "user_id"]))
    arrays = [ARRAYS[column.dtype.kind]] if chance.random() < 0.9 else chance.sample([*SOME], chance.choice([1, 2]))
    for array in arrays:
        getattr(made.column, array).extend(chance.choices(SOME[array], k=chance.choice([0, 1, 1, 1, 2, 2])))
    for others in ("nulls", "lengths", "null_items"):
        if chance.random() < 0.05:
            getattr(made.column, others).append(chance.choice([0, 1, 2**32 - 1]))
    return made


def random_request(view: ViewSchema, chance: random.Random) -> bytes:
    """A request of a view, in which some things may be wrong; sometimes with a byte that is."""
    keys, request = ([random_column(column, chance) for column in of] for of in (view.keys, view.request))
    asked = ReadRequest(id=view.id, keys=keys, request=request)
    if chance.random() < 0.1:
        asked.features.extend(chance.choices(["user_count", "rest", "", "x" * 3_000], k=2))
    message = bytearray(asked.SerializeToString())
    if chance.random() < 0.2:
        message[chance.randrange(len(message))] = chance.randrange(256)
    return bytes(message)


def test_random_requests_never_fail_the_server(server: ServerProcess, shop: Shop) -> None:
    chance = random.Random(SEED)
    codes: Counter[grpc.StatusCode] = Counter()
    with channel_to(server) as channel:
        for _ in range(REQUESTS):
            (kind, _), view = chance.choice([*shop.views.items()])
            method = kind.title() if chance.random() < 0.95 else "Model"
            call = channel.unary_unary(f"{READ}{method}").future(random_request(view, chance), timeout=SECONDS)
            codes[call.code()] += 1
            if call.code() is not grpc.StatusCode.OK:
                assert dict(call.trailing_metadata())["code"]
    assert codes.keys() == {grpc.StatusCode.OK, WRONG, ABSENT}, (SEED, codes)
    assert min(codes.values()) > REQUESTS // 50, codes


def test_calls_are_counted_as_requests_are(server: ServerProcess, stub: OnlineStub) -> None:
    stub.ReadGroup(users(strings=["a"]), timeout=SECONDS)
    refused(stub.ReadGroup, users())
    text = server.get("/metrics").body.decode()
    assert f'feature_store_request_seconds_count{{route="{READ}Group",target="user_facts@1"}}' in text
    assert f'feature_store_requests_total{{route="{READ}Group",status="422"}}' in text
