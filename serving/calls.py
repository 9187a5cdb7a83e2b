"""Calls for vectors, the same over REST and gRPC: who reads what, what is noted of it, and what is said of errors."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from feature_store.errors import FeatureStoreError, InputError, StackError, choices
from feature_store.online.native.core import NativeCore
from feature_store.online.read.connection import NodeBusyError
from feature_store.online.read.multiplexed import MultiplexedReader
from feature_store.online.vectors import OnlineVectors
from feature_store.registry.access.tokens import Token
from feature_store.registry.model_records import ModelRecord
from feature_store.registry.records import Kind
from serving.auth import Gate
from serving.definitions import ServedDefinitions, ServedView
from serving.metrics import ServingMetrics
from serving.rest.problems import status_of
from serving.samples import ServedSamples
from serving.usage import UsageCounts

_LONGEST_NAME = 200
"""Of request ids and models that a caller gives."""
_log = logging.getLogger(__name__)


class OnlineCall(NamedTuple):
    """A call for vectors.

    Attributes:
        route: the pattern of its path.
        kind: of what is read; None: the view of a model.
        name: of the group, view or model.
    """

    route: str
    kind: Kind | None
    name: str

    def target(self, definitions: ServedDefinitions) -> ServedView:
        """What is read.

        Raises:
            NotFoundError, ConflictError, DefinitionError: as `ServedDefinitions.find`.
        """
        if self.kind is None:
            return definitions.view_of_model(self.name)
        return definitions.find(self.kind, self.name)

    def model(self, token: Token | None, headers: Mapping[bytes, bytes], registered: ModelRecord | None = None) -> str:
        """The model that reads, as its token, the call or its headers say; empty if none does."""
        model = token.model if token is not None else None
        if model is None and registered is not None:
            model = registered.name
        elif model is None:
            model = self.name if self.kind is None else headers.get(b"x-model", b"").decode("latin-1")
        return model[:_LONGEST_NAME] if model.isprintable() else ""


class Admission(NamedTuple):
    """A call that may be answered.

    Attributes:
        masked: the columns that the caller must not see.
        model: the registered one that it is for; None: it is for none.
    """

    served: ServedView
    token: Token | None
    masked: frozenset[str]
    model: ModelRecord | None = None

    def features(self, asked: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The features of the answer: those that are asked for; of a model those that it pins, in its order.

        Raises:
            InputError: if the model does not read one that is asked for.
        """
        if self.model is None:
            return asked
        names = self.model.feature_names
        for name in asked or ():
            if name not in names:
                raise InputError(
                    f"the model does not read the feature {name[:80]!r}",
                    where=f"model {self.model.id}",
                    remedy=choices(name, names, "features"),
                    code="not-in-view",
                )
        return names if asked is None else tuple(name for name in names if name in asked)


@dataclass(frozen=True)
class OnlineCore:
    """What answers calls, whatever the protocol.

    Attributes:
        definitions: gives what is served at the moment.
        native: writes the answers that it can; None: Python writes all of them.
    """

    reader: MultiplexedReader
    definitions: Callable[[], ServedDefinitions]
    metrics: ServingMetrics
    usage: UsageCounts
    samples: ServedSamples
    gate: Gate
    native: NativeCore | None

    def admit(self, call: OnlineCall, token: Token | None) -> Admission:
        """What is read, and what of it the bearer of a token may see.

        Raises:
            AccessError: if it may not read it at all.
            NotFoundError, ConflictError, DefinitionError: as `OnlineCall.target`.
        """
        definitions = self.definitions()
        if call.kind is None and (model := definitions.models.find(call.name)) is not None:
            served = definitions.find("view", model.view)
            return Admission(served, token, self.gate.masked(token, served), model)
        served = call.target(definitions)
        return Admission(served, token, self.gate.masked(token, served))

    def note(
        self, call: OnlineCall, admission: Admission, vectors: OnlineVectors, headers: Mapping[bytes, bytes]
    ) -> None:
        """Takes an answer into account."""
        served = admission.served
        self.metrics.note_vectors(vectors)
        self.metrics.coverage.note(served.kind, vectors)
        model = call.model(admission.token, headers, admission.model)
        if model:
            self.usage.note(served.kind, served.id, model)
        self.samples.note(served, vectors, model)


def expected_error(error: Exception, request_id: str, call: OnlineCall) -> FeatureStoreError:
    """What a caller is told of an error; those that are not the caller's are in the log, too."""
    if isinstance(error, NodeBusyError):
        return StackError(str(error), where="Redis", remedy="try again in a second", code="busy")
    if not isinstance(error, FeatureStoreError):
        _log.error("request %s to %s of %s failed", request_id, call.route, call.name, exc_info=error)
        return server_failure()
    if status_of(error) >= 500:
        _log.warning("request %s to %s of %s: %s", request_id, call.route, call.name, error)
    return error


@cache
def _process() -> str:
    """This process; asked for with the first request, as several workers are forked from one."""
    return f"{os.getpid():x}-{time.time_ns() // 1_000_000:x}"


_numbers = iter(range(1 << 62))


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The caller's id of a request, or a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and len(given) <= _LONGEST_NAME:
        text = given.decode("latin-1")
        if text.isprintable() and text.isascii():
            return text
    return new_request_id()


def new_request_id() -> str:
    """An id for a request that has none."""
    return f"{_process()}-{next(_numbers):x}"


def server_failure() -> StackError:
    """What a caller is told of a mistake of the server."""
    return StackError(
        "the server made a mistake",
        remedy="look for the request's id in the server's log: ./fs logs serving",
        code="server-failed",
    )
