"""Counting different values by the least of their hashes: the numbers that all engines share.

Of the hashes of all values the k least are kept. Of fewer than k, their number is exact; otherwise the k-th least one
says how densely the values lie: (k - 1) / (its share of the range of hashes). Bar-Yossef et al., "Counting distinct
elements in a data stream", 2002; Beyer et al., "On synopses for distinct-value estimation", 2007 (the unbiased k - 1).
"""

from __future__ import annotations

import hashlib

HASHES = 1024
"""How many are kept."""
HASH_BITS = 60
"""A hash is the first 60 bits of the MD5 of the value's text, which every engine has."""
SHARE_OF_HASHES = float((HASHES - 1) * 2**HASH_BITS)
"""Divided by the greatest hash that is kept, the estimate."""


def hash_of(value: str | int) -> int:
    """The hash of a value: of its text in UTF-8."""
    return int(hashlib.md5(str(value).encode(), usedforsecurity=False).hexdigest()[: HASH_BITS // 4], 16)
