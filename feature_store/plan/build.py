"""From a definition to its logical plan: every reference resolved, every expression typed, every mistake named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import TypeVar

from feature_store.dsl.aggregation import Aggregation
from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView
from feature_store.dtypes import TIMESTAMP, DType
from feature_store.duration import format_duration, parse_duration
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.aggregations import AggregationError, result_type
from feature_store.plan.expression_nodes import Expression, finite
from feature_store.plan.expressions import ExpressionError, parse_condition, parse_expression
from feature_store.plan.fingerprint import fingerprint_of, state_fingerprint_of
from feature_store.plan.naming import (
    LOG_COLUMNS,
    RESERVED,
    TAKEN_COLUMNS,
    TAKEN_KEYS,
    is_owner,
    is_snake_case,
    suggested_name,
)
from feature_store.plan.nodes import Aggregate, GroupPlan, QueriedRows, WindowedRows
from feature_store.plan.query import AS_OF, QueryError, lift_query
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from feature_store.plan.stream import settings_problems, stream_problems
from feature_store.plan.view import plan_view

T = TypeVar("T")
_TAKEN_SOURCES = frozenset(["cleaned", "grid", "answers", "vectors"])  # names of steps in the compiled SQL


def build_plan(group: FeatureGroup) -> GroupPlan:
    """The logical plan of a group.

    Raises:
        DefinitionErrors: with everything that is wrong in the group.
    """
    builder = _Builder(group)
    plan = builder.build()
    if builder.errors or plan is None:
        raise DefinitionErrors(builder.errors)
    return plan


def view_schema(view: FeatureView) -> ViewSchema:
    """The groups of a view as readers see them.

    Raises:
        DefinitionErrors: if one of its groups is wrong, or how it reads them, or one of its on-demand features.
    """
    return plan_view(view, [build_plan(role.group).schema for role in view.viewed])


class _Builder:
    """Collects the errors of one group while it builds the plan."""

    def __init__(self, group: FeatureGroup) -> None:
        self.group = group
        self.errors: list[DefinitionError] = []

    def refuse(self, code: str, message: str, remedy: str, feature: str = "") -> None:
        place = f"{self.group.place}: " if self.group.place else ""
        part = f", feature {feature}" if feature else ""
        where = f"{place}group {self.group.id}{part}"
        self.errors.append(DefinitionError(message, where=where, remedy=remedy, code=code))

    def build(self) -> GroupPlan | None:
        self._check_group()
        self._check_names()
        rows = self._windowed(self.group.all_sources[0]) if self.group.query is None else self._queried()
        derived = self._derived()
        if rows is None or self.errors:
            return None
        schema = self._schema(derived)
        fingerprint = fingerprint_of(self.group, rows, derived)
        if self.group.stream is None or isinstance(rows, QueriedRows):
            return GroupPlan(self.group, schema, rows, derived, fingerprint)
        state = state_fingerprint_of(self.group, rows)
        return GroupPlan(self.group, schema, rows, derived, fingerprint, state)

    def attempt(self, code: str, feature: str, action: Callable[[], T]) -> T | None:
        """The action's result, or None after its error was noted."""
        try:
            return action()
        except (ExpressionError, QueryError) as error:
            self.refuse(code, str(error), error.remedy, feature)
            return None

    def _check_group(self) -> None:
        group = self.group
        if not is_snake_case(group.name):
            self.refuse("name", f"the name {group.name!r} is not snake_case", "use lower case letters, digits and _")
        if not is_owner(group.owner):
            self.refuse("owner", f"owner {group.owner!r} is not an owner", "write 'team:name' or an e-mail address")
        if group.version < 1 or group.version > 9999:
            self.refuse("version", f"version {group.version} is not a version", "count versions from 1")
        if not group.features:
            self.refuse("no-feature", "the group has no features", "add at least one Feature")
        if not 1 <= group.buckets <= 4096:
            self.refuse("buckets", f"buckets={group.buckets} is out of range", "use 1 to 4096")
        try:
            date.fromisoformat(group.start)
        except ValueError:
            self.refuse("start", f"start={group.start!r} is not a date", "write it as 2026-01-31")
        if group.slide_size == 0 or group.partition_size % group.slide_size:
            self.refuse(
                "slide",
                f"slide {group.slide!r} does not divide a {group.refresh} partition",
                f"use a slide that fits a whole number of times into {format_duration(group.partition_size)}",
            )
        self._check_keys()
        self._check_ttl()
        self._check_sources()

    def _check_keys(self) -> None:
        for key, dtype in self.group.entity.keys.items():
            if key in TAKEN_KEYS | TAKEN_COLUMNS:
                self.refuse("reserved-name", f"{key!r} is a reserved name", "rename the join key")
            if dtype.kind not in ("STRING", "INT", "TIMESTAMP"):  # what Iceberg can put into buckets
                self.refuse("key-type", f"a key cannot be {dtype}", "use STRING, INT or TIMESTAMP")

    def _check_sources(self) -> None:
        group, stream = self.group, self.group.stream
        for source in group.all_sources:
            if not is_snake_case(source.name) or source.name in _TAKEN_SOURCES:
                self.refuse("source-name", f"source {source.name!r} cannot have this name",
                            "use another snake_case name")  # fmt: skip
            if stream is None:
                self._check_columns(source)
        if stream is not None:
            self._check_columns(stream)
        for code, message, remedy in settings_problems(group) if stream is None else stream_problems(group, stream):
            self.refuse(code, message, remedy)

    def _check_ttl(self) -> None:
        """A change-emitting row holds until the next change, so a ttl within the window would erase true values."""
        if self.group.emits != "changes" or self.group.ttl_size is None:
            return
        windows = [feature.window for feature in self.group.features if feature.window is not None]
        longest = max((w for w in windows), key=lambda w: float("inf") if w.size is None else w.size, default=None)
        if longest is not None and (longest.size is None or self.group.ttl_size <= longest.size):
            self.refuse(
                "ttl",
                f"ttl {self.group.ttl!r} is not longer than the longest window ({longest}), and rows are written only "
                "when a value changes: values that still hold would expire",
                "use ttl=None, or emit='snapshot' to write every entity at every slide",
            )

    def _check_columns(self, source: BatchSource | StreamSource) -> None:
        where = f"source {source.name!r}"
        time = source.schema.get(source.event_timestamp)
        if time is None:
            self.refuse("event-timestamp", f"{where} has no column {source.event_timestamp!r} in its schema",
                        f"add '{source.event_timestamp}': TIMESTAMP to the schema")  # fmt: skip
        elif time != TIMESTAMP:
            self.refuse("event-timestamp", f"{where}: {source.event_timestamp!r} is {time}, not TIMESTAMP",
                        "declare the event time as TIMESTAMP")  # fmt: skip
        if source.event_id is not None and source.event_id not in source.schema:
            self.refuse("event-id", f"{where} has no column {source.event_id!r}", "add the event id to the schema")
        taken = TAKEN_COLUMNS if isinstance(source, BatchSource) else TAKEN_COLUMNS | LOG_COLUMNS
        for name in sorted(taken & source.schema.keys()):
            self.refuse("reserved-name", f"{where}: {name!r} is a name that the compiled SQL uses itself",
                        "leave the column out, or rename it in the source")  # fmt: skip
        for key, dtype in self.group.entity.keys.items() if self.group.source is not None else ():
            found = source.schema.get(key)
            if found is None:
                self.refuse("join-key", f"{where} has no column {key!r}, the join key of {self.group.entity.name}",
                            "add it to the source's schema")  # fmt: skip
            elif found != dtype:
                self.refuse("join-key", f"{where}: {key!r} is {found}, as the join key of {self.group.entity.name} "
                            f"it is {dtype}", "make the types equal")  # fmt: skip

    def _check_names(self) -> None:
        entity = self.group.entity
        seen: set[str] = set()
        for name in [*(f.name for f in self.group.features), *self.group.derived]:
            if name in seen:
                self.refuse("duplicate-name", f"the name {name!r} is used twice", "give each feature its own", name)
            if name in RESERVED or name in entity.keys:
                self.refuse("reserved-name", f"{name!r} is a reserved name", "choose another name", name)
            seen.add(name)
        for feature in self.group.features:
            suggestion = suggested_name(feature, entity.name)
            if feature.name != suggestion and not feature.rename_ok:
                self.refuse(
                    "feature-name",
                    f"the name {feature.name!r} is not of the form {{entity}}_{{what}}_{{aggregation}}_{{window}}"
                    + (", with the word session for the window" if _is_session(feature) else ""),
                    f"name it {suggestion!r}, or say rename_ok='why'",
                    feature.name,
                )
        for name in self.group.derived:
            if not (is_snake_case(name) and name.startswith(f"{entity.name}_")):
                self.refuse("feature-name", f"the name {name!r} does not start with {entity.name + '_'!r}",
                            f"name it {entity.name + '_' + name!r}", name)  # fmt: skip

    def _windowed(self, source: BatchSource) -> WindowedRows:
        columns: dict[str, DType] = dict(source.schema)
        computed: list[tuple[str, Expression]] = []
        for name, text in self.group.columns.items():
            if name in columns:
                self.refuse("duplicate-name", f"the computed column {name!r} hides a column", "choose another name")
            expression = self.attempt("expression", name, lambda text=text: parse_expression(text, columns))  # type: ignore[misc]
            if expression is not None:
                columns[name] = expression.dtype
                computed.append((name, finite(expression)))
        where = self._condition(self.group.where, columns, "")
        aggregates = [self._aggregate(feature, columns) for feature in self.group.features]
        return WindowedRows(source, tuple(computed), where, tuple(a for a in aggregates if a is not None))

    def _condition(self, text: str | None, columns: Mapping[str, DType], feature: str) -> Expression | None:
        if text is None:
            return None
        return self.attempt("expression", feature, lambda: parse_condition(text, columns))

    def _aggregate(self, feature: Feature, columns: Mapping[str, DType]) -> Aggregate | None:
        function, window = feature.agg, feature.window
        if function is None or window is None:
            self.refuse("no-aggregation", "a feature of a source needs an aggregation and a window",
                        "write Feature(name, agg.count(), window='30d', dtype=INT)", feature.name)  # fmt: skip
            return None
        slide = self.group.slide_size
        if window.size is not None and slide and window.size % slide:
            self.refuse("slide", f"the slide {format_duration(slide)} does not divide the window {window}",
                        "use a window that is a whole number of slides", feature.name)  # fmt: skip
        result = self._result_type(feature.name, function, columns)
        self._check_value_types(feature, result)
        return Aggregate(
            name=feature.name,
            function=function.function,
            dtype=feature.dtype,
            column=function.column,
            by=function.by,
            by_dtype=columns.get(function.by or ""),
            k=function.k,
            q=function.q,
            where=self._condition(feature.where, columns, feature.name),
            window=window.size,
            session=window.session,
        )

    def _result_type(self, feature: str, function: Aggregation, columns: Mapping[str, DType]) -> DType | None:
        """The type the aggregation gives, or None after an error was noted."""
        try:
            return result_type(function, columns)
        except AggregationError as error:
            self.refuse(error.code, str(error), error.remedy, feature)
            return None

    def _check_value_types(self, feature: Feature, result: DType | None) -> None:
        if result is not None and feature.dtype != result:
            self.refuse("type", f"{feature.agg} gives {result}, dtype says {feature.dtype}",
                        f"declare dtype={result}", feature.name)  # fmt: skip
        if not feature.dtype.accepts(feature.default):
            self.refuse("default", f"the default {feature.default!r} is not a value of {feature.dtype}",
                        f"give a default of type {feature.dtype}, or none", feature.name)  # fmt: skip
        bounds = feature.expect
        if bounds is not None and not feature.dtype.is_numeric and (bounds.min is not None or bounds.max is not None):
            self.refuse("expect", f"min and max need a number, the feature is {feature.dtype}",
                        "expect a null_rate only", feature.name)  # fmt: skip
        if bounds is not None and bounds.null_rate is not None and not 0 <= bounds.null_rate <= 1:
            self.refuse("expect", f"null_rate={bounds.null_rate} is not a share", "use 0 to 1", feature.name)

    def _queried(self) -> QueriedRows | None:
        group = self.group
        if group.where or group.columns or group.emits != "snapshot":
            self.refuse("query", "where=, columns= and emit='changes' go with source=, not with query=",
                        "put them into the query")  # fmt: skip
        for feature in group.features:
            if feature.agg is not None or feature.window is not None or feature.where is not None:
                self.refuse("query", "a feature of a query has no aggregation, window or where",
                            "let the query compute the column of this name", feature.name)  # fmt: skip
            self._check_value_types(feature, None)
        assert group.query is not None
        text, names = group.query, {source.name for source in group.sources}
        lifted = self.attempt("query", "", lambda: lift_query(text, names))
        if lifted is None:
            return None
        given = set(lifted.named_selects)
        for name in [*group.entity.keys, *(f.name for f in group.features)]:
            if name not in given:
                self.refuse(
                    "query",
                    f"the query returns no column {name!r}",
                    f"it returns: {', '.join(sorted(given - {AS_OF}))}",
                )
        return QueriedRows(group.sources, text, lifted.sql(dialect="spark"))

    def _derived(self) -> tuple[tuple[str, Expression], ...]:
        features = {feature.name: feature.dtype for feature in self.group.features}
        derived: list[tuple[str, Expression]] = []
        for name, text in self.group.derived.items():
            expression = self.attempt("expression", name, lambda text=text: parse_expression(text, features))  # type: ignore[misc]
            if expression is not None:
                derived.append((name, finite(expression)))
        return tuple(derived)

    def _schema(self, derived: tuple[tuple[str, Expression], ...]) -> GroupSchema:
        group, entity = self.group, self.group.entity
        features = [Column(f.name, f.dtype, f.default, f.description, f.expect) for f in group.features]
        features += [Column(name, e.dtype, description=group.derived[name]) for name, e in derived]
        return GroupSchema(
            name=group.name,
            version=group.version,
            keys=tuple(Column(name, dtype, description=entity.description) for name, dtype in entity.keys.items()),
            features=tuple(features),
            ttl=group.ttl_size,
            availability_delay=parse_duration(group.availability_delay),
            freshness=group.freshness_size,
            buckets=group.buckets,
        )


def _is_session(feature: Feature) -> bool:
    return feature.window is not None and feature.window.session
