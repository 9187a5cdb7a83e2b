"""One connection to a node of Redis: commands of one turn of the loop leave in one write, answers come in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast, final

import hiredis

GIVE_UP_SECONDS = 1.0
"""How long the oldest command may be overdue before the connection is ended."""
MOST_OVERDUE = 3
"""Commands in a row without an answer in time, after which a node is not asked for a while."""


class NodeError(Exception):
    """A node does not answer a command: it is down, busy, overdue or refuses it."""


class NodeBusyError(NodeError):
    """Too many commands wait for the node already."""


class Reply(Protocol):
    """What takes the answer to a command: a future, or what does without one. It sends no command before it returns."""

    def done(self) -> bool:
        """Whether it takes nothing any more."""

    def set_result(self, result: Any, /) -> None:
        """Takes an answer."""

    def set_exception(self, error: BaseException, /) -> None:
        """Takes a NodeError."""


@final
class _Batch:
    """Several commands with one answer: their replies in order, a NodeError in the place of each that is refused."""

    __slots__ = ("_replies", "_size", "done", "future", "set_exception")

    def __init__(self, future: asyncio.Future[Any], size: int) -> None:
        self.future = future
        self.done, self.set_exception = future.done, future.set_exception
        self._size = size
        self._replies: list[Any] = []

    def take(self, reply: Any) -> bool:
        """Takes the next reply; says whether it was the last one."""
        self._replies.append(NodeError(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply)
        if len(self._replies) < self._size:
            return False
        if not self.future.done():
            self.future.set_result(self._replies)
        return True


class PipelinedConnection(asyncio.Protocol):
    """Commands out, answers in, first come first served."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, Reply | _Batch]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = loop.create_future()
        self.overdue = 0
        """Commands since the last one that was answered in time."""
        self.tripped = asyncio.Event()
        """Whether they are too many."""

    def __len__(self) -> int:
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own are none of that class

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiting = self._waiting
        while (reply := self._reader.gets()) is not False:
            future = waiting[0][1]
            if type(future) is _Batch:
                if future.take(reply):
                    self.overdue = 0
                    waiting.popleft()
                continue
            waiting.popleft()
            if future.done():
                continue  # nobody waits for it any more
            self.overdue = 0
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
        return self.ask_packed(hiredis.pack_command(tuple(command)), deadline)

    def ask_packed(self, command: bytes, deadline: float) -> asyncio.Future[Any]:
        """As `ask`, a command as Redis takes it."""
        if self.lost.done():
            raise NodeError("the connection was lost")
        future = self.loop.create_future()
        self.send(command, deadline, future)
        return future

    def send(self, command: bytes, deadline: float, reply: Reply) -> None:
        """The same, if the connection was not lost: `reply` takes the answer, or the NodeError."""
        self._waiting.append((deadline, reply))
        if not self._unsent:
            self.loop.call_soon(self._send)
        self._unsent.append(command)

    def ask_all(self, commands: Sequence[tuple[Any, ...]], deadline: float) -> asyncio.Future[list[Any]]:
        """As `ask`, several commands at once."""
        return self.ask_all_packed(b"".join(map(hiredis.pack_command, commands)), len(commands), deadline)

    def ask_all_packed(self, commands: bytes, count: int, deadline: float) -> asyncio.Future[list[Any]]:
        """As `ask_all`, so many commands as Redis takes them."""
        if self.lost.done():
            raise NodeError("the connection was lost")
        future = self.loop.create_future()
        self._waiting.append((deadline, _Batch(future, count)))
        if not self._unsent:
            self.loop.call_soon(self._send)
        self._unsent.append(commands)
        return future

    def fail_overdue(self, now: float) -> None:
        """Fails the commands whose deadline has passed; ends the connection where the oldest is overdue for long."""
        for deadline, future in self._waiting:  # not in the order of their deadlines
            if deadline <= now and not future.done():
                future.set_exception(NodeError("it does not answer in time"))
                self.overdue += 1
        if self.overdue >= MOST_OVERDUE:
            self.tripped.set()
        if self._waiting and self._waiting[0][0] + GIVE_UP_SECONDS < now:
            self.end()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
