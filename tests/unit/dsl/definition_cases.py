"""Random definitions of every kind: well-formed, but not necessarily sensible."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from feature_store import (
    BOOL,
    EMBEDDING,
    FLOAT,
    INT,
    LIST,
    STRING,
    TIMESTAMP,
    BatchSource,
    Entity,
    Feature,
    FeatureGroup,
    FeatureView,
    OnDemand,
    StreamSource,
    agg,
    session,
)
from feature_store.dtypes import DType

_SCALARS = [STRING, INT, FLOAT, BOOL, TIMESTAMP]
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
texts = st.text(max_size=12)
dtypes = st.sampled_from([*_SCALARS, *map(LIST, _SCALARS), EMBEDDING(3), EMBEDDING(64)])
durations = st.builds(
    lambda n, unit: f"{n}{unit}", st.integers(1, 999), st.sampled_from(["ms", "s", "m", "h", "d", "w"])
)
windows = st.one_of(
    st.just("all_time"), durations, durations.map(session), durations.map(lambda gap: f"session({gap})")
)
schemas = st.dictionaries(names, dtypes, max_size=4)
optional_texts = st.none() | texts
accesses = st.sampled_from(["public", "private"])

_INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "STRING": texts | st.just("2026-01-31T00:00:00Z"),
    "INT": st.integers(-(2**63), 2**63 - 1),
    "FLOAT": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "BOOL": st.booleans(),
    "TIMESTAMP": _INSTANTS,
}


def values(dtype: DType) -> st.SearchStrategy[Any]:
    """Values of a type, or None."""
    if dtype.item is not None:
        return st.none() | st.lists(st.none() | _VALUES[dtype.item.kind], max_size=3)
    if dtype.size is not None:
        return st.none() | st.lists(_VALUES["FLOAT"], min_size=dtype.size, max_size=dtype.size)
    return st.none() | _VALUES[dtype.kind]


entities = st.builds(Entity, names, join_key=names, dtype=dtypes, description=texts)
aggregations = st.one_of(
    st.just(agg.count()),
    st.builds(agg.count, names),
    st.builds(agg.mean, names),
    st.builds(agg.last_n, names, st.integers(1, 1000)),
    st.builds(agg.top_k, names, st.integers(1, 1000), by=st.none() | names),
)


@st.composite
def batch_sources(draw: st.DrawFn) -> BatchSource:
    place = draw(st.sampled_from([{"table": "raw.t"}, {"path": "x/*.csv"}, {"jdbc": "d.s.t"}]))
    if "table" not in place and draw(st.booleans()):
        place = {**place, "look_back": draw(durations)}
    event_id, description = draw(st.none() | names), draw(texts)
    place["deduplicate_within"] = draw(durations)
    schema = draw(schemas)
    place["pii"] = [column for column in schema if draw(st.booleans())]
    return BatchSource(draw(names), draw(names), schema, event_id=event_id, description=description, **place)


@st.composite
def stream_sources(draw: st.DrawFn) -> StreamSource:
    avro = draw(st.booleans())
    return StreamSource(
        draw(names),
        topic=draw(names),
        schema=draw(schemas),
        event_timestamp=draw(names),
        format="avro" if avro else "json",
        avro_schema=draw(texts) if avro else None,
        time_format=draw(st.sampled_from(["iso", "ms", "us"])),
        max_out_of_orderness=draw(durations),
        allowed_lateness=draw(durations),
        event_id=draw(st.none() | names),
        deduplicate_within=draw(durations),
        history=draw(st.none() | batch_sources()),
        heartbeats=draw(st.booleans()),
    )


@st.composite
def features(draw: st.DrawFn) -> Feature:
    dtype = draw(dtypes)
    bounds = st.fixed_dictionaries(
        {}, optional={"min": st.integers(-9, 9), "max": st.floats(0, 9), "null_rate": st.floats(0, 1)}
    )
    return Feature(
        draw(names),
        draw(st.none() | aggregations),
        dtype=dtype,
        window=draw(st.none() | windows),
        where=draw(optional_texts),
        default=draw(values(dtype)),
        description=draw(texts),
        expect=draw(st.none() | bounds),
        rename_ok=draw(texts),
        pii=draw(st.none() | st.booleans()),
    )


@st.composite
def groups(draw: st.DrawFn) -> FeatureGroup:
    queried = draw(st.booleans())
    return FeatureGroup(
        draw(names),
        version=draw(st.integers(1, 99)),
        entity=draw(entities),
        source=None if queried else draw(batch_sources() | stream_sources()),
        query=draw(texts) if queried else None,
        sources=draw(st.lists(batch_sources(), max_size=2)) if queried else [],
        owner=draw(texts),
        columns=draw(st.dictionaries(names, texts, max_size=3)),
        where=draw(optional_texts),
        features=draw(st.lists(features(), max_size=3)),
        derived=draw(st.dictionaries(names, texts, max_size=3)),
        refresh=draw(st.sampled_from(["daily", "hourly"])),
        slide=draw(st.none() | durations),
        emit=draw(st.sampled_from([None, "changes", "snapshot"])),
        ttl=draw(st.none() | durations),
        freshness=draw(st.none() | durations),
        cache=draw(st.none() | durations),
        buckets=draw(st.integers(1, 9)),
        tags=draw(st.dictionaries(texts, texts, max_size=2)),
        access=draw(accesses),
    )


@st.composite
def on_demand(draw: st.DrawFn) -> OnDemand:
    dtype = draw(dtypes)
    body = {"expression": draw(texts)} if draw(st.booleans()) else {"function": "a.module:name", "code": draw(texts)}
    return OnDemand(draw(names), dtype=dtype, default=draw(values(dtype)), description=draw(texts), **body)


views = st.builds(
    FeatureView,
    names,
    version=st.integers(1, 99),
    groups=st.lists(groups(), max_size=2),
    owner=texts,
    on_demand=st.lists(on_demand(), max_size=2),
    request=schemas,
    prejoin=st.booleans(),
    access=accesses,
)
definitions = st.one_of(entities, batch_sources(), stream_sources(), groups(), views)
