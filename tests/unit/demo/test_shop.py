"""The demo shop: the real log is all there, nothing is in the future, and the labels are what a loop would say."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import demo.shop
from demo.labels import LABEL_WINDOW, repurchase_labels
from demo.shop import Shop, build_shop
from feature_store.errors import InputError

TODAY = date(2026, 3, 12)
LAST_REAL_DAY = date(1998, 6, 30)
TABLES = ("users", "products", "order_events", "browsing", "reviews")
TIME = {"users": "signed_up_at", "products": "listed_at"}
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build_shop(TODAY)


def completed(shop: Shop) -> pl.DataFrame:
    return shop.order_events.filter(pl.col("status") == "completed")


def test_two_runs_on_one_day_are_equal(shop: Shop) -> None:
    again = build_shop(TODAY)
    for table in TABLES:
        assert_frame_equal(getattr(shop, table), getattr(again, table))


def test_a_build_takes_under_three_seconds() -> None:
    started = time.process_time()
    build_shop(TODAY)
    assert time.process_time() - started < 3


def test_the_packed_log_carries_no_time_or_name_of_its_packing() -> None:
    header = (Path(demo.shop.__file__).parent / "data" / "cdnow_master.csv.gz").read_bytes()[:8]
    assert header == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0])


def test_the_real_log_is_all_there(shop: Shop) -> None:
    purchases = completed(shop)
    assert purchases.height == 69_659
    assert purchases["user_id"].n_unique() == shop.users.height == 23_570
    assert purchases["amount"].sum() == pytest.approx(2_500_315.63)
    assert purchases["quantity"].sum() == 167_881
    first = purchases.filter(pl.col("user_id") == "00001").row(0, named=True)
    real_day = first["event_ts"].date() - timedelta(days=shop.shift_days)
    assert (real_day, first["amount"], first["quantity"]) == (date(1997, 1, 1), 11.77, 1)


@pytest.mark.parametrize("days", range(8))
def test_the_shift_is_the_largest_number_of_whole_weeks(days: int) -> None:
    today = TODAY + timedelta(days=days)
    shop = build_shop(today)
    last = completed(shop)["event_ts"].max().date()
    assert shop.shift_days % 7 == 0
    assert last == LAST_REAL_DAY + timedelta(days=shop.shift_days)
    assert last.weekday() == LAST_REAL_DAY.weekday()
    assert timedelta(days=1) <= today - last <= timedelta(days=7)
    assert shop.purchases_end == datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("days", [0, 3, 6])
def test_times_are_utc_microseconds_and_never_in_the_future(table: str, days: int) -> None:
    shop = build_shop(TODAY + timedelta(days=days))
    times = getattr(shop, table)[TIME.get(table, "event_ts")]
    assert times.dtype == pl.Datetime("us", "UTC")
    assert times.null_count() == 0
    assert times.max() < shop.end
    assert shop.end == datetime(2026, 3, 12, tzinfo=UTC) + timedelta(days=days)


def test_a_later_day_of_the_same_shift_only_adds_rows() -> None:
    days = [build_shop(TODAY + timedelta(days=day)) for day in range(8)]
    pairs = [pair for pair in pairwise(days) if pair[0].shift_days == pair[1].shift_days]
    assert len(pairs) == 6
    for early, late in pairs:
        for table in TABLES:
            time_column = TIME.get(table, "event_ts")
            known = getattr(late, table).filter(pl.col(time_column) < early.end)
            assert_frame_equal(known, getattr(early, table))
        assert late.browsing.height > early.browsing.height


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("users", ["user_id"]),
        ("products", ["product_id"]),
        ("order_events", ["order_id", "status"]),
        ("reviews", ["review_id"]),
    ],
)
def test_keys_are_unique(shop: Shop, table: str, key: list[str]) -> None:
    frame = getattr(shop, table)
    assert frame.select(key).n_unique() == frame.height


@pytest.mark.parametrize("table", ["order_events", "browsing", "reviews"])
def test_users_had_signed_up_and_products_were_listed(shop: Shop, table: str) -> None:
    events = getattr(shop, table)
    known = events.join(shop.users, on="user_id").join(shop.products, on="product_id")
    assert known.height == events.height
    assert known.filter(pl.col("event_ts") <= pl.col("signed_up_at")).is_empty()
    assert known.filter(pl.col("event_ts") < pl.col("listed_at")).is_empty()


def test_returns_follow_their_purchase(shop: Shop) -> None:
    returned = shop.order_events.filter(pl.col("status") == "returned")
    same = ["order_id", "user_id", "product_id", "amount", "quantity"]
    pairs = returned.join(completed(shop), on=same, suffix="_bought")
    assert pairs.height == returned.height
    waited = (pairs["event_ts"] - pairs["event_ts_bought"]).dt.total_microseconds()
    day = 86_400_000_000
    assert waited.is_between(2 * day, 20 * day).all()
    assert 0.04 < returned.height / 69_659 < 0.06


def test_the_catalogue_has_ties_of_price_and_grows(shop: Shop) -> None:
    products = shop.products
    ties = products.group_by("category").agg(tied=pl.col("price").is_duplicated().sum(), size=pl.len())
    assert ties.height == 12
    assert ties.filter((pl.col("tied") < 2) | (pl.col("tied") > pl.col("size") / 2)).is_empty()
    assert products.height == products["title"].n_unique() == 1_200
    assert products["price"].min() > 0
    first = completed(shop)["event_ts"].min()
    assert products["listed_at"].min() < first
    week = timedelta(days=7)
    assert shop.purchases_end - 2 * week < products["listed_at"].max() < shop.purchases_end - week


def test_a_few_products_sell_most(shop: Shop) -> None:
    sold = completed(shop)["product_id"].value_counts(sort=True)["count"]
    assert sold.head(120).sum() > 0.4 * sold.sum()
    assert sold.len() > 1_000


def test_browsing_tells_taste_and_has_gaps(shop: Shop) -> None:
    assert 180_000 < shop.browsing.height < 220_000
    for column in ("seconds", "category"):
        assert 0.01 < shop.browsing[column].null_count() / shop.browsing.height < 0.03
    assert shop.browsing["seconds"].min() >= 1
    spent = shop.browsing.drop_nulls().group_by("user_id", "category").agg(pl.col("seconds").sum(), views=pl.len())
    busy = spent.filter(pl.col("views").sum().over("user_id") >= 30).sort("seconds", descending=True)
    top = busy.group_by("user_id").agg(share=pl.col("seconds").head(4).sum() / pl.col("seconds").sum())
    assert top.height > 300
    assert top["share"].mean() > 0.85


def test_reviews_rate_products_and_have_gaps(shop: Shop) -> None:
    assert 0.13 < shop.reviews.height / 69_659 < 0.17
    assert 0.005 < shop.reviews["rating"].null_count() / shop.reviews.height < 0.02
    assert sorted(shop.reviews["rating"].drop_nulls().unique()) == [1, 2, 3, 4, 5]
    means = shop.reviews.group_by("product_id").agg(pl.col("rating").mean(), votes=pl.len())
    means = means.filter(pl.col("votes") >= 30)
    assert means["rating"].max() - means["rating"].min() > 1


def naive_labels(
    purchases: list[tuple[str, datetime]], since: datetime, until: datetime
) -> list[tuple[str, datetime, bool]]:
    labels = []
    for row, (user, moment) in enumerate(purchases):
        if since <= moment < until:
            again = False
            for other_row, (other_user, other_moment) in enumerate(purchases):
                if other_row != row and other_user == user and moment < other_moment <= moment + timedelta(days=30):
                    again = True
            labels.append((user, moment, again))
    return sorted(labels)


def shop_of(purchases: list[tuple[str, datetime]], returned: list[tuple[str, datetime]]) -> Shop:
    rows = [(user, "completed", moment) for user, moment in purchases]
    rows += [(user, "returned", moment) for user, moment in returned]
    schema = {"user_id": pl.String, "status": pl.String, "event_ts": pl.Datetime("us", "UTC")}
    events = pl.DataFrame(rows, schema=schema, orient="row")
    nothing = pl.DataFrame()
    shift = (TODAY - LAST_REAL_DAY).days // 7 * 7
    return Shop(TODAY, shift, nothing, nothing, events, nothing, nothing)


START = datetime(2025, 6, 1, tzinfo=UTC)
DAYS = st.sampled_from([0, 1, 29, 30, 31, 60])
MOMENTS = st.builds(lambda days, micros: START + timedelta(days=days, microseconds=micros), DAYS, st.integers(-1, 1))
PURCHASES = st.lists(st.tuples(st.sampled_from(["a", "b"]), MOMENTS), max_size=12)


@given(purchases=PURCHASES, returned=PURCHASES, since=MOMENTS, until=MOMENTS)
def test_labels_are_those_of_a_loop(
    purchases: list[tuple[str, datetime]], returned: list[tuple[str, datetime]], since: datetime, until: datetime
) -> None:
    labels = repurchase_labels(shop_of(purchases, returned), since, until)
    assert labels.schema == {
        "user_id": pl.String, "label_timestamp": pl.Datetime("us", "UTC"), "bought_again_30d": pl.Boolean
    }  # fmt: skip
    assert sorted(labels.rows()) == naive_labels(purchases, since, until)


@pytest.mark.parametrize(("offset", "again"), [(-MICROSECOND, True), (timedelta(0), True), (MICROSECOND, False)])
def test_the_thirtieth_day_counts_to_the_microsecond(offset: timedelta, again: bool) -> None:
    shop = shop_of([("a", START), ("a", START + LABEL_WINDOW + offset)], [])
    assert repurchase_labels(shop, START, START + MICROSECOND)["bought_again_30d"].to_list() == [again]


def test_labels_of_the_real_log(shop: Shop) -> None:
    until = shop.purchases_end - LABEL_WINDOW
    since = until - timedelta(days=10)
    labels = repurchase_labels(shop, since, until)
    near = completed(shop).filter(pl.col("event_ts") >= since).select("user_id", "event_ts")
    assert labels.rows() == sorted(naive_labels(near.rows(), since, until), key=lambda label: (label[1], label[0]))
    assert labels.height > 500
    everything = repurchase_labels(shop, START - timedelta(days=900), until)
    assert everything.height == completed(shop).filter(pl.col("event_ts") < until).height


def test_labels_that_could_not_be_known_are_refused(shop: Shop) -> None:
    until = shop.purchases_end - LABEL_WINDOW
    with pytest.raises(InputError, match="use at most 2026-02-09"):
        repurchase_labels(shop, START, until + MICROSECOND)


@pytest.mark.parametrize("name", ["since", "until"])
def test_naive_times_are_refused(shop: Shop, name: str) -> None:
    times = {"since": START, "until": START + LABEL_WINDOW}
    with pytest.raises(InputError, match=f"{name}=.*zone"):
        repurchase_labels(shop, **{**times, name: times[name].replace(tzinfo=None)})
