"""Heads of requests as the native core reads them, against httptools and Python's reading of a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_store.online.native.core import NativeCore, NativeHead
from serving.rest.requests import Query

SIGNIFICANT = (b"authorization", b"accept", b"x-model")
UNUSUAL = (b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection", b"proxy-connection")
NAMES = (
    *SIGNIFICANT,
    b"x-request-id",
    b"host",
    b"Accept",
    b"X-MODEL",
    b"x",
    b"cookie",
    b"te",
    b"content-type",
    *UNUSUAL,
)
VALUES = (
    b"a",
    b"Bearer fs_x",
    b"keep-alive",
    b"Keep-Alive",
    b"close",
    b"0",
    b"3",
    b"chunked",
    b"100-continue",
    b"a\tb",
    b"",
)
WORDS = ("u1", "u,2", "", "a=b", "-5", "%61", "a+b", "{x|y}", "é", "a b", "~!*'();:@$/?[]", "#x", "a\x00", '^`<>"\\')
USUAL = b"GET /feature-groups/g/online?entity_ids=u1,u2 HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer x\r\n\r\n"

names = st.sampled_from(NAMES) | st.binary(max_size=6)
values = st.sampled_from(VALUES) | st.binary(max_size=12) | st.text("abc,=/ \t", max_size=9).map(str.encode)
words = st.sampled_from(WORDS) | st.text(max_size=8) | st.text("abcu12,", max_size=30)
parameters = st.sampled_from(["entity_ids", "features", "shape", "user_id", "", "entity_id", "a%20b"])


class Message:
    """What httptools tells of the first requests in some bytes."""

    def __init__(self, data: bytes) -> None:
        self.url, self.headers, self.body, self.begun, self.complete = b"", list[tuple[bytes, bytes]](), b"", 0, 0
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
            self.is_usual = parser.get_method() == b"GET" and parser.get_http_version() == "1.1"
            self.is_usual &= bool(parser.should_keep_alive()) and not parser.should_upgrade()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.is_usual = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def check(head: NativeHead, data: bytes) -> None:
    """Whether httptools and Python read the same."""
    message = Message(data)
    assert (message.is_usual, message.begun, message.complete, message.body) == (True, 1, 1, b"")
    headers = dict(message.headers)
    assert not headers.keys() & set(UNUSUAL) - {b"connection"}
    assert headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    path, *read, names = head.key.split(b"\n")
    assert path == message.url.partition(b"?")[0]
    assert read == [headers.get(name, b"") for name in SIGNIFICANT]
    assert head.request_id == headers.get(b"x-request-id")
    text = message.url.partition(b"?")[2]
    query, fixed = Query(text), Query(names.removesuffix(b"&"))
    given_names = [name for name in names.decode().split("&") if name and "=" not in name]
    assert sorted({*given_names, *fixed.names} - {""}) == sorted(query.names)
    for name in ("features", "shape"):
        assert fixed.all(name) == query.all(name)
    found: dict[str, list[str]] = {}
    for place, name in enumerate(given_names):
        found[name] = found.get(name, []) + head.words(place)
    assert found == {name: query.words(name) for name in found}
    with pytest.raises(IndexError):
        head.words(len(given_names))


def joined(path: str, pairs: Sequence[tuple[str, str]], lines: Sequence[tuple[bytes, bytes]], end: bytes) -> bytes:
    """A request as it is sent."""
    query = "&".join(f"{name}={value}" for name, value in pairs)
    head = b"GET /%b?%b HTTP/1.1\r\n" % (path.encode(), query.encode())
    return head + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n" + end


requests = st.builds(
    joined,
    st.sampled_from(["feature-groups/g/online", "", "a%20b", "x?y"]) | st.text("ab/@-_.~", max_size=12),
    st.lists(st.tuples(parameters, words), max_size=4),
    st.lists(st.tuples(names, values), max_size=5),
    st.sampled_from([b"", b"", b"", b"G", b"\r\n", b"GET / HTTP/1.1\r\n\r\n"]),
)


@settings(max_examples=300)
@given(requests)
@example(joined("p", [("entity_ids", "a" * 70_000)], [], b""))
@example(joined("p", [("entity_ids", "a")], [(b"x-request-id", b"a" * 201)], b""))
@example(joined("p", [("entity_ids", "a")] * 17, [], b""))
def test_what_the_core_reads_is_what_httptools_and_python_read(core: NativeCore, data: bytes) -> None:
    head = core.read_head(data)
    if head is not None:
        check(head, data)


@given(st.data())
def test_a_damaged_head_is_read_as_by_httptools_or_not_at_all(core: NativeCore, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(USUAL)))
    damaged = USUAL[:at] + data.draw(st.binary(max_size=3)) + USUAL[at + data.draw(st.integers(0, 3)) :]
    head = core.read_head(damaged)
    if head is not None:
        check(head, damaged)


ids = st.lists(st.text("abcXYZ019-_.~:@", max_size=12), min_size=1, max_size=40).map(",".join)


@given(
    ids,
    st.permutations(
        [b"Host: a", b"authorization: Bearer x", b"ACCEPT:  a/b, */*", b"X-Model: m", b"Connection: keep-alive"]
    ),
)
def test_a_usual_head_is_read(core: NativeCore, words: str, lines: list[bytes]) -> None:
    head = (
        b"GET /feature-views/v@2/online?user_id=%b&features=a,b&item_id=1&shape=records HTTP/1.1\r\n" % words.encode()
    )
    data = head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    found: Any = core.read_head(data)
    assert found.key == b"/feature-views/v@2/online\nBearer x\na/b, */*\nm\nuser_id&features=a,b&item_id&shape=records&"
    assert (found.words(0), found.words(1), found.request_id) == (words.split(","), ["1"], None)
    check(found, data)


def test_a_part_of_a_head_is_none(core: NativeCore) -> None:
    assert core.read_head(USUAL) is not None
    assert [core.read_head(USUAL[:end]) for end in range(len(USUAL))] == [None] * len(USUAL)
    assert [core.read_head(USUAL[start:]) for start in range(1, len(USUAL))] == [None] * (len(USUAL) - 1)


def test_only_bytes_are_a_head(core: NativeCore) -> None:
    other: Any = "GET / HTTP/1.1\r\n\r\n"
    with pytest.raises(TypeError, match="bytes"):
        core.read_head(other)
