"""Lets a server look at a part of a read, as for its traces. Nobody does unless a request is one of those."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

from feature_store.plan.schema import ViewSchema

Observer = Callable[[ViewSchema, int], AbstractContextManager[None]]
"""What is entered while the on-demand features of a view are computed for so many rows."""
COMPUTATION: ContextVar[Observer | None] = ContextVar("computation", default=None)
"""Who looks at the request at hand."""


def computation(view: ViewSchema, rows: int) -> AbstractContextManager[None]:
    """Is entered while the on-demand features of a view are computed."""
    observer = COMPUTATION.get()
    return nullcontext() if observer is None else observer(view, rows)
