"""The token with which our server is asked, as it is in earnest: it is looked up and decided by for each request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from feature_store.registry.access.tokens import Principal, Token, hash_of

SECRET = "fs_" + "benchmark" * 4 + "0123456"


def add_token(definitions: Path) -> None:
    """Makes the token known to a server that starts from this file."""
    token = Token(1, "benchmark", Principal("service", "benchmark"), frozenset(["read"]), None, datetime.now(UTC), "")
    kept = msgspec.json.decode(definitions.read_bytes())
    definitions.write_bytes(msgspec.json.encode({**kept, "tokens": {hash_of(SECRET): token}}))
