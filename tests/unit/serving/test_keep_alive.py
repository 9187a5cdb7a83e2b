"""A connection on which nothing is asked any more ends, and none on which something is: by a clock of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving.rest.protocol import DirectProtocol

KEPT = 5


class Clock:
    """The part of an event loop that the protocol uses here."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, then: Callable[[], None]) -> Any:
        self.timers.append((self.now + delay, then))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [then for at, then in self.timers if at <= self.now]
        self.timers = [(at, then) for at, then in self.timers if at > self.now]
        for then in due:
            then()


class Connection(asyncio.Transport):
    """What may be closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def _never_asked(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def protocol(clock: Clock) -> DirectProtocol:
    config = uvicorn.Config(_never_asked, timeout_keep_alive=KEPT, log_config=None, ws="none")
    made = DirectProtocol(config, ServerState(), {}, _loop=cast("asyncio.AbstractEventLoop", clock))
    made.connection_made(Connection())
    clock.timers.clear()  # the head of the first request is there
    return made


def test_a_connection_ends_when_nothing_is_asked_for_as_long_as_it_is_kept(
    clock: Clock, protocol: DirectProtocol
) -> None:
    protocol._has_answered()
    clock.advance(KEPT - 1)
    protocol.on_message_begin()
    protocol._has_answered()
    clock.advance(KEPT - 1)
    assert not protocol.transport.is_closing()
    clock.advance(1)
    assert protocol.transport.is_closing()


def test_no_connection_ends_while_a_request_comes(clock: Clock, protocol: DirectProtocol) -> None:
    protocol._has_answered()
    clock.advance(KEPT - 1)
    protocol.on_message_begin()
    for _ in range(3):
        clock.advance(KEPT)
    assert not protocol.transport.is_closing()
    protocol._has_answered()
    clock.advance(KEPT)
    assert protocol.transport.is_closing()


def test_there_is_one_timer_for_many_answers(clock: Clock, protocol: DirectProtocol) -> None:
    for _ in range(100):
        protocol.on_message_begin()
        protocol._has_answered()
    assert len(clock.timers) == 1
