"""The protocols that a server may be asked over: what requests and answers look like, and what carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from feature_store.errors import InputError, StackError
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from feature_store.remote.address import ServerAddress
from feature_store.remote.http_messages import HttpMessages
from feature_store.remote.messages import Request
from feature_store.remote.schema import ViewDocument

if TYPE_CHECKING:
    from feature_store.remote.calls import Exchange, Outcome

ReadKind = Literal["view", "group", "model"]
READ_KINDS: tuple[ReadKind, ...] = get_args(ReadKind)


class Answered(Protocol):
    """An answer, of which it is known what was read."""

    @property
    def id(self) -> str:
        """The identity of the view or group."""

    @property
    def row_count(self) -> int:
        """For how many rows."""


class Messages(Protocol):
    """Requests to one server, and its answers."""

    def read_request(
        self,
        kind: ReadKind,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        request: Mapping[str, Any],
        features: Sequence[str] | None,
    ) -> Request:
        """Asks for vectors.

        Raises:
            InputError: if the rows or request values cannot be sent.
        """

    def schema_request(self, kind: Literal["view", "group"], name: str) -> Request:
        """Asks for what readers have to know of a view or group."""

    def read_answer(self, body: bytes) -> Any:
        """The `Answered` in a body.

        Raises:
            ValueError: if it cannot be read.
        """

    def read_schema(self, body: bytes) -> ViewDocument | None:
        """What readers have to know; None if it is not told.

        Raises:
            ValueError: if it cannot be read.
        """

    def vectors_of(
        self, answer: Any, view: ViewSchema, rows: Sequence[Mapping[str, Any]], features: Sequence[str] | None
    ) -> OnlineVectors | None:
        """The vectors in an answer; None if it is not one of this view as it is known here."""


class Transport(Protocol):
    """Carries requests for programs with threads."""

    def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""

    def close(self) -> None:
        """Ends the connections."""


class EventTransport(Protocol):
    """The same for programs with an event loop."""

    async def exchange(self, command: Exchange) -> Outcome:
        """The answer, or why there is none."""

    async def close(self) -> None:
        """Ends the connections."""


def read_target(name: str, kind: ReadKind, model: str) -> tuple[str, ReadKind]:
    """What is read: a model, or what has a name, and its kind.

    Raises:
        InputError: if there are both, or neither.
    """
    if bool(name) == bool(model):
        raise InputError(
            "a read is of either a name or a model",
            where="name, model",
            remedy='give online("ranking@1", rows), or online(model="ranker", rows=rows)',
            code="malformed-request",
        )
    return (model, "model") if model else (name, kind)


def messages_to(server: ServerAddress, hedge_after: float | None) -> Messages:
    """How a server is asked.

    Raises:
        InputError: if a second request is wanted, which gRPC would send over the same connection.
        StackError: if a package is missing.
    """
    if not server.is_grpc:
        return HttpMessages(server)
    if hedge_after is not None:
        raise InputError(
            "a second request is sent over HTTP only: calls over gRPC share a connection",
            where="hedge_after",
            remedy="leave it out, or give the server's http:// address",
            code="malformed-request",
        )
    try:
        from feature_store.remote.grpc_messages import GrpcMessages
    except ModuleNotFoundError as error:
        raise StackError(
            f"reading over gRPC needs more packages: {error}",
            where=str(server),
            remedy='pip install "feature-store[client,grpc]", or give an http:// address',
            code="package-missing",
        ) from None
    return GrpcMessages(server)


def transport_to(server: ServerAddress) -> Transport:
    """What carries requests to a server, for threads."""
    if server.is_grpc:
        from feature_store.remote.channels import ChannelTransport

        return ChannelTransport(server)
    from feature_store.remote.sockets import SocketTransport

    return SocketTransport(server)


def event_transport_to(server: ServerAddress) -> EventTransport:
    """The same for an event loop."""
    if server.is_grpc:
        from feature_store.remote.channels import EventChannelTransport

        return EventChannelTransport(server)
    from feature_store.remote.streams import AsyncTransport

    return AsyncTransport(server)
