"""The demo shop as data frames: real purchases, moved to the present, and a generated shop around them.

Everything is generated on the calendar of the log (1997-98), up to one week past its end, and only then shifted by
whole weeks and cut at today's midnight. So the frames depend on nothing but the seed and the day, and while the shift
is the same a later day has the rows of an earlier one plus what happened since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEED = 1997
DATA_VERSION = 1
"""Raise it whenever the generated rows change, so that a loaded shop is known to be an old one."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_LOG_FILE = Path(__file__).parent / "data" / "cdnow_master.csv.gz"
_FIRST_DAY = date(1997, 1, 1)
_LAST_DAY = date(1998, 6, 30)
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_CATEGORIES = ["rock", "pop", "rap", "country", "classical", "jazz", "soul", "techno", "metal", "film", "folk", "blues"]
_CATEGORY_SHARE = np.array([0.18, 0.16, 0.10, 0.09, 0.08, 0.08, 0.07, 0.06, 0.05, 0.05, 0.04, 0.04])
_CATEGORY_PRICE = np.array([14.49, 13.99, 13.49, 12.99, 16.99, 15.49, 12.49, 14.99, 13.99, 15.99, 12.99, 11.99])
_COUNTRIES = ["US", "CA", "GB", "DE", "JP", "AU", "FR", "NL", "SE"]
_COUNTRY_SHARE = np.array([0.72, 0.09, 0.06, 0.04, 0.03, 0.02, 0.02, 0.01, 0.01])
_ADJECTIVES = (
    "Amber Blue Broken Burning Crimson Distant Electric Empty Endless Faded Frozen Gentle Golden Hidden Hollow Last "
    "Lonely Lost Midnight Northern Open Paper Quiet Restless Rusty Secret Silver Southern Velvet Winter"
)
_NOUNS = (
    "Angels Avenue Bridges Cities Dreams Echoes Fields Fires Garden Harbor Hearts Horizon Hours Island Letters Lights "
    "Machines Mirrors Moon Mountains Ocean Promises Rain River Roads Shadows Station Stories Strangers Tides Trains "
    "Valley Voices Walls Water Whispers Wind Windows Wolves Years"
)
_TITLES = [f"{adjective} {noun}" for adjective in _ADJECTIVES.split() for noun in _NOUNS.split()]
# A visit lasts under an hour: who signed up, and what was listed, an hour before its end was there all through it.
_VISIT_ROOM = _HOUR
_VIEWS_AT_MOST = 5
_SECONDS_AT_MOST = 600
_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True, eq=False)
class Shop:
    """All raw tables of the demo on one day. Timestamps are UTC with microseconds, none at or after `end`.

    users(user_id, signed_up_at, country); products(product_id, title, category, price, listed_at);
    order_events(order_id, user_id, product_id, status, amount, quantity, event_ts): one "completed" row per purchase
    of the log, and a later "returned" row for some; browsing(user_id, category, product_id, seconds, event_ts) and
    reviews(review_id, user_id, product_id, rating, event_ts) with some NULLs. `price` and `amount` are US dollars.
    """

    anchor: date
    shift_days: int
    users: pl.DataFrame
    products: pl.DataFrame
    order_events: pl.DataFrame
    browsing: pl.DataFrame
    reviews: pl.DataFrame

    @property
    def end(self) -> datetime:
        """Midnight that starts the anchor day: everything known happened before it."""
        return _midnight(self.anchor)

    @property
    def purchases_end(self) -> datetime:
        """Midnight after the last day of the real log, at most six days before `end`: later purchases are not known."""
        return _midnight(_LAST_DAY + timedelta(days=self.shift_days + 1))


@dataclass(frozen=True, eq=False)
class _Purchases:
    """The real log, in its own order: customer (position in `customers`), moment, number of CDs, dollars."""

    customers: list[str]
    customer: Ints
    at: Ints
    quantity: Ints
    amount: Floats


@dataclass(frozen=True, eq=False)
class _Catalogue:
    """Products by time of listing; `shelves[c]` are the positions of category c in that order."""

    category: Ints
    listed: Ints
    price: Floats
    popularity: Floats
    shelves: tuple[Ints, ...]

    def pick(self, random: np.random.Generator, category: Ints, at: Ints) -> Ints:
        """For each row a product of that category that was listed by `at`, popular ones more often."""
        picked = np.zeros(category.size, dtype=np.int64)
        for number, shelf in enumerate(self.shelves):
            rows = np.flatnonzero(category == number)
            mass = np.cumsum(self.popularity[shelf])
            last = np.searchsorted(self.listed[shelf], at[rows], side="right") - 1
            place = np.searchsorted(mass, random.random(rows.size) * mass[last], side="right")
            picked[rows] = shelf[np.minimum(place, last)]
        return picked


@dataclass(frozen=True, eq=False)
class _Taste:
    """How much each customer (row) likes each category (column); rows sum to 1, two to four entries are not 0."""

    share: Floats
    odds: Floats

    def pick(self, random: np.random.Generator, customer: Ints) -> Ints:
        """A category for each row: mostly one the customer likes, now and then any."""
        passed = self.odds[customer] < random.random(customer.size)[:, None]
        picked: Ints = np.minimum(np.count_nonzero(passed, axis=1), self.odds.shape[1] - 1)
        return picked


@dataclass(frozen=True, eq=False)
class _World:
    """What all tables agree on: who there is, when each signed up, what there is, and what each purchase was of."""

    purchases: _Purchases
    signed_up: Ints
    catalogue: _Catalogue
    taste: _Taste
    bought: Ints

    def user_ids(self, customer: Ints) -> pl.Series:
        return pl.Series(self.purchases.customers).gather(customer)


def build_shop(today: date) -> Shop:
    """The demo shop as it stands at the first moment of `today` (UTC).

    The log is shifted by the largest number of whole weeks that puts its last purchase on yesterday or before, so
    weekdays stay what they were. Two calls with one day give equal frames.
    """
    shift_days = (today - timedelta(days=1) - _LAST_DAY).days // 7 * 7
    world = _make_world()

    def present(frame: pl.DataFrame, time: str, *order: str) -> pl.DataFrame:
        moved = frame.with_columns((pl.col(time) + shift_days * _DAY).cast(_TIME))
        return moved.filter(pl.col(time) < _midnight(today)).sort(time, *order)

    return Shop(
        anchor=today,
        shift_days=shift_days,
        users=present(_users(world), "signed_up_at").sort("user_id"),
        products=present(_products(world), "listed_at").sort("product_id"),
        order_events=present(_order_events(world), "event_ts", "order_id", "status"),
        browsing=present(_browsing(world), "event_ts", "user_id", "product_id"),
        reviews=present(_reviews(world), "event_ts", "review_id"),
    )


def _make_world() -> _World:
    purchases = _read_purchases()
    catalogue = _make_catalogue()
    taste = _make_taste(len(purchases.customers))
    random = _random("products bought")
    return _World(
        purchases=purchases,
        signed_up=_sign_up_moments(purchases),
        catalogue=catalogue,
        taste=taste,
        bought=catalogue.pick(random, taste.pick(random, purchases.customer), purchases.at - _VISIT_ROOM),
    )


def _read_purchases() -> _Purchases:
    schema = {"customer_id": pl.String, "date": pl.String, "number_of_cds": pl.Int64, "dollar_value": pl.Float64}
    log = pl.read_csv(_LOG_FILE, schema=schema)
    customers = log["customer_id"].unique().sort()
    day = log["date"].str.to_date("%Y%m%d").cast(pl.Datetime("us")).dt.epoch("us").to_numpy()
    return _Purchases(
        customers=customers.to_list(),
        customer=customers.search_sorted(log["customer_id"]).cast(pl.Int64).to_numpy(),
        at=day + _time_of_day(_random("time of day"), log.height),
        quantity=log["number_of_cds"].to_numpy(),
        amount=log["dollar_value"].to_numpy(),
    )


def _time_of_day(random: np.random.Generator, count: int) -> Ints:
    """Microseconds after midnight: few at night, most in the evening."""
    by_hour = np.array([3, 2, 1, 1, 1, 1, 2, 3, 5, 6, 7, 7, 8, 8, 7, 7, 7, 8, 9, 11, 12, 11, 8, 5], dtype=np.float64)
    hours = random.choice(24, size=count, p=by_hour / by_hour.sum())
    return hours * _HOUR + random.integers(_HOUR, size=count)


def _sign_up_moments(purchases: _Purchases) -> Ints:
    random = _random("accounts")
    first = np.full(len(purchases.customers), np.iinfo(np.int64).max)
    np.minimum.at(first, purchases.customer, purchases.at)
    waited = np.minimum(random.exponential(21 * _DAY, size=first.size), 200 * _DAY)  # the catalogue is 300 days older
    return first - _VISIT_ROOM - waited.astype(np.int64)


def _make_catalogue() -> _Catalogue:
    random = _random("catalogue")
    start, end = _midnight_us(_FIRST_DAY), _midnight_us(_LAST_DAY + timedelta(days=1))
    early = len(_TITLES) * 3 // 5
    before = start - _DAY - random.integers(300 * _DAY, size=early)
    during = random.integers(start, end - 7 * _DAY, size=len(_TITLES) - early)
    listed = np.sort(np.concatenate([before, during]))
    category = random.choice(len(_CATEGORIES), size=len(_TITLES), p=_CATEGORY_SHARE)
    category[: len(_CATEGORIES)] = random.permutation(len(_CATEGORIES))  # none is empty when the first purchase comes
    price = np.round(_CATEGORY_PRICE[category] * np.exp(random.normal(0, 0.35, size=len(_TITLES))), 2)
    shelves = tuple(np.flatnonzero(category == number) for number in range(len(_CATEGORIES)))
    for shelf in shelves:  # a rank within the category must meet ties
        pairs = random.choice(shelf, size=(2, 3), replace=False)
        price[pairs[0]] = price[pairs[1]]
    popularity = 1.0 / random.permutation(np.arange(1, len(_TITLES) + 1)) ** 0.9
    return _Catalogue(category=category, listed=listed, price=price, popularity=popularity, shelves=shelves)


def _make_taste(customers: int) -> _Taste:
    random = _random("taste")
    # Gumbel noise on log weights: the order of a weighted draw without replacement, for all customers at once.
    order = np.argsort(-np.log(_CATEGORY_SHARE) - random.gumbel(size=(customers, len(_CATEGORIES))), axis=1)
    rank = np.argsort(order, axis=1)
    liked = random.integers(2, 5, size=customers)
    share = np.where(rank < liked[:, None], 1.0 / (rank + 1), 0.0)
    share /= share.sum(axis=1, keepdims=True)
    return _Taste(share=share, odds=np.cumsum(0.7 * share + 0.3 * _CATEGORY_SHARE, axis=1))


def _users(world: _World) -> pl.DataFrame:
    country = _random("countries").choice(_COUNTRIES, size=world.signed_up.size, p=_COUNTRY_SHARE)
    columns = {"user_id": world.purchases.customers, "signed_up_at": world.signed_up, "country": country.tolist()}
    return pl.DataFrame(columns)


def _products(world: _World) -> pl.DataFrame:
    every = np.arange(len(_TITLES))
    return pl.DataFrame(
        {
            "product_id": _product_ids(every),
            "title": _random("titles").permutation(_TITLES).tolist(),
            "category": _categories(world, every),
            "price": world.catalogue.price,
            "listed_at": world.catalogue.listed,
        }
    )


def _order_events(world: _World) -> pl.DataFrame:
    purchases, random = world.purchases, _random("returns")
    completed = pl.DataFrame(
        {
            "order_id": _numbered("o", purchases.at),
            "user_id": world.user_ids(purchases.customer),
            "product_id": _product_ids(world.bought),
            "status": ["completed"] * purchases.at.size,
            "amount": purchases.amount,
            "quantity": purchases.quantity,
            "event_ts": purchases.at,
        }
    )
    habit = np.minimum(0.05 * random.gamma(0.5, 2.0, size=len(purchases.customers)), 0.9)
    sent_back = random.random(purchases.at.size) < habit[purchases.customer]
    later = random.integers(2 * _DAY, 20 * _DAY, size=purchases.at.size)
    returned = completed.with_columns(status=pl.lit("returned"), event_ts=pl.col("event_ts") + later).filter(sent_back)
    return pl.concat([completed, returned])


def _browsing(world: _World) -> pl.DataFrame:
    """Page views: a visit ends with every purchase, and there are visits without one up to a week past the log."""
    purchases, random = world.purchases, _random("browsing")
    activity = np.cumsum(np.sqrt(np.bincount(purchases.customer)))
    idle = np.searchsorted(activity, random.random(40_000) * activity[-1], side="right")
    since = world.signed_up[idle] + _VISIT_ROOM
    idle_end = random.integers(since, _midnight_us(_LAST_DAY + timedelta(days=8)))
    customer = np.concatenate([purchases.customer, idle])
    visit_end = np.concatenate([purchases.at, idle_end])
    views = np.concatenate([random.geometric(0.7, size=purchases.at.size), random.geometric(0.37, size=idle.size)])
    views = np.minimum(views, _VIEWS_AT_MOST)

    visit = np.repeat(np.arange(views.size), views)
    last = np.cumsum(views) - 1
    liked = world.taste.pick(random, customer[visit])
    product = world.catalogue.pick(random, liked, visit_end[visit] - _VISIT_ROOM)
    product[last[: purchases.at.size]] = world.bought
    liking = 0.4 + 3.0 * world.taste.share[customer[visit], world.catalogue.category[product]]
    seconds = np.clip(random.lognormal(np.log(25), 0.7, size=visit.size) * liking, 1, _SECONDS_AT_MOST).astype(np.int64)
    spent = np.cumsum(seconds)
    until_end = spent[last][visit] - spent + seconds  # this view and the ones after it
    frame = pl.DataFrame(
        {
            "user_id": world.user_ids(customer[visit]),
            "category": _categories(world, product),
            "product_id": _product_ids(product),
            "seconds": seconds,
            "event_ts": visit_end[visit] - until_end * 1_000_000,
        }
    )
    return _with_nulls(frame, {"seconds": 0.02, "category": 0.015}, random)


def _reviews(world: _World) -> pl.DataFrame:
    purchases, random = world.purchases, _random("reviews")
    quality = np.clip(random.normal(3.8, 0.6, size=len(_TITLES)), 1.5, 4.9)
    written = np.flatnonzero(random.random(purchases.at.size) < 0.15)
    product = world.bought[written]
    waited = _DAY + np.minimum(random.exponential(7 * _DAY, size=written.size), 60 * _DAY).astype(np.int64)
    event_ts = purchases.at[written] + waited
    frame = pl.DataFrame(
        {
            "review_id": _numbered("r", event_ts),
            "user_id": world.user_ids(purchases.customer[written]),
            "product_id": _product_ids(product),
            "rating": np.clip(np.rint(random.normal(quality[product], 1.0)), 1, 5).astype(np.int64),
            "event_ts": event_ts,
        }
    )
    return _with_nulls(frame, {"rating": 0.01}, random)


def _product_ids(product: Ints) -> pl.Series:
    return pl.Series([f"p{number:04d}" for number in range(1, len(_TITLES) + 1)]).gather(product)


def _categories(world: _World, product: Ints) -> pl.Series:
    return pl.Series(_CATEGORIES).gather(world.catalogue.category[product])


def _numbered(prefix: str, moments: Ints) -> pl.Series:
    """An id per row, counted by time: "o000001" is the earliest."""
    return prefix + pl.Series(moments).rank("ordinal").cast(pl.String).str.zfill(6)


def _with_nulls(frame: pl.DataFrame, rates: dict[str, float], random: np.random.Generator) -> pl.DataFrame:
    """The frame with about that share of the values of each named column lost, as in a real log."""
    lost = {name: pl.Series(random.random(frame.height) < rate) for name, rate in rates.items()}
    return frame.with_columns(pl.when(~mask).then(pl.col(name)).alias(name) for name, mask in lost.items())


def _random(purpose: str) -> np.random.Generator:
    """One stream per purpose: a change in one table leaves the others as they were."""
    return np.random.default_rng([SEED, *purpose.encode()])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _midnight_us(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY
