"""On-demand features of a training set: the kernel of the online read, run on labels and what they were joined with."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from feature_store.compile.on_demand import OnDemandKernel
from feature_store.dtypes import arrow_type
from feature_store.pit.join import Joined
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.clock import REQUEST_TIME
from feature_store.plan.polars_types import polars_type
from feature_store.plan.schema import ViewSchema

_ROWS_AT_A_TIME = 500_000


def with_on_demand(view: ViewSchema, labels: pa.Table, joined: Joined) -> Joined:
    """The joined features and, after them, the on-demand features: request_time is the label's time.

    Args:
        labels: label rows as `read_labels` gives them, with the view's request values.

    Raises:
        InputError: naming the feature, if a function fails.
    """
    if not view.on_demand:
        return joined
    kernel = OnDemandKernel(view)
    columns = {name: _source(name, labels, joined.features) for name in kernel.inputs}
    chunks: dict[str, list[pa.Array]] = {column.name: [] for column in view.on_demand}
    missing = dict.fromkeys(chunks, 0)
    for start in range(0, max(labels.num_rows, 1), _ROWS_AT_A_TIME):
        part = {name: column.slice(start, _ROWS_AT_A_TIME) for name, column in columns.items()}
        computed = kernel.compute(
            {name: pl.Series(name, column).cast(polars_type(kernel.inputs[name])) for name, column in part.items()}
        )
        for column in view.on_demand:
            chunks[column.name].append(computed.values[column.name].to_arrow().cast(arrow_type(column.dtype)))
            missing[column.name] += computed.missing[column.name]
    features = joined.features
    for column in view.on_demand:
        features = features.append_column(column.name, pa.chunked_array(chunks[column.name], arrow_type(column.dtype)))
    return Joined(features, joined.missing | missing)


def _source(name: str, labels: pa.Table, features: pa.Table) -> pa.ChunkedArray:
    if name == REQUEST_TIME:
        return labels[LABEL_TIMESTAMP]
    return features[name] if name in features.column_names else labels[name]
