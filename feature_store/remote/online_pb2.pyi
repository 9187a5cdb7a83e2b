from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SchemaRequest(_message.Message):
    __slots__ = ("kind", "id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VIEW: _ClassVar[SchemaRequest.Kind]
        GROUP: _ClassVar[SchemaRequest.Kind]
    VIEW: SchemaRequest.Kind
    GROUP: SchemaRequest.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: SchemaRequest.Kind
    id: str
    def __init__(self, kind: _Optional[_Union[SchemaRequest.Kind, str]] = ..., id: _Optional[str] = ...) -> None: ...

class SchemaResponse(_message.Message):
    __slots__ = ("schema",)
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    schema: bytes
    def __init__(self, schema: _Optional[bytes] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("id", "keys", "request", "features")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    id: str
    keys: _containers.RepeatedCompositeFieldContainer[Input]
    request: _containers.RepeatedCompositeFieldContainer[Input]
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., request: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("name", "column")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    name: str
    column: Column
    def __init__(self, name: _Optional[str] = ..., column: _Optional[_Union[Column, _Mapping]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("doubles", "ints", "strings", "bools", "timestamps", "embeddings", "nulls", "lengths", "null_items")
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    NULLS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    NULL_ITEMS_FIELD_NUMBER: _ClassVar[int]
    doubles: _containers.RepeatedScalarFieldContainer[float]
    ints: _containers.RepeatedScalarFieldContainer[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    bools: _containers.RepeatedScalarFieldContainer[bool]
    timestamps: _containers.RepeatedScalarFieldContainer[int]
    embeddings: bytes
    nulls: _containers.RepeatedScalarFieldContainer[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    null_items: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, doubles: _Optional[_Iterable[float]] = ..., ints: _Optional[_Iterable[int]] = ..., strings: _Optional[_Iterable[str]] = ..., bools: _Optional[_Iterable[bool]] = ..., timestamps: _Optional[_Iterable[int]] = ..., embeddings: _Optional[bytes] = ..., nulls: _Optional[_Iterable[int]] = ..., lengths: _Optional[_Iterable[int]] = ..., null_items: _Optional[_Iterable[int]] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("id", "request_time", "row_count", "features", "columns", "groups", "masked", "overflowed", "failed", "of_model")
    class FailedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    MASKED_FIELD_NUMBER: _ClassVar[int]
    OVERFLOWED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    OF_MODEL_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_time: int
    row_count: int
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    masked: _containers.RepeatedScalarFieldContainer[str]
    overflowed: _containers.RepeatedCompositeFieldContainer[Overflow]
    failed: _containers.ScalarMap[str, str]
    of_model: bool
    def __init__(self, id: _Optional[str] = ..., request_time: _Optional[int] = ..., row_count: _Optional[int] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., masked: _Optional[_Iterable[str]] = ..., overflowed: _Optional[_Iterable[_Union[Overflow, _Mapping]]] = ..., failed: _Optional[_Mapping[str, str]] = ..., of_model: _Optional[bool] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "type", "dimension", "item")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Feature.Type]
        FLOAT: _ClassVar[Feature.Type]
        INT: _ClassVar[Feature.Type]
        STRING: _ClassVar[Feature.Type]
        BOOL: _ClassVar[Feature.Type]
        TIMESTAMP: _ClassVar[Feature.Type]
        EMBEDDING: _ClassVar[Feature.Type]
        LIST: _ClassVar[Feature.Type]
    UNSPECIFIED: Feature.Type
    FLOAT: Feature.Type
    INT: Feature.Type
    STRING: Feature.Type
    BOOL: Feature.Type
    TIMESTAMP: Feature.Type
    EMBEDDING: Feature.Type
    LIST: Feature.Type
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: Feature.Type
    dimension: int
    item: Feature.Type
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[Feature.Type, str]] = ..., dimension: _Optional[int] = ..., item: _Optional[_Union[Feature.Type, str]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("id", "stale", "updated_at", "statuses", "feature_timestamps")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Group.Status]
        PRESENT: _ClassVar[Group.Status]
        DEFAULTED: _ClassVar[Group.Status]
        EXPIRED: _ClassVar[Group.Status]
        NOT_FOUND: _ClassVar[Group.Status]
        UNAVAILABLE: _ClassVar[Group.Status]
    UNSPECIFIED: Group.Status
    PRESENT: Group.Status
    DEFAULTED: Group.Status
    EXPIRED: Group.Status
    NOT_FOUND: Group.Status
    UNAVAILABLE: Group.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    FEATURE_TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    stale: bool
    updated_at: int
    statuses: _containers.RepeatedScalarFieldContainer[Group.Status]
    feature_timestamps: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, id: _Optional[str] = ..., stale: _Optional[bool] = ..., updated_at: _Optional[int] = ..., statuses: _Optional[_Iterable[_Union[Group.Status, str]]] = ..., feature_timestamps: _Optional[_Iterable[int]] = ...) -> None: ...

class Overflow(_message.Message):
    __slots__ = ("feature", "rows")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    feature: str
    rows: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, feature: _Optional[str] = ..., rows: _Optional[_Iterable[int]] = ...) -> None: ...
