"""What a call is, whatever carries it: requests, retries inside one deadline, answers as vectors.

Calls open no connection: they yield commands and are sent what came of them, so that they are the same for programs
with threads and with an event loop.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeVar

from feature_store.errors import InputError, StackError
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.messages import ConnectionFailure, Request, Response
from feature_store.remote.problems import error_of, retry_after, unexpected
from feature_store.remote.protocols import READ_KINDS, Answered, messages_to
from feature_store.remote.protocols import ReadKind as ReadKind

_PASSING = (502, 503, 504)
"""Statuses of a server that may answer the next time."""
_GOOD = (200, 202)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_MOST_SCHEMAS = 3
"""How often a call looks up what an answer means: more often only while the definitions change all the time."""


@dataclass(frozen=True)
class Exchange:
    """Asks for the answer to a request.

    Attributes:
        ends: the time (`time.monotonic`) until which it is waited for.
        hedge_after: the seconds after which the same request is sent a second time, on another connection, if there is
            no answer; None: never.
    """

    request: Request
    ends: float
    hedge_after: float | None


@dataclass(frozen=True)
class Pause:
    """Asks for some time to pass, in seconds."""

    seconds: float


Outcome = Response | ConnectionFailure | None
"""Of an exchange; None: there was no answer until its end. Of a pause: None."""
T = TypeVar("T")
Steps = Generator[Exchange | Pause, Outcome, T]


class OnlineCalls:
    """The calls of one client; keeps what it has learnt of views, and is used from any thread.

    Args:
        deadline: the seconds that a call may take, with all its retries.
        hedge_after: see `Exchange`.
    """

    def __init__(self, server: ServerAddress, deadline: float, hedge_after: float | None) -> None:
        self.server = server
        self.deadline = deadline
        self._hedge_after = hedge_after
        self._messages = messages_to(server, hedge_after)
        self._views: dict[tuple[str, str], ViewSchema] = {}

    def online(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        kind: ReadKind,
        request: Mapping[str, Any] | None,
        features: Sequence[str] | None,
        deadline: float | None,
        ends: float | None = None,
    ) -> Steps[OnlineVectors]:
        """Reads vectors; see `FeatureStoreClient.online`.

        Args:
            ends: the time (`time.monotonic`) at which the deadline is, if it has begun before.
        """
        if kind not in READ_KINDS:
            raise InputError(
                f"nothing of the kind {kind!r} is read",
                where="kind",
                remedy=f"kinds are: {', '.join(READ_KINDS)}",
                code="malformed-request",
            )
        limit = self.deadline if deadline is None else deadline
        ends = time.monotonic() + limit if ends is None else ends
        asked = self._messages.read_request(kind, name, rows, request or {}, features)
        for _ in range(_MOST_SCHEMAS):
            answer = self._answer((yield from self.answered(asked, ends, limit)))
            if answer.row_count != len(rows):
                raise unexpected(f"it has {answer.row_count} rows, not {len(rows)}", self.server)
            of: Literal["view", "group"] = "group" if kind == "group" else "view"
            view = self._views.get((of, answer.id))
            vectors = None if view is None else self._messages.vectors_of(answer, view, rows, features)
            if vectors is None:  # not known yet, or changed meanwhile
                view = self._views[of, answer.id] = yield from self._schema(of, answer.id, ends, limit)
                vectors = self._messages.vectors_of(answer, view, rows, features)
            if vectors is not None:
                return vectors
        raise unexpected(f"it has not the features that {answer.id} is said to have", self.server)

    def _schema(self, kind: Literal["view", "group"], name: str, ends: float, limit: float) -> Steps[ViewSchema]:
        """What the server says of a view, or of a group as a view of itself."""
        asked = self._messages.schema_request(kind, name)
        response = yield from self.answered(asked, ends, limit)
        try:
            document = self._messages.read_schema(response.body)
            if document is not None:
                return document.schema()
        except ValueError as error:
            raise unexpected(f"the schema of {name} cannot be read: {error}", self.server) from None
        raise unexpected(f"{name} is answered, but has no schema", self.server)

    def answered(self, request: Request, ends: float, limit: float) -> Steps[Response]:
        """The answer of the server, which is asked again while it may have one until the end."""
        trouble = "it does not answer"
        for attempt in count():
            outcome = yield Exchange(request, ends, self._hedge_after)
            pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
            if isinstance(outcome, Response):
                if outcome.status in _GOOD:
                    return outcome
                error = error_of(outcome, self.server)
                if outcome.status not in _PASSING:
                    raise error
                trouble = error.message
                pause += retry_after(outcome) or 0.0
            elif outcome is None:
                raise self.late(limit, trouble)
            elif outcome.is_used:
                continue  # the server had closed an idle connection
            else:
                trouble = str(outcome)
                error = self.late(limit, trouble)
            if time.monotonic() + pause >= ends:
                raise error
            yield Pause(pause)
        raise AssertionError("unreachable")

    def late(self, limit: float, why: str) -> StackError:
        """What a call ends with that has no answer in time."""
        return StackError(
            f"no answer within {limit:g} s: {why}",
            where=str(self.server),
            remedy="look whether the server runs and is reached from here, or give the call a longer deadline=",
            code="deadline",
        )

    def _answer(self, response: Response) -> Answered:
        try:
            answer: Answered = self._messages.read_answer(response.body)
        except ValueError as error:
            raise unexpected(f"it cannot be read: {error}", self.server) from None
        return answer
