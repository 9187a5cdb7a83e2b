"""A hash of a table's content: of its values, not of how some library happened to lay them out in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from hashlib import _Hash

_ROWS_AT_ONCE = 1 << 16


def content_hash(table: pa.Table) -> str:
    """SHA-256 over names, types and values in order; chunks, offsets and what lies under NULLs do not matter."""
    return hash_of_columns(table.num_rows, table.schema, ([column] for column in table.columns))


def hash_of_columns(rows: int, schema: pa.Schema, columns: Iterable[Iterable[pa.ChunkedArray]]) -> str:
    """The same of a table that is not in memory: of each of its columns in turn, the pieces."""
    digest = hashlib.sha256(str(rows).encode())
    for field, pieces in zip(schema, columns, strict=True):
        digest.update(f"\0{field.name}\0{field.type}\0".encode())
        for piece in _of_equal_length(pieces, field.type):
            _add(digest, _whole(piece))
    return f"sha256:{digest.hexdigest()}"


def _of_equal_length(pieces: Iterable[pa.ChunkedArray], dtype: pa.DataType) -> Iterator[pa.ChunkedArray]:
    """The same values in pieces of one length, whatever the chunks: each is hashed by its NULLs, then by its values."""
    left = pa.chunked_array([], dtype)
    for piece in pieces:
        joined = pa.chunked_array([*left.chunks, *piece.chunks], dtype)
        whole = len(joined) - len(joined) % _ROWS_AT_ONCE
        yield from (joined.slice(start, _ROWS_AT_ONCE) for start in range(0, whole, _ROWS_AT_ONCE))
        left = joined.slice(whole)
    if len(left):
        yield left


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)


def _add(digest: _Hash, array: pa.Array) -> None:
    missing = pc.is_null(array).to_numpy(zero_copy_only=False)
    digest.update(f"{len(array)}/{array.null_count}".encode())
    if array.null_count:
        digest.update(np.packbits(missing).tobytes())
    dtype = array.type
    if isinstance(array, pa.ExtensionArray):
        _add(digest, array.storage)
    elif pa.types.is_null(dtype):
        return
    elif pa.types.is_dictionary(dtype):
        _add(digest, array.dictionary_decode())
    elif pa.types.is_struct(dtype):
        for field in array.flatten():
            _add(digest, field)
    elif pa.types.is_nested(dtype):
        _add_lists(digest, array)
    elif pa.types.is_boolean(dtype):
        digest.update(pc.fill_null(array, False).to_numpy(zero_copy_only=False).tobytes())
    elif pa.types.is_fixed_size_binary(dtype) or pa.types.is_primitive(dtype) or pa.types.is_decimal(dtype):
        _add_fixed_width(digest, array, missing)
    else:
        _add_text(digest, array)


def _add_fixed_width(digest: _Hash, array: pa.Array, missing: np.ndarray) -> None:
    width = array.type.bit_width // 8
    data = np.frombuffer(array.buffers()[1], np.uint8)
    values = data[array.offset * width : (array.offset + len(array)) * width].reshape(len(array), width)
    if array.null_count:
        values = np.where(missing[:, None], np.uint8(0), values)
    digest.update(np.ascontiguousarray(values).tobytes())


def _add_text(digest: _Hash, array: pa.Array) -> None:
    """Lengths, then the bytes of all values in one run."""
    values = pc.fill_null(array.cast(pa.large_binary()), b"")
    digest.update(pc.binary_length(values).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    if offsets[-1] > offsets[0]:
        digest.update(values.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0])))


def _add_lists(digest: _Hash, array: pa.Array) -> None:
    if pa.types.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    digest.update(lengths.astype("<i8").tobytes())
    _add(digest, array.flatten())
