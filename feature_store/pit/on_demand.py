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


class OnDemandFeatures:
    """Computes the on-demand features of a view for labels; made once, used from any thread."""

    def __init__(self, view: ViewSchema) -> None:
        self._view = view
        self._kernel = OnDemandKernel(view)

    def after(self, labels: pa.Table, joined: Joined) -> Joined:
        """The joined features and, after them, the on-demand features: request_time is the label's time.

        Args:
            labels: label rows as `open_labels` gives them, with the view's request values.

        Raises:
            InputError: naming the feature, if a function fails.
        """
        if not self._view.on_demand:
            return joined
        columns = {name: _source(name, labels, joined.features) for name in self._kernel.inputs}
        computed = self._kernel.compute(
            {
                name: pl.Series(name, column).cast(polars_type(self._kernel.inputs[name]))
                for name, column in columns.items()
            }
        )
        features = joined.features
        for column in self._view.on_demand:
            values = computed.values[column.name].to_arrow().cast(arrow_type(column.dtype))
            features = features.append_column(column.name, pa.chunked_array([values], arrow_type(column.dtype)))
        return Joined(features, joined.missing | {name: computed.missing[name] for name in computed.values})


def _source(name: str, labels: pa.Table, features: pa.Table) -> pa.ChunkedArray:
    if name == REQUEST_TIME:
        return labels[LABEL_TIMESTAMP]
    return features[name] if name in features.column_names else labels[name]
