"""One Redis node behind one pipelined connection, shared by all requests of an event loop.

Commands of one turn of the loop leave in one write, and answers come back in their order, parsed by hiredis: a tenth of
the CPU of a pooled client for one key, a third for a hundred. A node that cannot be asked says so at once: while its
connection is down (it is made again with growing, jittered pauses), while too many commands wait, and where an answer
is overdue. A connection whose oldest command is overdue for long is given up, as its node may be stopped.

A breaker stops asking a node of which several answers in a row were overdue: what is asked of it fails at once. After a
growing, jittered pause one PING is sent; an answer in time closes the breaker.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis

from feature_store.online.connection import address_error
from feature_store.online.read.connection import GIVE_UP_SECONDS, NodeBusyError, NodeError, PipelinedConnection
from feature_store.online.read.decoding import UNREACHABLE, StoredValue, Unreachable
from feature_store.online.read.store import Keys

DEADLINE_SECONDS = 0.25
MOST_WAITING = 4_096
"""Commands that wait for an answer at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


@dataclass(frozen=True)
class NodeAddress:
    """Where a node is and who may ask it.

    Attributes:
        tls: whether the connection is encrypted, and with what certificates.
        may_be_replica: whether a replica is asked, too, once it has the rows of its primary.
    """

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = None
    may_be_replica: bool = False

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
        return [*found, *([("READONLY",), ("ROLE",)] if self.may_be_replica else []), ("DBSIZE",)]


def _encryption(files: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("ssl_ca_certs"))
    if "ssl_certfile" in files:
        context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    return context


class RedisNode:
    """Asks one node; made and used in one event loop.

    Args:
        address: of the node.
        deadline: seconds that a command may take.
        most_waiting: commands that may wait at once; several that are asked together are one.
        on_loss: is called when a connection was lost.
    """

    def __init__(
        self,
        address: NodeAddress,
        *,
        deadline: float = DEADLINE_SECONDS,
        most_waiting: int = MOST_WAITING,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        self.address = address
        self._on_loss = on_loss
        self._deadline = deadline
        self._most_waiting = most_waiting
        self._connection: PipelinedConnection | None = None
        """That is asked; None while the node is down or its breaker is open."""
        self._watched: PipelinedConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.tried = asyncio.Event()
        """Whether a connection was there, or could not be made, at least once."""
        self.trouble = "not connected yet"

    async def __aenter__(self) -> RedisNode:
        self.start()
        await self.tried.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begins to keep a connection."""
        self._tasks = [asyncio.create_task(self._stay_connected()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Ends the connection; what still waits for an answer fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connection = None
        if self._watched is not None:
            self._watched.end()

    @property
    def node(self) -> RedisNode:
        """As `OnlineStore.node`."""
        return self

    @property
    def is_up(self) -> bool:
        """Whether the node can be asked."""
        return self._connection is not None and not self._connection.lost.done()

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong with the node, by its address; nothing if it can be asked."""
        return {} if self.is_up else {str(self.address): self.trouble}

    @property
    def is_full(self) -> bool:
        """Whether as many commands wait as may."""
        return self._connection is not None and len(self._connection) >= self._most_waiting

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """The answer to a command; the future fails with NodeError.

        Raises:
            NodeError: if the node is down.
            NodeBusyError: if too many commands wait.
        """
        return self.ask_packed(hiredis.pack_command(command))

    def ask_packed(self, command: bytes) -> asyncio.Future[Any]:
        """The same of a command as Redis takes it."""
        connection = self._connection
        if connection is None:
            raise NodeError(f"Redis {self.address} is down: {self.trouble}")
        if len(connection) >= self._most_waiting:
            raise self.busy_error()
        return connection.ask_packed(
            command, connection.loop.time() + self._deadline
        )  # get_running_loop asks for the pid

    def free_connection(self) -> PipelinedConnection | None:
        """What a command may be sent over; None if the node is down, or too many commands wait."""
        connection = self._connection
        if connection is None or connection.lost.done() or len(connection) >= self._most_waiting:
            return None
        return connection

    def reply_time(self, connection: PipelinedConnection) -> float:
        """Until when (the loop's time) a command that is sent now may take."""
        return connection.loop.time() + self._deadline

    def ask_all(self, commands: Sequence[tuple[Any, ...]], deadline: float) -> asyncio.Future[list[Any]]:
        """The answers to several commands that leave together, a NodeError in the place of each that is refused.

        Args:
            deadline: until when (the loop's time) all answers have to be there; else the future fails with NodeError.

        Raises:
            NodeError: if the node is down.
        """
        return self._connected().ask_all(commands, deadline)

    def ask_all_packed(self, commands: bytes, count: int, deadline: float) -> asyncio.Future[list[Any]]:
        """The same of so many commands as Redis takes them."""
        return self._connected().ask_all_packed(commands, count, deadline)

    def _connected(self) -> PipelinedConnection:
        if self._connection is None:
            raise NodeError(f"Redis {self.address} is down: {self.trouble}")
        return self._connection

    def busy_error(self) -> NodeBusyError:
        """What is said of a node for which too many commands wait."""
        return NodeBusyError(f"Redis {self.address} is behind: {self._most_waiting} commands wait")

    async def values(self, keys: Keys, packed: bytes | None = None) -> Sequence[StoredValue]:
        """As `OnlineStore.values`."""
        try:
            if packed is not None:
                return cast("Sequence[StoredValue]", await self.ask_packed(packed))
            return cast("Sequence[StoredValue]", await self.ask("MGET", *keys)) if keys else []
        except NodeBusyError:
            raise
        except NodeError:
            return [UNREACHABLE] * len(keys)

    async def hash(self, key: str) -> Mapping[bytes, bytes] | Unreachable:
        """As `OnlineStore.hash`."""
        try:
            entries = iter(await self.ask("HGETALL", key))
        except NodeBusyError:
            raise
        except NodeError:
            return UNREACHABLE
        return dict(zip(entries, entries, strict=True))

    async def command(self, name: str, key: str, *arguments: Any) -> Any:
        """As `OnlineStore.command`."""
        return await self.ask(name, key, *arguments)

    async def _stay_connected(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            connection = await self._connect()
            if connection is not None:
                self._watched, pause = connection, _FIRST_PAUSE
                breaker = asyncio.create_task(self._break(connection))
                try:
                    await connection.lost
                finally:
                    breaker.cancel()
                self._connection, self.trouble = None, "the connection was lost"
                if self._on_loss is not None:
                    self._on_loss()
            self.tried.set()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _break(self, connection: PipelinedConnection) -> None:
        """Lets a connection be used; takes it away while the node answers too late."""
        pause = _FIRST_PAUSE
        while True:
            connection.tripped.clear()
            self._connection = connection
            self.tried.set()
            closed_at = connection.loop.time()
            await connection.tripped.wait()
            self._connection, self.trouble = None, f"{connection.overdue} answers in a row were overdue"
            if connection.loop.time() - closed_at > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            while True:
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, _LONGEST_PAUSE)
                with suppress(NodeError):
                    await connection.ask(("PING",), connection.loop.time() + self._deadline)
                    break

    async def _connect(self) -> PipelinedConnection | None:
        """A connection over which the node has answered; None if it does not."""
        loop, address = asyncio.get_running_loop(), self.address
        connection = PipelinedConnection(loop)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await loop.create_connection(lambda: connection, address.host, address.port, ssl=address.tls)
                for command in address.greeting:
                    reply = await connection.ask(command, loop.time() + GIVE_UP_SECONDS)
                    if command == ("ROLE",) and reply[0] == b"slave" and reply[3] != b"connected":
                        raise NodeError("it is a replica that does not have the rows of its primary yet")
        except (OSError, NodeError, ssl.SSLError) as error:  # TimeoutError is one of the first
            self.trouble = str(error) or type(error).__name__
            connection.end()
            return None
        return connection

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._deadline / 8)
            if self._watched is not None:
                self._watched.fail_overdue(loop.time())
