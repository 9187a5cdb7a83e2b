"""The server's side of the process that registers groups: the first order starts it, and it ends with the server."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from feature_store.errors import StackError

if TYPE_CHECKING:
    from serving.registrar.orders import Order
    from serving.rest.documents import RegistrationAnswer

LENGTH = 8
"""Bytes before each message that say how long it is."""


class Registrar:
    """Has groups registered, one at a time, by a process of its own.

    Args:
        registry_url: SQLAlchemy URL of the registry.
    """

    def __init__(self, registry_url: str) -> None:
        self._registry_url = registry_url
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    async def register(self, order: Order) -> RegistrationAnswer:
        """Records a group, or plans it.

        Raises:
            StackError: if the process has ended meanwhile; the next order starts another one.
            InputError, AccessError, ConflictError, StackError: as `orders.register`.
            RuntimeError: with the traceback, if it has made a mistake.
        """
        async with self._turn:
            answer = await self._answer_to(order)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answer_to(self, order: Order) -> RegistrationAnswer | Exception:
        try:
            process = await self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(message(order))
            await process.stdin.drain()
            size = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
            answer: RegistrationAnswer | Exception = pickle.loads(await process.stdout.readexactly(size))
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            raise StackError(
                "the process that registers groups has ended before it answered",
                where="the server",
                remedy="ask again; the server's log may say why: ./fs logs serving",
                code="registrar-ended",
            ) from None
        except BaseException:  # whoever waited is gone, and the answer would be taken for that of the next order
            await self.close()
            raise
        return answer

    async def _running(self) -> Process:
        """The process, started if there is none: its output ends with it, before the system says that it has ended."""
        if self._process is not None and (self._process.stdout is None or self._process.stdout.at_eof()):
            await self.close()
        if self._process is None:
            path = os.pathsep.join(filter(None, sys.path))
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "serving.registrar"),
                stdin=PIPE,
                stdout=PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # a SIGINT of the terminal is for the server
            )
            assert self._process.stdin is not None
            self._process.stdin.write(message(self._registry_url))
        return self._process


def message(content: Any) -> bytes:
    """Something as a message."""
    body = pickle.dumps(content)
    return len(body).to_bytes(LENGTH, "big") + body
