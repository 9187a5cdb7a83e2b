"""Requests as bytes, and bytes as responses: HTTP/1.1, whatever carries them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import httptools

from feature_store.remote.address import ServerAddress

MSGPACK = "application/msgpack"
_MOST_HEADERS = 256


@dataclass(frozen=True)
class Request:
    """A whole request as bytes, which nothing shows: the token is in them."""

    data: bytes = field(repr=False)


class Response(NamedTuple):
    """What a server has answered.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class ConnectionFailure(Exception):  # noqa: N818 - it is not raised to callers
    """No answer came over a connection.

    Args:
        reason: what happened.
        is_used: whether the connection had carried answers before: the server may have closed it in the meantime, which
            says nothing of the server.
    """

    def __init__(self, reason: str, *, is_used: bool = False) -> None:
        super().__init__(reason)
        self.is_used = is_used


class RequestWriter:
    """Writes requests to one server."""

    def __init__(self, server: ServerAddress) -> None:
        default = 443 if server.is_encrypted else 80
        host = f"[{server.host}]" if ":" in server.host else server.host
        lines = [
            f"host: {host}" if server.port == default else f"host: {host}:{server.port}",
            f"accept: {MSGPACK}, application/json",
            "user-agent: feature-store",
        ]
        if server.token:
            lines.append(f"authorization: Bearer {server.token}")
        self._path = server.path
        self._headers = "".join(f"{line}\r\n" for line in lines)

    def write(self, method: str, path: str, body: bytes = b"") -> Request:
        """A whole request; `body` is MessagePack."""
        of_body = f"content-type: {MSGPACK}\r\ncontent-length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._headers}{of_body}\r\n"
        return Request(head.encode() + body)


class ResponseReader:
    """Reads one response from the bytes of a connection as they come.

    Attributes:
        response: once it is whole.
        keeps_alive: whether the connection can carry another one.
    """

    def __init__(self) -> None:
        self.response: Response | None = None
        self.keeps_alive = False
        self.has_begun = False
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            ConnectionFailure: if they are no HTTP, or come after the end of the response.
        """
        if self.response is not None:
            raise ConnectionFailure("more came than an answer")
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ConnectionFailure(f"what came is not HTTP: {error}") from None

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) < _MOST_HEADERS:
            self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 103 and the like: the answer is still to come
            self._headers, self._body = {}, []
        elif self.response is None:
            self.keeps_alive = self._parser.should_keep_alive()
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self.response = Response(status, self._headers, body)
        else:
            self.keeps_alive = False
