"""Reading vectors from a server, with threads or with an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import wait
from datetime import datetime
from typing import Any, Literal, Self, TypeVar

from feature_store.online.vectors import OnlineVectors
from feature_store.remote.address import ServerAddress
from feature_store.remote.cache import CACHE_ENTRIES, CachedCalls, CachedSteps, CacheStatistics, Wait
from feature_store.remote.calls import Exchange, OnlineCalls, Outcome, Pause, ReadKind
from feature_store.remote.protocols import event_transport_to, read_target, transport_to
from feature_store.remote.training import RemoteLabels, RemoteTrainingJob, TrainingCalls, labels_of

DEADLINE_SECONDS = 1.0
T = TypeVar("T")


class FeatureStoreClient:
    """Reads vectors from a server; make it once and use it from any thread.

    Connections are kept. A connection that fails, and the statuses 502, 503 and 504, are tried again with growing
    pauses of random length, never sooner than the server says, and not beyond the deadline.

    Args:
        url: http[s]://host[:port], or grpc[s]://host[:port] (which needs grpcio); FS_SERVING_URL, or the server of the
            running stack, unless given.
        token: what `./fs token create` has printed; FS_TOKEN unless given.
        deadline: the seconds that a call may take, with all it tries; looking up the server's name is not in them.
        hedge_after: the seconds after which a request that is not answered is sent a second time, on another
            connection; the answer that comes first counts. None: never. A good value is the server's p95. Over HTTP
            only.
        cache_seconds: how long rows are remembered, and given again without asking the server; 0: not at all. Rows of
            views all of whose groups allow it (`cache=`), and not for longer than they do; none past its expiry. Views
            with request values or on-demand features are asked for each time.
        cache_entries: how many rows are remembered at most.

    Raises:
        StackError: if no server is named, or the URL is not one of a server.
        TokenError: if the token has characters that no token has.

    Example:
        >>> client = FeatureStoreClient("http://127.0.0.1:14090")
        >>> client.online("ranking@1", [{"user_id": "00042", "product_id": "p0007"}]).to_dicts()
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        deadline: float = DEADLINE_SECONDS,
        hedge_after: float | None = None,
        cache_seconds: float = 0.0,
        cache_entries: int = CACHE_ENTRIES,
    ) -> None:
        self._calls = OnlineCalls(ServerAddress.of(url, token), deadline, hedge_after)
        self._cached = CachedCalls(self._calls, cache_seconds, cache_entries) if cache_seconds > 0 else None
        self._transport = transport_to(self._calls.server)

    @property
    def cache(self) -> CacheStatistics | None:
        """Hits, misses, the share of hits, and how many rows are remembered; None without a cache."""
        return None if self._cached is None else self._cached.statistics

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._calls.server)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def online(
        self,
        name: str = "",
        rows: Sequence[Mapping[str, Any]] = (),
        *,
        kind: ReadKind = "view",
        model: str = "",
        request: Mapping[str, Any] | None = None,
        features: Sequence[str] | None = None,
        deadline: float | None = None,
    ) -> OnlineVectors:
        """The current vectors of a view, a group or a model's view for some entities.

        They are those that `FeatureStore.online` gives; features that the token must not see are None and named in
        `masked`.

        Args:
            name: "name@version", or a name: its newest active version.
            rows: one mapping of key columns to values for each vector wanted, 1,000 at most; it may have request values
                of its own.
            kind: what `name` is of: "view", "group" or "model".
            model: in place of a name: a registered model, "ranker@3", or "ranker": its latest version. Its features are
                those that it is registered with, in its order. Of a model that is not registered: those of the view
                that it is recorded with.
            request: the view's request values, for all rows.
            features: the names of those that are wanted; all unless given.
            deadline: seconds, in place of the client's.

        Raises:
            NotFoundError: if nothing is recorded under the name.
            ConflictError: if it is retired.
            InputError: if a key column or a request value is missing or of the wrong type, if there is no row or more
                than 1,000, or if the view has no feature of a name.
            TokenError, AccessError: if the server does not know the token; if its bearer may not read this.
            StackError: "deadline": no answer came in time; "unexpected-answer": what answers is no server of vectors;
                else what the server says of its own trouble, with the request's id.
        """
        name, kind = read_target(name, kind, model)
        return self._run((self._cached or self._calls).online(name, rows, kind, request, features, deadline))

    def training_dataset(
        self,
        name: str,
        labels: RemoteLabels | None = None,
        *,
        dataset: str,
        kind: Literal["view", "group"] = "view",
        time_range: tuple[datetime, datetime] | None = None,
        model: str = "",
        known_by: Literal["label"] | None = None,
        snapshots: Mapping[str, int | None] | None = None,
        fresh: bool = False,
    ) -> RemoteTrainingJob:
        """Asks for a training dataset, which a run of Dagster makes; over HTTP only. The same again is the same job.

        Args:
            name: "name@version" of a view or, with `kind`, of a group; or a name: its newest active version.
            labels: rows with the key columns, request values, label_timestamp and any others; or a reference to labels
                that the server may read, such as {"kind": "files", "path": "purchases.parquet"}.
            dataset: what to call it.
            time_range, model, known_by, snapshots, fresh: as `FeatureStore.training_dataset`.

        Raises:
            InputError: if the labels do not fit.
            NotFoundError, ConflictError: as `FeatureStore.training_dataset`.
            TokenError, AccessError: if the server does not know the token; if its bearer may not read this.
            StackError: as `online`; "training-quota" is an InputError that says when to come again.
        """
        asked = {
            **labels_of(labels, time_range),
            "name": dataset,
            "model": model,
            "known_by": known_by,
            "snapshots": dict(snapshots or {}),
            "fresh": fresh,
        }
        calls = TrainingCalls(self._calls)
        job = self._run(calls.ask(kind, name, asked))
        return RemoteTrainingJob(calls, self._run, job.id)

    def training_job(self, job_id: str) -> RemoteTrainingJob:
        """A training job that somebody has asked for, by its id."""
        return RemoteTrainingJob(TrainingCalls(self._calls), self._run, job_id)

    def _run(self, steps: Generator[Exchange | Pause | Wait, Outcome, T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                command = steps.send(outcome)
                outcome = None
                if isinstance(command, Exchange):
                    outcome = self._transport.exchange(command)
                elif isinstance(command, Pause):
                    time.sleep(command.seconds)
                else:
                    wait([command.flight], command.seconds)
        except StopIteration as done:
            found: T = done.value
            return found
        finally:
            steps.close()  # others may wait for what it has asked for


class AsyncFeatureStoreClient:
    """The same for programs with an event loop: as many calls at once as they like, each on a connection of its own.

    Args and raises: see `FeatureStoreClient`.

    Example:
        >>> async with AsyncFeatureStoreClient("http://127.0.0.1:14090") as client:
        ...     vectors = await client.online("ranking@1", [{"user_id": "00042", "product_id": "p0007"}])
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        deadline: float = DEADLINE_SECONDS,
        hedge_after: float | None = None,
        cache_seconds: float = 0.0,
        cache_entries: int = CACHE_ENTRIES,
    ) -> None:
        self._calls = OnlineCalls(ServerAddress.of(url, token), deadline, hedge_after)
        self._cached = CachedCalls(self._calls, cache_seconds, cache_entries) if cache_seconds > 0 else None
        self._transport = event_transport_to(self._calls.server)

    @property
    def cache(self) -> CacheStatistics | None:
        """Hits, misses, the share of hits, and how many rows are remembered; None without a cache."""
        return None if self._cached is None else self._cached.statistics

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._calls.server)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections."""
        await self._transport.close()

    async def online(
        self,
        name: str = "",
        rows: Sequence[Mapping[str, Any]] = (),
        *,
        kind: ReadKind = "view",
        model: str = "",
        request: Mapping[str, Any] | None = None,
        features: Sequence[str] | None = None,
        deadline: float | None = None,
    ) -> OnlineVectors:
        """The current vectors of a view, a group or a model's view; see `FeatureStoreClient.online`."""
        name, kind = read_target(name, kind, model)
        return await self._run((self._cached or self._calls).online(name, rows, kind, request, features, deadline))

    async def _run(self, steps: CachedSteps) -> OnlineVectors:
        outcome: Outcome = None
        try:
            while True:
                command = steps.send(outcome)
                outcome = None
                if isinstance(command, Exchange):
                    outcome = await self._transport.exchange(command)
                elif isinstance(command, Pause):
                    await asyncio.sleep(command.seconds)
                else:
                    await asyncio.wait([asyncio.wrap_future(command.flight)], timeout=command.seconds)
        except StopIteration as done:
            found: OnlineVectors = done.value
            return found
        finally:
            steps.close()  # others may wait for what it has asked for
