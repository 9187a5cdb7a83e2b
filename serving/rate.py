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
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
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
        left, at = self._buckets.get(token, (float(self._rate), now))
        left = min(float(self._rate), left + (now - at) * self._rate)
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
