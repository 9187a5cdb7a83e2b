"""Which packages definitions are loaded from."""

from __future__ import annotations

DEFINITION_PACKAGES = ("feature_defs",)
"""The packages that definitions are loaded from, unless others are named."""
