"""One Redis node behind one pipelined connection, shared by all requests of an event loop.

Commands of one turn of the loop leave in one write, and answers come back in their order, parsed by hiredis: a tenth of
the CPU of a pooled client for one key, a third for a hundred. A node that cannot be asked says so at once: while its
connection is down (it is made again with growing, jittered pauses), while too many commands wait, and where an answer
is overdue. A connection whose oldest command is overdue for long is given up, as its node may be stopped.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis

from feature_store.online.connection import address_error

DEADLINE_SECONDS = 0.25
GIVE_UP_SECONDS = 1.0
"""How long the oldest command may be overdue before the connection is ended."""
MOST_WAITING = 4_096
"""Commands that wait for an answer at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class NodeError(Exception):
    """A node does not answer a command: it is down, busy, overdue or refuses it."""


class NodeBusyError(NodeError):
    """Too many commands wait for the node already."""


@dataclass(frozen=True)
class NodeAddress:
    """Where a node is and who may ask it.

    Attributes:
        tls: whether the connection is encrypted, and with what certificates.
    """

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str) -> NodeAddress:
        """The address in a URL: redis[s]://[user:password@]host[:port][/database].

        With rediss, `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` in its query name files (PEM), as for redis-py.

        Raises:
            StackError: if it is not such a URL.
        """
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("redis", "rediss") or not parts.hostname:
                raise ValueError("its scheme is not redis:// or rediss://, or it names no host")
            return cls(
                parts.hostname,
                parts.port or 6379,
                unquote(parts.username or ""),
                unquote(parts.password or ""),
                int(parts.path.strip("/") or 0),
                _encryption(dict(parse_qsl(parts.query))) if parts.scheme == "rediss" else None,
            )
        except (ValueError, OSError) as error:
            raise address_error(error) from None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def greeting(self) -> list[tuple[str, ...]]:
        """The commands of a new connection; the last one is answered when the node has its data."""
        found: list[tuple[str, ...]] = []
        if self.password:
            found.append(("AUTH", *([self.username] if self.username else []), self.password))
        if self.database:
            found.append(("SELECT", str(self.database)))
        return [*found, ("EXISTS", "feature-store")]


def _encryption(files: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
    if "ssl_certfile" in files:
        context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    return context


class _Connection(asyncio.Protocol):
    """Commands out, answers in, first come first served."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = loop.create_future()

    def __len__(self) -> int:
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own are none of that class

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiting = self._waiting
        while (reply := self._reader.gets()) is not False:
            _, future = waiting.popleft()
            if future.done():
                continue  # nobody waits for it any more
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(NodeError(str(reply)))
            else:
                future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(NodeError(f"the connection was lost: {error or 'closed'}"))
        self._waiting.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def ask(self, command: Sequence[Any], deadline: float) -> asyncio.Future[Any]:
        """Sends a command with all others of this turn of the loop.

        Raises:
            NodeError: if the connection was lost, and its node does not know it yet: nobody would answer.
        """
        if self.lost.done():
            raise NodeError("the connection was lost")
        future = self.loop.create_future()
        self._waiting.append((deadline, future))
        if not self._unsent:
            self.loop.call_soon(self._send)
        self._unsent.append(hiredis.pack_command(tuple(command)))
        return future

    def fail_overdue(self, now: float) -> None:
        """Fails the commands whose deadline has passed; ends the connection where the oldest is overdue for long."""
        for deadline, future in self._waiting:
            if deadline > now:
                break
            if not future.done():
                future.set_exception(NodeError("it does not answer in time"))
        if self._waiting and self._waiting[0][0] + GIVE_UP_SECONDS < now:
            self.end()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


class RedisNode:
    """Asks one node; made and used in one event loop.

    Args:
        address: of the node.
        deadline: seconds that a command may take.
        most_waiting: commands that may wait at once.
    """

    def __init__(
        self, address: NodeAddress, *, deadline: float = DEADLINE_SECONDS, most_waiting: int = MOST_WAITING
    ) -> None:
        self.address = address
        self._deadline = deadline
        self._most_waiting = most_waiting
        self._connection: _Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.trouble = "not connected yet"

    async def __aenter__(self) -> RedisNode:
        connected = asyncio.Event()
        self._tasks = [asyncio.create_task(self._stay_connected(connected)), asyncio.create_task(self._watch())]
        await connected.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.end()

    @property
    def is_up(self) -> bool:
        """Whether the node can be asked."""
        return self._connection is not None and not self._connection.lost.done()

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """The answer to a command; the future fails with NodeError.

        Raises:
            NodeError: if the node is down.
            NodeBusyError: if too many commands wait.
        """
        connection = self._connection
        if connection is None:
            raise NodeError(f"Redis {self.address} is down: {self.trouble}")
        if len(connection) >= self._most_waiting:
            raise NodeBusyError(f"Redis {self.address} is behind: {len(connection)} commands wait")
        return connection.ask(command, connection.loop.time() + self._deadline)  # get_running_loop asks for the pid

    async def _stay_connected(self, tried: asyncio.Event) -> None:
        pause = _FIRST_PAUSE
        while True:
            connection = await self._connect()
            tried.set()
            if connection is not None:
                self._connection, pause = connection, _FIRST_PAUSE
                await connection.lost
                self._connection, self.trouble = None, "the connection was lost"
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connect(self) -> _Connection | None:
        """A connection over which the node has answered; None if it does not."""
        loop, address = asyncio.get_running_loop(), self.address
        connection = _Connection(loop)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await loop.create_connection(lambda: connection, address.host, address.port, ssl=address.tls)
                for command in address.greeting:
                    await connection.ask(command, loop.time() + GIVE_UP_SECONDS)
        except (OSError, NodeError, ssl.SSLError) as error:  # TimeoutError is one of the first
            self.trouble = str(error) or type(error).__name__
            connection.end()
            return None
        return connection

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._deadline / 8)
            if self._connection is not None:
                self._connection.fail_overdue(loop.time())
