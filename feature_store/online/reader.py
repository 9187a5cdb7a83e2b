"""Online reads: the vectors of many entities over all groups of a view, in one round trip to Redis.

Groups keyed by features of others are read in a second round trip, those keyed by features of these in a third, and so
on. Such a key is the feature's value as the vector has it, default included; NULL is no key.

What a row's status says of a group:

    PRESENT    a usable row; a feature that is NULL and has no default is None
    DEFAULTED  a usable row, with the default of at least one feature that is NULL or newer than the row
    EXPIRED    the entity's newest row is past its ttl, and not for longer than the grace: no value but defaults
    NOT_FOUND  no row, or a key column is NULL: no value but defaults
    UNAVAILABLE  the node of Redis that has the row, if there is one, does not answer: no value but defaults; told by
               servers only, where other groups or entities may be on other nodes

A row is usable while now <= feature_timestamp + ttl, to the microsecond, as in the training join. EXPIRED is told for a
grace (see writer.py) after that, and after the row became known if that was later; then NOT_FOUND. The values are the
same. All of this follows from the row's timestamps alone.

On-demand features are computed from these values, defaults filled in; statuses say nothing of them. A value that does
not fit 64 bits is NULL; `OnlineVectors.overflowed` says so, of stored features too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

from feature_store.compile.function_calls import FunctionCalls
from feature_store.dtypes import to_micros
from feature_store.errors import InputError
from feature_store.online.connection import OnlineClients, redis_errors
from feature_store.online.read.routing import by_store
from feature_store.online.read.steps import GetLayouts, GetValues, ViewReading
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema

if TYPE_CHECKING:
    from redis import Redis


class OnlineReader:
    """Reads views; keeps the layouts it has met, so it is made once and used from any thread.

    Args:
        redis: URL, which is connected to by the first read; a client from `connect`; or those of stores with names.
    """

    def __init__(self, redis: str | Redis | OnlineClients) -> None:
        self._clients = redis if isinstance(redis, OnlineClients) else OnlineClients.of_one(redis)
        self._views: dict[str, ViewReading] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._clients.close()

    def read(
        self,
        view: ViewSchema,
        rows: Sequence[Mapping[str, Any]],
        now: datetime | None = None,
        *,
        request: Mapping[str, Any] | None = None,
    ) -> OnlineVectors:
        """The vectors of the entities in `rows`, in their order.

        Args:
            rows: per vector a value for every key column of the view (`view.keys`), and for its request values
                (`view.request`) where `request` has none or another; other items are ignored.
            now: the request_time of on-demand features, and the instant at which rows must not have expired; the
                clock's unless given.
            request: request values for all rows.

        Raises:
            InputError: naming row and column, if a key column or a request value is missing or of another type, or if
                `now` is naive; naming the on-demand feature, if its function fails.
            StackError: if the URL is not one of Redis or Redis does not answer; or if a stored value cannot be read,
                and then it names the key.
            ConflictError: if the view has a feature under another type than the online store.
        """
        if now is not None and now.tzinfo is None:
            raise InputError(
                f"now={now.isoformat()} has no time zone",
                remedy="add an offset, such as +00:00",
                code="naive-timestamp",
            )
        steps = self._reading(view).steps(rows, request or {}, to_micros(now or datetime.now(UTC)))
        command = next(steps)
        try:
            while True:
                command = steps.send(self._answer(view, command))
        except StopIteration as done:
            return cast("OnlineVectors", done.value)

    def _reading(self, view: ViewSchema) -> ViewReading:
        known = self._views.get(view.id)
        if known is None or known.view != view:  # a definition of the view that this reader has not met
            known = self._views[view.id] = ViewReading(view)
        return known

    def _answer(self, view: ViewSchema, command: GetValues | GetLayouts | FunctionCalls) -> Any:
        if isinstance(command, FunctionCalls):
            return command.run()
        names = view.named_stores
        if len(names) <= 1:
            return _answer(self._clients.of(next(iter(names), "")), command)
        stores = {viewed.group.id: self._clients.of(viewed.group.online_store) for viewed in view.groups}
        if isinstance(command, GetLayouts):
            return _answer(stores[command.key[: command.key.index(":")]], command)
        keys = [*command.keys]
        found: list[Any] = [None] * len(keys)
        for redis, places in by_store(keys, stores):
            for place, value in zip(places, _answer(redis, GetValues([keys[i] for i in places])), strict=True):
                found[place] = value
        return found


def _answer(redis: Redis, command: GetValues | GetLayouts) -> Any:
    with redis_errors(redis):
        if isinstance(command, GetLayouts):
            return redis.hgetall(command.key)
        # A cluster has no MGET over slots; its client asks every node once instead.
        fetch = getattr(redis, "mget_nonatomic", redis.mget)
        return fetch(command.keys) if command.keys else []
