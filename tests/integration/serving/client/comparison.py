"""Random calls of clients, and the comparison of what comes with what the store gives in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
from hypothesis import strategies as st

from feature_store.dtypes import DType, from_micros
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from tests.integration.serving.client.setting import TOTALS
from tests.integration.serving.shop import NAMES, NUMBERS


@dataclass(frozen=True)
class Asked:
    """A call: what is read, by whom."""

    kind: Literal["view", "group"]
    name: str
    view: ViewSchema
    rows: list[dict[str, Any]]
    request: dict[str, Any]
    features: list[str] | None
    caller: str

    def expected(self, reader: OnlineReader, instant: int, hidden: frozenset[str]) -> OnlineVectors:
        """What the store gives in this process at the same instant, without what the caller must not see."""
        vectors = reader.read(self.view, self.rows, from_micros(instant), request=self.request)
        vectors = vectors if self.features is None else vectors.select(self.features)
        seen = [column.name for column in vectors.outputs]
        return msgspec.structs.replace(
            vectors, masked=tuple(n for n in seen if n in hidden) if self.caller == "stranger" else ()
        )


def key_values(dtype: DType) -> st.SearchStrategy[Any]:
    match dtype.kind:
        case "STRING":
            return st.sampled_from([*NAMES, "nobody"])
        case "INT":
            return st.sampled_from(NUMBERS)
        case _:
            return st.sampled_from([from_micros(0), from_micros(1_790_000_000_000_000)])


REQUESTED: dict[str, st.SearchStrategy[Any]] = {
    "INT": st.none() | st.sampled_from([2**63 - 1, -(2**63), 0]),
    "FLOAT": st.none() | st.floats(-1e6, 1e6),
    "TIMESTAMP": st.none() | st.integers(0, 10**15).map(from_micros),
}


@st.composite
def calls(draw: st.DrawFn, views: dict[tuple[str, str], ViewSchema]) -> Asked:
    """Any view or group, any rows, some of them without a key or with request values of their own."""
    kind, name = draw(st.sampled_from([*sorted(views), *[("view", TOTALS.id)] * 3]))
    view = views[kind, name]
    keys = {key.name: draw(st.just(key_values(key.dtype))) | st.none() for key in view.keys}
    own = {column.name: REQUESTED[column.dtype.kind] for column in view.request}
    rows = draw(st.lists(st.fixed_dictionaries(keys, optional=own), min_size=1, max_size=12))
    request = draw(st.fixed_dictionaries(own))
    names = [column.name for column in view.outputs]
    features = draw(st.none() | st.lists(st.sampled_from(names), unique=True, max_size=4))
    shown = draw(st.sampled_from([name, view.name]))
    return Asked(cast(Any, kind), shown, view, rows, request, features, draw(st.sampled_from(["owner", "stranger"])))


def assert_same(got: OnlineVectors, want: OnlineVectors) -> None:
    """Everything that vectors tell is equal; the values of masked features are None."""
    hidden = set(want.masked)
    columns = [column.name for column in want.outputs]
    assert [column.name for column in got.outputs] == columns
    assert got.masked == want.masked
    masked = [{n: None if n in hidden else v for n, v in row.items()} for row in want.to_dicts()]
    assert got.to_dicts() == masked
    assert (got.statuses, got.feature_timestamps) == (want.statuses, want.feature_timestamps)
    assert got.overflowed == [tuple(n for n in row if n not in hidden) for row in want.overflowed]
    assert (got.stale, got.updated_at, len(got)) == (want.stale, want.updated_at, len(want))
    shown = [name for name in (*(key.name for key in want.view.keys), *columns) if name not in hidden]
    assert got.to_arrow().schema == want.to_arrow().schema
    assert got.to_arrow().select(shown) == want.to_arrow().select(shown)
    numeric = [c.name for c in want.outputs if c.dtype.kind in ("INT", "FLOAT", "EMBEDDING") and c.name not in hidden]
    assert got.matrix_columns(numeric) == want.matrix_columns(numeric)
    assert got.to_numpy(numeric).tobytes() == want.to_numpy(numeric).tobytes()
