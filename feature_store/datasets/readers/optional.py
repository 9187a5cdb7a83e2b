"""Libraries that only some readers need."""

from __future__ import annotations

import importlib
from typing import Any

from feature_store.errors import StackError


def required(library: str) -> Any:
    """A library that may be missing.

    Raises:
        StackError: if it is.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise StackError(
            f"{library} is not installed: {error}",
            where="the Python environment",
            remedy=f"install it there: pip install {library}",
            code="reader-library",
        ) from error
