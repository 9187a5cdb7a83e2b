"""From a definition to its logical plan: every reference resolved, every expression typed, every mistake named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.source import BatchSource
from feature_store.dsl.view import FeatureView
from feature_store.dtypes import BOOL, INT, DType
from feature_store.errors import DefinitionError, DefinitionErrors, choices
from feature_store.plan.aggregations import result_type
from feature_store.plan.checks import group_problems
from feature_store.plan.cycles import cycles_of
from feature_store.plan.expectations import expectation_problems
from feature_store.plan.expression_nodes import Expression, finite
from feature_store.plan.expressions import columns_in, parse_condition, parse_expression
from feature_store.plan.fingerprint import fingerprint_of, state_fingerprint_of
from feature_store.plan.nodes import Aggregate, GroupPlan, QueriedRows, WindowedRows
from feature_store.plan.overflow import overflow_of
from feature_store.plan.problems import Problem, RefusedError
from feature_store.plan.query import lift_query, parse_query, unknown_columns
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from feature_store.plan.view import plan_view

T = TypeVar("T")


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


def view_schema(view: FeatureView, packages: Collection[str] = DEFINITION_PACKAGES) -> ViewSchema:
    """The groups of a view as readers see them.

    Args:
        packages: those that functions of on-demand features may be imported from.

    Raises:
        DefinitionErrors: if one of its groups is wrong, or how it reads them, or one of its on-demand features.
    """
    return plan_view(view, [build_plan(role.group).schema for role in view.viewed], packages)


class _Builder:
    """Collects the errors of one group while it builds the plan; what reads a `broken` column is not reported again."""

    def __init__(self, group: FeatureGroup) -> None:
        self.group = group
        self.errors: list[DefinitionError] = []
        self.broken: set[str] = set()

    def refuse(self, code: str, message: str, remedy: str, subject: Feature | str = "") -> None:
        self.errors.append(Problem(code, message, remedy, subject).error_in(self.group))

    def build(self) -> GroupPlan | None:
        self.errors += [problem.error_in(self.group) for problem in group_problems(self.group)]
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

    def attempt(self, subject: Feature | str, action: Callable[[], T]) -> T | None:
        """The action's result, or None after its error was noted."""
        try:
            return action()
        except RefusedError as error:
            self.refuse(error.code, str(error), error.remedy, subject)
            return None

    def refuse_cycles(self, expressions: Mapping[str, str], what: str) -> None:
        for cycle in cycles_of(expressions):
            self.broken |= set(cycle)
            self.refuse("cycle", f"{' reads '.join([*cycle, cycle[0]])}: none of them can be computed first",
                        "compute one of them from other columns", f"{what} {cycle[0]}")  # fmt: skip

    def _windowed(self, source: BatchSource) -> WindowedRows:
        columns: dict[str, DType] = dict(source.schema)
        computed: list[tuple[str, Expression]] = []
        self.refuse_cycles({n: text for n, text in self.group.columns.items() if n not in columns}, "computed column")
        for name, text in self.group.columns.items():
            subject = f"computed column {name}"
            if name in columns:
                self.refuse("duplicate-name", f"{name!r} hides a column of the source", "choose another name", subject)
            expression = None if name in self.broken else self._column(text, columns, subject)
            if expression is None:
                self.broken.add(name)
            else:
                columns[name] = expression.dtype
                computed.append((name, finite(expression)))
        where = self._condition(self.group.where, columns, "where")
        aggregates = [self._aggregate(feature, columns) for feature in self.group.features]
        return WindowedRows(source, tuple(computed), where, tuple(a for a in aggregates if a is not None))

    def _column(self, text: str, columns: Mapping[str, DType], subject: str) -> Expression | None:
        """A computed column, typed; it may read those declared before it."""
        reads = columns_in(text)
        if reads & self.broken:
            return None
        if later := [name for name in self.group.columns if name in reads and name not in columns]:
            self.refuse("unknown-column", f"it reads {later[0]!r}, which is computed after it",
                        f"declare {later[0]!r} before it", subject)  # fmt: skip
            return None
        return self.attempt(subject, lambda: parse_expression(text, columns))

    def _condition(self, text: str | None, columns: Mapping[str, DType], subject: Feature | str) -> Expression | None:
        if text is None or (self.broken and columns_in(text) & self.broken):
            return None
        return self.attempt(subject, lambda: parse_condition(text, columns))

    def _aggregate(self, feature: Feature, columns: Mapping[str, DType]) -> Aggregate | None:
        function, window = feature.agg, feature.window
        if function is None or window is None:
            self.refuse("no-aggregation", "a feature of a source needs an aggregation and a window",
                        "write Feature(name, agg.count(), window='30d', dtype=INT)", feature)  # fmt: skip
            return None
        reads_broken = self.broken & {function.column, function.by}
        result = None if reads_broken else self.attempt(feature, lambda: result_type(function, columns))
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
            where=self._condition(feature.where, columns, feature),
            window=window.size,
            session=window.session,
        )

    def _check_value_types(self, feature: Feature, result: DType | None) -> None:
        if result is not None and feature.dtype != result:
            self.refuse("type", f"{feature.agg} gives {result}, dtype says {feature.dtype}",
                        f"declare dtype={result}", feature)  # fmt: skip
        if not feature.dtype.accepts(feature.default):
            self.refuse("default", f"the default {feature.default!r} is not a value of {feature.dtype}",
                        f"give a default of type {feature.dtype}, or none", feature)  # fmt: skip
        for message, remedy in expectation_problems(feature):
            self.refuse("expect", message, remedy, feature)

    def _queried(self) -> QueriedRows | None:
        group = self.group
        if group.where or group.columns or group.emits != "snapshot":
            self.refuse("query", "where=, columns= and emit='changes' go with source=, not with query=",
                        "put them into the query")  # fmt: skip
        for feature in group.features:
            if feature.agg is not None or feature.window is not None or feature.where is not None:
                self.refuse("query", "a feature of a query has no aggregation, window or where",
                            "let the query compute the column of this name", feature)  # fmt: skip
            self._check_value_types(feature, None)
        assert group.query is not None
        text, schemas = group.query, {source.name: source.schema for source in group.sources}
        query = self.attempt("query", lambda: parse_query(text, schemas))
        if query is None:
            return None
        for column, known in unknown_columns(query, schemas):
            self.refuse("unknown-column", f"there is no column {column!r}", choices(column, known), "query")
        returned = set(query.named_selects)
        subjects: list[tuple[str, Feature | str]] = [(key, "query") for key in group.entity.keys]
        for name, subject in [*subjects, *((feature.name, feature) for feature in group.features)]:
            if name not in returned:
                self.refuse("query", f"the query returns no column {name!r}", choices(name, returned), subject)
        deletions = {source.name: self._deletion(source) for source in group.sources}
        stated = {name: condition for name, condition in deletions.items() if condition is not None}
        return QueriedRows(group.sources, text, lift_query(query).sql(dialect="spark"), stated)

    def _deletion(self, source: BatchSource) -> Expression | None:
        return self._condition(source.deleted, source.schema, f"source {source.name}")

    def _derived(self) -> tuple[tuple[str, Expression], ...]:
        features = {feature.name: feature.dtype for feature in self.group.features}
        derived: list[tuple[str, Expression]] = []
        self.broken = set()
        self.refuse_cycles({n: text for n, text in self.group.derived.items() if n not in features}, "derived feature")
        for name, text in self.group.derived.items():
            expression = None if name in self.broken else self._derive(name, text, features)
            if expression is not None:
                derived.append((name, finite(expression)))
        return tuple(derived)

    def _derive(self, name: str, text: str, features: Mapping[str, DType]) -> Expression | None:
        subject = f"derived feature {name}"
        others = sorted(columns_in(text) & self.group.derived.keys() - features.keys())
        if others:
            self.refuse("unknown-column", f"it reads the derived feature {others[0]!r}",
                        f"a derived feature reads features only: write ({self.group.derived[others[0]]}) instead",
                        subject)  # fmt: skip
            return None
        return self.attempt(subject, lambda: parse_expression(text, features))

    def _schema(self, derived: tuple[tuple[str, Expression], ...]) -> GroupSchema:
        group, entity = self.group, self.group.entity
        features = [Column(f.name, f.dtype, f.default, f.description, f.expect, _overflow(f)) for f in group.features]
        features += [
            Column(name, e.dtype, description=group.derived[name], overflow=overflow_of(e)) for name, e in derived
        ]
        return GroupSchema(
            name=group.name,
            version=group.version,
            keys=tuple(Column(name, dtype, description=entity.description) for name, dtype in entity.keys.items()),
            features=tuple(features),
            ttl=group.ttl_size,
            availability_delay=group.availability_delay_size,
            freshness=group.freshness_size,
            buckets=group.buckets,
            cache=group.cache_size,
            online_store=group.online_store,
        )


def _overflow(feature: Feature) -> Expression | None:
    """The sum of no INTs is 0, so one that is NULL does not fit."""
    if feature.agg is None or feature.agg.function != "sum" or feature.dtype != INT:
        return None
    return Expression("is_null", BOOL, (Expression("column", INT, value=feature.name),))
