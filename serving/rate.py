"""How often each token may ask: a bucket of requests for each, which fills at the rate up to those of one second."""

from __future__ import annotations

import time
from collections.abc import Callable

from feature_store.errors import StackError

_MOST_BUCKETS = 100_000
_ROUNDING = 1e-6
"""Of a request: what sums of floats may lack."""


class RateLimits:
    """The limit of one server process.

    Args:
        rate: requests per second of each token; 0: no limit.
        clock: seconds, which only grow.
        processes: of the server; each lets an equal part through, so that all together keep to the rate.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic, processes: int = 1) -> None:
        self._rate = rate
        self._flow = rate / processes
        self._most = max(1.0, self._flow)
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}
        """Of each token what was left in its bucket, and when."""

    def take(self, token: int) -> None:
        """Takes one request out of a token's bucket.

        Raises:
            StackError: if there is none in it.
        """
        if not self._rate:
            return
        now = self._clock()
        left, at = self._buckets.get(token, (self._most, now))
        left = min(self._most, left + (now - at) * self._flow)
        if left < 1 - _ROUNDING:
            raise StackError(
                f"the token has made more than {self._rate} requests in a second",
                where="Authorization",
                remedy="ask for more rows at once, or ask the operator to raise FS_SERVING_RATE",
                code="rate-limited",
            )
        if len(self._buckets) >= _MOST_BUCKETS:
            self._buckets.clear()
        self._buckets[token] = (max(0.0, left - 1), now)
