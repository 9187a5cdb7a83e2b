"""The feature types as Polars holds them, where expressions run on its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_store.dtypes import DType

if TYPE_CHECKING:
    import polars as pl


def polars_type(dtype: DType) -> pl.DataType:
    """The Polars type of a column; it corresponds to `arrow_type`."""
    import polars as pl

    match dtype.kind:
        case "STRING":
            return pl.String()
        case "INT":
            return pl.Int64()
        case "FLOAT":
            return pl.Float64()
        case "BOOL":
            return pl.Boolean()
        case "TIMESTAMP":
            return pl.Datetime("us", "UTC")
        case "EMBEDDING":
            return pl.List(pl.Float32())
        case _:
            assert dtype.item is not None
            return pl.List(polars_type(dtype.item))


def converted(expression: pl.Expr, found: Any, dtype: DType) -> pl.Expr | None:
    """An expression of a Polars type, converted to a scalar feature type where no value can change; else None.

    Integers and floats of any width fit INT and FLOAT, instants of any unit and zone are TIMESTAMPs (to the whole
    microsecond), categories are STRINGs; what is not finite becomes NULL.
    """
    import polars as pl

    wanted = polars_type(dtype)
    match dtype.kind:
        case "INT" if found.is_integer():
            return expression.cast(wanted)
        case "FLOAT" if found.is_float():
            return finite_expression(expression.cast(wanted))
        case "STRING" if found == pl.String or found in (pl.Categorical, pl.Enum):
            return expression.cast(wanted)
        case "BOOL" if found == pl.Boolean:
            return expression
        case "TIMESTAMP" if isinstance(found, pl.Datetime) and found.time_zone is not None:
            return expression.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
        case _:
            return None


def finite_expression(number: pl.Expr) -> pl.Expr:
    """NULL instead of NaN or an infinity; also one zero instead of two (Polars takes x + 0.0 for x)."""
    import polars as pl

    return pl.when(number.is_finite()).then(pl.when(number == 0).then(0.0).otherwise(number))
