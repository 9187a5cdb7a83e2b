"""The process itself: orders come over its standard input, answers and errors go to its standard output.

Each message is its length (8 bytes, big-endian) and a pickle. The first one is the registry's URL, which is secret.
It ends with the server, whose end of the pipe is closed then.
"""

from __future__ import annotations

import os
import pickle
import traceback
from typing import Any, BinaryIO

from feature_store.errors import FeatureStoreError
from feature_store.registry.store import Registry
from serving.registrar.orders import register
from serving.registrar.registrar import LENGTH, message
from serving.structured_log import log_as_json

_NICENESS = 10
"""Whoever reads vectors goes first on a core that both want."""


def main() -> None:
    """Answers orders until there are no more."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    os.nice(_NICENESS)
    log_as_json()
    registry = Registry(_read(orders))
    while (order := _read(orders)) is not None:
        try:
            answer: Any = register(registry, order)
        except FeatureStoreError as error:
            answer = error
        except Exception:
            answer = RuntimeError(traceback.format_exc())
        answers.write(message(answer))
        answers.flush()


def _read(orders: BinaryIO) -> Any:
    """The next message; None if the server has ended."""
    head = orders.read(LENGTH)
    body = orders.read(int.from_bytes(head, "big"))
    return pickle.loads(body) if body else None


if __name__ == "__main__":
    main()
