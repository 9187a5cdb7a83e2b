"""Which code made a dataset."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@cache
def code_version() -> str:
    """A hash of all Python sources of this package, whether it is a checkout, an installation or an archive's copy."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"
