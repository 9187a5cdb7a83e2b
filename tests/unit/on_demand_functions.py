"""Functions that on-demand features of the tests are made of."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

Columns = Mapping[str, pl.Expr]

NOT_A_FUNCTION = 5


def ratio(columns: Columns) -> pl.Expr:
    """The price by the mean."""
    return columns["price"] / columns["user_value_mean_30d"]


def third(columns: Columns) -> pl.Expr:
    return columns["price"] / 3


def hour(columns: Columns) -> pl.Expr:
    return columns["request_time"].dt.hour()


def name_length(columns: Columns) -> pl.Expr:
    return columns["country"].str.len_chars()


def local_time(columns: Columns) -> pl.Expr:
    return columns["request_time"].dt.convert_time_zone("Europe/Berlin").dt.offset_by("1h")


def as_number(columns: Columns) -> pl.Expr:
    return columns["country"].cast(pl.Int64)


def squared(columns: Columns) -> pl.Expr:
    return columns["user_order_count_30d"] * columns["user_order_count_30d"]


def is_squared_large(columns: Columns) -> pl.Expr:
    return squared(columns) > 100


def cast_in_between(columns: Columns) -> pl.Expr:
    """Fails where the product does not fit, if it is computed in more than 64 bits."""
    return squared(columns).cast(pl.Int64) % 10


def hashed(columns: Columns) -> pl.Expr:
    """Of another value if the number has 128 bits."""
    return columns["user_order_count_30d"].hash() % 10


def negated(columns: Columns) -> pl.Expr:
    """Not there for 128 bits."""
    return -columns["user_order_count_30d"]


def similarity(columns: Columns) -> pl.Expr:
    return (columns["user_vector"] * columns["user_vector"]).list.sum()


def since(columns: Columns) -> pl.Expr:
    return columns["request_time"] - columns["user_last_at_all_time"]


def naive_time(columns: Columns) -> pl.Expr:
    return columns["request_time"].dt.replace_time_zone(None)


def share_of_all(columns: Columns) -> pl.Expr:
    return columns["price"] / columns["price"].sum()


def previous(columns: Columns) -> pl.Expr:
    return columns["country"].shift(1)


def unknown(columns: Columns) -> pl.Expr:
    return columns["nothing"] * 2


def smuggled(columns: Columns) -> pl.Expr:
    return columns["price"] * pl.col("feature_timestamp")


def every(_: Columns) -> pl.Expr:
    return pl.all()


def number(_: Columns) -> Any:
    return 5


def broken(columns: Columns) -> pl.Expr:
    raise RuntimeError("not today")


def mistyped(columns: Columns) -> pl.Expr:
    return columns["country"] * columns["price"]


class Namespace:
    @staticmethod
    def doubled(columns: Columns) -> pl.Expr:
        return columns["price"] * 2


def held(columns: Columns) -> pl.Expr:
    """How long the country is; where it names a file, only once that is gone: it sleeps, or computes
    in Python, or locks the interpreter."""
    return columns["country"].map_batches(_wait, return_dtype=pl.Int64)


def _wait(names: pl.Series) -> pl.Series:
    for name in names:
        way, _, path = (name or "").partition(":")
        while path and Path(path).exists():
            if way == "locked":
                re.match(r"(x+)+$", "x" * 60 + "y")  # takes centuries, and no other thread runs meanwhile
            elif way == "busy":
                for _ in range(10_000):
                    pass
            else:
                time.sleep(0.001)
    return names.str.len_chars().cast(pl.Int64)
