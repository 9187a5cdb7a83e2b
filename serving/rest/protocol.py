"""Reads by GET without ASGI: a request's scope, cycle and two messages would cost more CPU than the read itself.

Measured with wrk on one core: 22 us for an empty answer by ASGI, 9 us without. Everything but a plain GET of vectors
goes uvicorn's own way, also a GET that comes before the one ahead of it is answered.

A head that is too large, or takes too long, ends its connection: neither uvicorn nor httptools has such limits.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from feature_store.errors import FeatureStoreError
from feature_store.online.read.decoding import StoredValue
from serving.calls import OnlineCall, request_id_of
from serving.rest.bodies import MOST_BYTES, SECONDS, large_request, slow_request
from serving.rest.direct import DirectRead, DirectReads
from serving.rest.online import Answer, OnlineRoutes, call_of, problem_answer

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class DirectProtocol(HttpToolsProtocol):
    """The protocol of one connection; `direct_protocol` makes the class for some routes."""

    routes: ClassVar[OnlineRoutes]
    direct: ClassVar[DirectReads | None] = None
    """Answers what it can; None: the routes answer everything."""
    seconds: ClassVar[float] = SECONDS
    """How long the head of a request may take to arrive."""
    _head_bytes: int | None = 0
    """How much of a head has arrived; None after its end."""
    _is_between: bool = True
    """Whether the parser is between two requests, and so need not see the next one."""
    _head_timer: asyncio.TimerHandle | None = None
    _begun: RequestResponseCycle | None = None
    """What ASGI answers, or has answered last."""
    _idle_since = math.inf
    """When the last direct answer was sent (seconds of the loop); infinite while a request comes."""
    _idle_check: asyncio.TimerHandle | None = None
    _default_lines: tuple[Sequence[tuple[bytes, bytes]], bytes] = ((), b"")
    """The headers that all answers have, and the same as they are sent: they change with the clock's second."""

    def on_message_begin(self) -> None:
        """Leaves the scope out, which only ASGI needs."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._idle_since = math.inf
        self._head_bytes = 0
        self._is_between = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.seconds, self._end_slow_head)

    def data_received(self, data: bytes) -> None:
        if self._is_between and self._reads_directly(data):
            return
        super().data_received(data)
        if self._head_bytes is None:  # nearly always: the whole head is there
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_BYTES:
            self._end(large_request("head"))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.seconds, self._end_slow_head)

    def on_headers_complete(self) -> None:
        self._head_is_there()
        call, query = self._direct_call()
        if call is None:
            begun = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.headers, self.expect_100_continue = begun
            self.scope["headers"] = self.headers
            super().on_headers_complete()
        else:
            self.cycle = _DirectCycle(call, query)  # type: ignore[assignment] # what uvicorn does with it, it can

    def on_body(self, body: bytes) -> None:
        if not isinstance(self.cycle, _DirectCycle):  # the body of a GET means nothing
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        cycle: Any = self.cycle
        if isinstance(cycle, _DirectCycle):
            self._answer_in_task(cycle, self.routes.answer(cycle.call, "GET", cycle.query, dict(self.headers)))
        else:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the requests that wait for the one ahead of them, too: uvicorn tells only the newest one."""
        for cycle in (self._begun, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
        for timer in (self._head_timer, self._idle_check):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def _direct_call(self) -> tuple[OnlineCall | None, bytes]:
        """The call and the query of a plain GET of vectors."""
        path, _, query = self.url.partition(b"?")
        call = _call(path)
        if (
            call is None
            or self.parser.get_method() != b"GET"
            or not (self.cycle is None or self.cycle.response_complete)
            or self.expect_100_continue
            or self.parser.should_upgrade()
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
        ):
            return None, query
        return call, query

    def _reads_directly(self, data: bytes) -> bool:
        """Whether what has come is answered by `direct`, which begins to."""
        cycle: Any = self.cycle
        if (
            self.direct is None
            or not (cycle is None or cycle.response_complete)
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        read = self.direct.begin(data, self)
        if read is None:
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._head_is_there()
        self._idle_since = math.inf
        self.cycle = read  # type: ignore[assignment] # what uvicorn does with it, it can
        return True

    def deliver(self, read: DirectRead, answer: bytes) -> None:
        """As `Channel.deliver`."""
        if not self.transport.is_closing():
            self.transport.write(answer)
        self._is_answered(read)
        self.cycle = None  # type: ignore[assignment] # as before the first request; an idle connection keeps none

    def answer_by_routes(self, read: DirectRead, values: Sequence[StoredValue]) -> None:
        """As `Channel.answer_by_routes`."""
        call = read.form.call
        self._answer_in_task(read, self.routes.answer(call, "GET", read.query, read.headers, None, read.begun(values)))

    def _answer_in_task(self, cycle: _DirectCycle | DirectRead, coming: Coroutine[Any, Any, Answer]) -> None:
        task = self.loop.create_task(self._answer(cycle, coming))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, cycle: _DirectCycle | DirectRead, coming: Coroutine[Any, Any, Answer]) -> None:
        answer = await coming
        if self.flow.write_paused:
            await self.flow.drain()
        if not self.transport.is_closing():
            self.transport.write(self._sent(answer, b"" if cycle.keep_alive else b"connection: close\r\n"))
        self._is_answered(cycle)

    def _is_answered(self, cycle: _DirectCycle | DirectRead) -> None:
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self._has_answered()

    def _head_is_there(self) -> None:
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._end(slow_request("head", self.seconds))

    def _end(self, error: FeatureStoreError) -> None:
        """Ends the connection in the middle of a head; says why, unless an answer is on its way."""
        if self.transport.is_closing():
            return
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(self._sent(problem_answer(error, request_id_of({})), b""))
        self.transport.close()

    def _sent(self, answer: Answer, end: bytes) -> bytes:
        """An answer as it is sent; `end` are further headers."""
        lines = (_STATUS_LINES[answer.status], self.default_lines(), answer.lines, end, b"\r\n", answer.body)
        return b"".join(lines)

    def default_lines(self) -> bytes:
        """As `Channel.default_lines`."""
        headers, lines = self._default_lines
        if headers is not self.server_state.default_headers:
            headers = self.server_state.default_headers
            lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._default_lines = (headers, lines)
        return lines

    def _has_answered(self) -> None:
        """As uvicorn's `on_response_complete`, but with a timer that is not made anew for each answer."""
        if self.pipeline or self.timeout_keep_alive_task is not None or self.flow.read_paused:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._idle_check is None and not self.transport.is_closing():
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._idle_check = None
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.timeout_keep_alive_handler()
        elif left < math.inf:
            self._idle_check = self.loop.call_later(left, self._end_if_idle)


def direct_protocol(routes: OnlineRoutes, seconds: float, direct: DirectReads | None = None) -> type[HttpToolsProtocol]:
    """The protocol whose plain reads `direct` answers, and `routes` the others; heads may take so long."""
    return type("DirectProtocol", (DirectProtocol,), {"routes": routes, "seconds": seconds, "direct": direct})


class _DirectCycle:
    """A request and its answer, as uvicorn's protocol looks at them."""

    def __init__(self, call: OnlineCall, query: bytes) -> None:
        self.call = call
        self.query = query
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = self

    def set(self) -> None:
        """Nobody waits for the rest of the request: it is all there."""


@lru_cache(maxsize=4_096)
def _call(path: bytes) -> OnlineCall | None:
    if not path.isascii() or b"%" in path:
        return None
    return call_of(path.decode("ascii"))
