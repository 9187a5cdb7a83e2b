"""Windows slid by the kernel: Spark makes the tiles, `window_kernel` the vectors, Spark again what derives from them.

Spark's frames go through all points of a window once for each row and aggregate, one by one; the kernel does the same
with numpy over the tiles that are live.
"""

from __future__ import annotations

from feature_store.compile.span import Span
from feature_store.compile.spark import by_entity, steps_to_tiles, with_steps
from feature_store.compile.spark_aggregates import lower_aggregates
from feature_store.compile.spark_direct import is_direct
from feature_store.compile.spark_expressions import quote, spark_type
from feature_store.compile.spark_tiles import hits_column
from feature_store.compile.window_kernel import SLID_FUNCTIONS, SlidFeature, Sliding
from feature_store.plan.nodes import GroupPlan, WindowedRows


def is_slid(plan: GroupPlan, span: Span) -> bool:
    """Whether the kernel can compute a span: it has the aggregations, and instants are too many for the direct way."""
    rows = plan.rows
    if not isinstance(rows, WindowedRows) or is_direct(plan, rows, span):
        return False
    return all(aggregate.function in SLID_FUNCTIONS and not aggregate.session for aggregate in rows.aggregates)


def compile_tiles(plan: GroupPlan, span: Span, tiles: str | None = None) -> str:
    """The statement whose result are the tiles of a span, all of an entity's in one partition, one after the other.

    Args:
        tiles: a statement whose result are the tiles in that order, if they are there already (`spark_shared`).
    """
    steps = steps_to_tiles(plan, _windowed(plan), span, tiles)
    return f"{with_steps(steps)}\nSELECT *\nFROM tiles\n{'' if tiles is not None else by_entity(plan)}"


def sliding_of(plan: GroupPlan, span: Span) -> Sliding:
    """What the kernel is to do with the tiles of a span."""
    rows = _windowed(plan)
    lowered = zip(rows.aggregates, lower_aggregates(rows.aggregates), strict=True)
    return Sliding(
        keys=plan.keys,
        slide=plan.slide,
        after=span.after,
        until=span.until,
        first=span.first,
        every=plan.group.emits == "snapshot",
        hits=tuple((window, hits_column(window)) for window in rows.windows),
        features=tuple(
            SlidFeature(aggregate.name, aggregate.function, aggregate.window, tuple(feature.columns))
            for aggregate, feature in lowered
        ),
    )


def vector_columns(plan: GroupPlan) -> str:
    """The columns of the kernel's result as Spark writes a schema."""
    features = [f"{quote(feature.name)} {spark_type(feature.dtype)}" for feature in plan.group.features]
    keys = [f"{quote(key.name)} {spark_type(key.dtype)}" for key in plan.schema.keys]
    return ", ".join([*keys, "t bigint", *features])


def _windowed(plan: GroupPlan) -> WindowedRows:
    assert isinstance(plan.rows, WindowedRows)
    return plan.rows
