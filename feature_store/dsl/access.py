"""Access: whom a group or a view is open to, besides its owner."""

from __future__ import annotations

from typing import Literal

Access = Literal["public", "private"]
"""Who may read it: everybody with a token that reads, or the owner and those who have a grant."""
