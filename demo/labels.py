"""Real labels of the shop: did the customer buy again?"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from demo.shop import Shop
from feature_store.errors import InputError

LABEL_WINDOW = timedelta(days=30)


def repurchase_labels(shop: Shop, since: datetime, until: datetime) -> pl.DataFrame:
    """Real labels: did the customer buy again within 30 days of a purchase?

    Args:
        shop: the shop whose completed purchases are asked.
        since: first moment of the purchases that get a label.
        until: moment after the last of them; at most `shop.purchases_end` less 30 days.

    Returns:
        One row per completed purchase with `since <= event_ts < until`, by time: user_id, label_timestamp (the moment
        of the purchase), bought_again_30d (another completed purchase in (label_timestamp, label_timestamp + 30 days]).

    Raises:
        InputError: a naive time, or an `until` whose 30 days are not all in the log.
    """
    for name, moment in (("since", since), ("until", until)):
        if moment.utcoffset() is None:
            where = f"repurchase_labels({name}=)"
            raise InputError(
                "a time without a zone", where=where, remedy="give an aware datetime", code="naive-timestamp"
            )
    if until > shop.purchases_end - LABEL_WINDOW:
        raise InputError(
            f"purchases are known up to {shop.purchases_end:%Y-%m-%d} only: later labels would miss some of their days",
            where="repurchase_labels(until=)",
            remedy=f"use at most {shop.purchases_end - LABEL_WINDOW:%Y-%m-%d}",
            code="label-window",
        )
    completed = shop.order_events.filter(pl.col("status") == "completed").select("user_id", "event_ts")
    following = (
        completed.unique()
        .sort("user_id", "event_ts")
        .with_columns(next_ts=pl.col("event_ts").shift(-1).over("user_id"))
    )
    return (
        completed.filter((pl.col("event_ts") >= since) & (pl.col("event_ts") < until))
        .join(following, on=["user_id", "event_ts"])
        .select(
            "user_id",
            label_timestamp="event_ts",
            bought_again_30d=(pl.col("next_ts") <= pl.col("event_ts") + LABEL_WINDOW).fill_null(False),
        )
        .sort("label_timestamp", "user_id")
    )
