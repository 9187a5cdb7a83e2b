"""The on-demand features of a view: every input resolved, every expression typed, every mistake named."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from feature_store.dsl.on_demand import OnDemand
from feature_store.dsl.view import FeatureView
from feature_store.dtypes import TIMESTAMP, DType
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.clock import REQUEST_TIME
from feature_store.plan.cycles import cycles_of
from feature_store.plan.expression_nodes import finite
from feature_store.plan.expressions import columns_in, parse_expression
from feature_store.plan.naming import RESERVED, is_snake_case
from feature_store.plan.on_demand_function import OnDemandError, function_expression, import_function
from feature_store.plan.problems import RefusedError
from feature_store.plan.schema import OnDemandColumn, ViewedSchema, ViewSchema

_SCALARS = ("STRING", "INT", "FLOAT", "BOOL", "TIMESTAMP")


def plan_on_demand(
    view: FeatureView, groups: Sequence[ViewedSchema], packages: Collection[str]
) -> tuple[OnDemandColumn, ...]:
    """The on-demand features of a view over its groups.

    Args:
        packages: those that functions may be imported from.

    Raises:
        DefinitionErrors: with everything that is wrong in its request values and on-demand features.
    """
    planner = _Planner(view, groups, packages)
    planner.check_request()
    planner.check_cycles()
    on_demand = tuple(column for column in map(planner.plan, view.on_demand) if column is not None)
    planner.check_use(on_demand)
    if planner.errors:
        raise DefinitionErrors(planner.errors)
    return on_demand


def on_demand_lineage(view: ViewSchema) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each on-demand feature the stored features it depends on, as pairs of group id and name, sorted."""
    stored = {
        feature.name: {(role.group.id, origin.name)}
        for role in view.groups
        for feature, origin in zip(role.features, role.group.features, strict=True)
    }
    found: dict[str, set[tuple[str, str]]] = {}
    for column in view.on_demand:
        origins = (stored.get(name, found.get(name, set())) for name in column.inputs)
        found[column.name] = set().union(*origins)
    return {name: tuple(sorted(origins)) for name, origins in found.items()}


class _Planner:
    """Collects the errors of one view; `known` are the columns that the next on-demand feature may read."""

    def __init__(self, view: FeatureView, groups: Sequence[ViewedSchema], packages: Collection[str]) -> None:
        self.view = view
        self.packages = packages
        self.errors: list[DefinitionError] = []
        self.known: dict[str, DType] = {}
        self.taken: dict[str, str] = {}
        self.circular: set[str] = set()
        for key in (key for group in groups for key in group.keys):
            self.know(key.name, key.dtype, "a key of the view")
        for group in groups:
            for feature in group.features:  # which may hold the key of another group
                self.know(feature.name, feature.dtype, f"a feature of {group.id}")
        self.known[REQUEST_TIME] = TIMESTAMP

    def know(self, name: str, dtype: DType, what: str) -> None:
        self.known[name] = dtype
        self.taken[name] = what

    def refuse(self, code: str, message: str, remedy: str, part: str, place: str = "") -> None:
        place = place or self.view.place
        where = f"{place}: view {self.view.id}, {part}" if place else f"view {self.view.id}, {part}"
        self.errors.append(DefinitionError(message, where=where, remedy=remedy, code=code))

    def check_request(self) -> None:
        for name, dtype in self.view.request.items():
            part = f"request value {name}"
            self._check_name(name, part)
            if dtype.kind not in _SCALARS:
                self.refuse("type", f"a request value cannot be {dtype}", f"use one of {', '.join(_SCALARS)}", part)
            self.know(name, dtype, "a request value")

    def check_cycles(self) -> None:
        places = {feature.name: feature.place for feature in self.view.on_demand}
        expressions = {f.name: f.expression for f in self.view.on_demand if f.expression and f.name not in self.taken}
        for cycle in cycles_of(expressions):
            self.circular |= set(cycle)
            self.refuse("cycle", f"{' reads '.join([*cycle, cycle[0]])}: none of them can be computed first",
                        "compute one of them from other columns", f"on-demand feature {cycle[0]}",
                        places[cycle[0]])  # fmt: skip

    def plan(self, feature: OnDemand) -> OnDemandColumn | None:
        """The feature resolved, or None after its errors were noted."""
        part, place, errors = f"on-demand feature {feature.name}", feature.place, len(self.errors)
        self._check_name(feature.name, part, place)
        if feature.dtype.kind not in _SCALARS:
            self.refuse("type", f"it cannot be {feature.dtype}", f"use one of {', '.join(_SCALARS)}", part, place)
        elif not feature.dtype.accepts(feature.default):
            self.refuse("default", f"the default {feature.default!r} is not a value of {feature.dtype}",
                        f"give a default of type {feature.dtype}, or none", part, place)  # fmt: skip
        column = None
        try:
            if feature.name not in self.circular:
                column = self._function(feature) if feature.expression is None else self._expression(feature)
        except RefusedError as error:
            self.refuse(error.code, str(error), self._or_before(feature, error.remedy), part, place)
        self.know(feature.name, feature.dtype, "an on-demand feature")
        return column if len(self.errors) == errors else None

    def check_use(self, on_demand: Sequence[OnDemandColumn]) -> None:
        """A request value that nothing reads would be asked of every caller for nothing."""
        if self.errors:
            return
        read = {name for column in on_demand for name in column.inputs}
        for name in self.view.request:
            if name not in read:
                self.refuse("unused-request", "no on-demand feature reads it", "remove it", f"request value {name}")

    def _check_name(self, name: str, part: str, place: str = "") -> None:
        if not is_snake_case(name):
            self.refuse("name", f"the name {name!r} is not snake_case", "use lower case letters, digits and _", part,
                        place)  # fmt: skip
        if name in RESERVED:
            self.refuse("reserved-name", f"{name!r} is a reserved name", "choose another name", part, place)
        elif name in self.taken:
            self.refuse("duplicate-name", f"the name {name!r} is that of {self.taken[name]}", "choose another name",
                        part, place)  # fmt: skip

    def _expression(self, feature: OnDemand) -> OnDemandColumn:
        assert feature.expression is not None
        expression = parse_expression(feature.expression, self.known)
        if expression.dtype != feature.dtype:
            message = f"it gives {expression.dtype}, dtype says {feature.dtype}"
            raise OnDemandError("type", message, f"declare dtype={expression.dtype}")
        return OnDemandColumn(
            name=feature.name,
            dtype=feature.dtype,
            default=feature.default,
            description=feature.description,
            inputs=tuple(sorted(expression.columns)),
            expression=finite(expression),
        )

    def _function(self, feature: OnDemand) -> OnDemandColumn:
        name = str(feature.function)
        function = import_function(name, feature.code, self.packages)
        found = function_expression(function, self.known, feature.dtype)
        return OnDemandColumn(
            name=feature.name,
            dtype=feature.dtype,
            default=feature.default,
            description=feature.description,
            inputs=found.inputs,
            function=name,
            code=feature.code,
            polars=found.value,
            polars_overflow=found.overflow,
        )

    def _or_before(self, feature: OnDemand, remedy: str) -> str:
        """The remedy, with the one thing it cannot know: that a name may be that of a later on-demand feature."""
        names = [other.name for other in self.view.on_demand]
        reads = columns_in(feature.expression or "")
        found = [name for name in names[names.index(feature.name) + 1 :] if name in reads]
        return f"{remedy}; declare {found[0]} before it" if found else remedy
