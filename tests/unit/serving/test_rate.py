"""How often a token may ask: in no second more than its bucket and what flows in meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.errors import StackError
from serving.rate import RateLimits

ASKED = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0, 1, 30, 250, 1_000, 5_000])), max_size=80)


@given(ASKED, st.integers(1, 7))
def test_a_token_gets_what_its_bucket_holds(asked: list[tuple[int, int]], rate: int) -> None:
    """Counted in thousandths of a request by a simulation of each millisecond."""
    now = 0.0
    limits = RateLimits(rate, lambda: now)
    held = dict.fromkeys((1, 2, 3), rate * 1_000)
    for token, pause in asked:
        for _ in range(pause):
            held = {each: min(rate * 1_000, left + rate) for each, left in held.items()}
        now += pause / 1_000
        if held[token] >= 1_000:
            limits.take(token)
            held[token] -= 1_000
        else:
            with pytest.raises(StackError) as error:
                limits.take(token)
            assert error.value.code == "rate-limited"


def test_without_a_rate_there_is_no_limit() -> None:
    limits = RateLimits(0, lambda: 0.0)
    for _ in range(1_000):
        limits.take(1)
