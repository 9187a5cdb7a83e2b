"""What the extension module has, for those who call it. Where a function gives None, the Python path has to do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, overload

from feature_store.dtypes import DType

_KINDS = {kind: i for i, kind in enumerate(("STRING", "INT", "FLOAT", "BOOL", "TIMESTAMP", "EMBEDDING", "LIST"))}

TypeNumbers = tuple[int, int, int]
"""A type: its kind, that of a list's items, the size of an embedding."""


def type_numbers(dtype: DType) -> TypeNumbers:
    """A type as the core has it."""
    return _KINDS[dtype.kind], 0 if dtype.item is None else _KINDS[dtype.item.kind], dtype.size or 0


class NativeRows(Protocol):
    """The checked rows of some entities, in the place of `EntityRows`.

    An item is a row as it is stored, as `msgspec.Raw`, defaults filled in.

    Attributes:
        rows: itself.
        statuses: of each entity its status.
        present: how many are PRESENT.
        timestamps: of each entity its feature_timestamp (microseconds).
        overflows: the places of entities on which a feature does not fit 64 bits, as they were set.
    """

    rows: Any
    statuses: list[Any]
    present: int
    timestamps: list[int | None]
    overflows: dict[str, list[int]]

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def decoded(self) -> list[tuple[Any, ...]]:
        """The rows as Python's values, as they are stored."""

    def suspects(self) -> list[int]:
        """The places of entities on which a limited feature is NULL."""


class NativeGroup(Protocol):
    """Reads the values of one group."""

    def learn(self, layouts: Sequence[tuple[int, Sequence[TypeNumbers], Sequence[int], bool]]) -> None:
        """Takes all layouts over: number, types, of each field its place in the definition (or -1), whether it is that
        of the definition."""

    def decode(self, values: Sequence[Any], now: int) -> NativeRows | None:
        """The rows of the entities with these values; None if one cannot be read, or has a layout that is not known."""


NativeParts = Sequence[tuple[Any, Sequence[int] | None, bool, int | None]]
"""Of each group its rows, of each row of the answer the place of its entity, whether it is stale, updated_at."""


class NativeForm(Protocol):
    """Writes the answers of one view; `more` are further members, JSON after a comma each, or MessagePack."""

    def columns(self, instant: int, size: int, parts: NativeParts, more: bytes, /) -> bytes | None:
        """A columnar answer of so many rows."""

    def records(
        self, instant: int, size: int, parts: NativeParts, more: bytes, keys: Sequence[Sequence[Any]], /
    ) -> bytes | None:
        """Records; `keys` has the values of each key column."""

    def packed(self, instant: int, size: int, parts: NativeParts, more: bytes, count: int, /) -> bytes | None:
        """A MessagePack answer; `more` are `count` members."""


NodePart = tuple[int, bytes, int, bytes]
"""A node's number, its commands as Redis takes them, how many they are; of each how many keys it has, and their places
among all (four bytes each, as this machine has them)."""


class NativeCommand(Protocol):
    """The keys of a round, in the order of the command, made when they are asked for.

    Attributes:
        packed: the MGET of them as Redis takes it.
    """

    packed: bytes

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __iter__(self) -> Iterator[str]: ...

    def count(self, keys: int, /) -> int:
        """How many entities there are of one set of key columns."""

    def places(self, keys: int, /) -> list[int] | None:
        """Of each row the place of its entity among them, -1 if it has none; None if row i has entity i."""

    def by_node(self, owners: bytes, /) -> tuple[list[NodePart], bool] | None:
        """The commands (GET, or MGET for several keys of a slot) of each node of a cluster, and whether somebody has
        every slot that is needed.

        Args:
            owners: of each slot the number of its node, two bytes as this machine has them; 0xffff is nobody.
        """


class NativeCommandForm(Protocol):
    """Makes the commands of one view."""

    def command(self, columns: Sequence[Sequence[Sequence[Any]]], size: int, /) -> NativeCommand | None:
        """The command for so many rows: of each set of key columns the values of each column."""


class NativeHead(Protocol):
    """The head of a plain GET of vectors, whose texts need no decoding.

    Attributes:
        key: path, Authorization, Accept and X-Model, each before a newline (empty: it is not there), then the query
            without the values of what is given: all parameters but `features` and `shape`. Requests with the same key
            differ in what is given and in their ids only.
        request_id: that the caller gave.
    """

    key: bytes
    request_id: bytes | None

    def words(self, place: int, /) -> list[str]:
        """What commas separate in the value of a parameter, by its place among those that are given."""


class NativeDirectForm(Protocol):
    """Makes the commands of requests of one form, and writes their answers."""

    def command(self, head: NativeHead, /) -> NativeCommand | None:
        """The command for the rows of a request; None if they are too many, or of another type than the keys."""

    def answer(
        self,
        head: NativeHead,
        command: NativeCommand,
        values: Sequence[Any],
        instant: int,
        lines: bytes,
        request_id: bytes,
        end: bytes,
        /,
    ) -> tuple[bytes, Sequence[NativeRows], Sequence[int | None]] | None:
        """The answer as it is sent, of each group its rows, and up to when it is complete.

        Args:
            lines: the head of the answer up to the request's id.
            end: further headers.
        """


class NativeCore(Protocol):
    """The extension module."""

    def read_head(self, data: bytes, /) -> NativeHead | None:
        """The head of a request that is a plain GET, and nothing else has come with it; None if it is any other."""

    def keys_by_node(self, keys: Sequence[str], owners: bytes, /) -> tuple[list[NodePart], bool] | None:
        """As `NativeCommand.by_node`, for any keys."""

    def put_replies(self, found: list[Any], replies: Sequence[Any], places: bytes, /) -> list[int]:
        """Puts the replies of a node into their places; gives the numbers of commands that were refused."""

    def split_vectors(
        self, vectors: Sequence[Any], width: int, token: bytes | None, /
    ) -> tuple[list[list[Any]], list[int]] | None:
        """The parts of vectors (bytes), those of each group together, and the places of vectors that do not begin with
        a token, if there is one; None if one is no vector. What is no bytes stands for all parts."""

    def take_powers(self, powers: bytes, /) -> None:
        """Takes the 128 leading bits of 10**-292 to 10**324 over; without them it writes no floats."""

    def Group(  # noqa: N802 - a type
        self,
        features: Sequence[tuple[TypeNumbers, bytes, Any, bool]],
        ttl: int | None,
        statuses: Sequence[Any],
        unreachable: object,
        raw: type,
        /,
    ) -> NativeGroup:
        """For features: type, default as MessagePack, default, whether NULL may mean that it does not fit 64 bits."""

    def CommandForm(  # noqa: N802 - a type
        self, first: Sequence[bytes], keys: Sequence[Sequence[TypeNumbers]], groups: Sequence[tuple[bytes, int]], /
    ) -> NativeCommandForm:
        """Keys to read first; the types of each set of key columns; of each group its keys' prefix and set."""

    def DirectForm(  # noqa: N802 - a type
        self,
        command: NativeCommandForm,
        sets: Sequence[Sequence[int]],
        form: NativeForm,
        shape: int,
        keys: Sequence[tuple[int, TypeNumbers]],
        groups: Sequence[tuple[NativeGroup, int]],
        more: bytes,
        more_count: int,
        /,
    ) -> NativeDirectForm:
        """For requests of one view.

        Args:
            command: which first asks for `last_updated` of each group, then for the groups in their order.
            sets: of each set of key columns the places of their parameters.
            shape: 0 columns, 1 records, 2 MessagePack.
            keys: of each key column of the view the place of its parameter, and its type.
            groups: of each group its freshness, too, in microseconds.
            more: further members, and how many, as for `NativeForm.packed`.
        """

    def Form(  # noqa: N802 - a type
        self,
        view: bytes,
        features: bytes,
        packed_view: bytes,
        keys: Sequence[bytes],
        parts: Sequence[tuple[bytes, bytes, bytes, bool, Sequence[tuple[int, bool, bytes]]]],
        /,
    ) -> NativeForm:
        """All bytes are JSON, or MessagePack where they are packed.

        Args:
            view: its identity.
            features: the array of their names.
            keys: the names of key columns.
            parts: of each group its name, the same and its features' names as MessagePack, whether rows are answered as
                they are, and the features: place in the group, whether it is hidden, name.
        """
