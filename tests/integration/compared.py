"""How many generated cases were compared with the reference; printed at the end of the integration tests."""

from __future__ import annotations

from collections import Counter

COMPARED: Counter[str] = Counter()
"""By what was compared."""
