"""A view over the schemas of its groups: what each group is read by, what is read of it, and every mistake named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from feature_store.dsl.view import FeatureView
from feature_store.dsl.viewed_group import ViewedGroup
from feature_store.errors import DefinitionError, DefinitionErrors
from feature_store.plan.naming import RESERVED, is_snake_case
from feature_store.plan.on_demand import plan_on_demand
from feature_store.plan.problems import Problem
from feature_store.plan.schema import Column, GroupSchema, ViewedSchema, ViewSchema

_GIVE_PREFIX = "give a role a prefix: keyed_by(…, prefix='…_')"


def plan_view(view: FeatureView, groups: Sequence[GroupSchema], packages: Collection[str]) -> ViewSchema:
    """A view over the schemas of its groups, in their order.

    Args:
        packages: those that functions of on-demand features may be imported from.

    Raises:
        DefinitionErrors: with everything that is wrong in how it reads its groups; if nothing is, with everything that
            is wrong in its request values and on-demand features.
    """
    errors: list[DefinitionError] = []
    viewed: list[ViewedSchema] = []
    for role, group in zip(view.viewed, groups, strict=True):
        problems = list(_role_problems(role, group))
        errors += [_error(view, problem, f", group {role.id}") for problem in problems]
        if not problems:
            viewed.append(_viewed(role, group))
    if not errors:
        errors = [_error(view, problem) for problem in _clashes(view, viewed)]
    if errors:
        raise DefinitionErrors(errors)
    on_demand = plan_on_demand(view, viewed, packages)
    request = tuple(Column(name, dtype) for name, dtype in view.request.items())
    return ViewSchema(view.name, view.version, tuple(viewed), on_demand, request, view.prejoin)


def _error(view: FeatureView, problem: Problem, part: str = "") -> DefinitionError:
    where = f"{view.place}: view {view.id}{part}" if view.place else f"view {view.id}{part}"
    return DefinitionError(problem.message, where=where, remedy=problem.remedy, code=problem.code)


def _viewed(role: ViewedGroup, group: GroupSchema) -> ViewedSchema:
    if role.features is not None:
        columns = {feature.name: feature for feature in group.features}
        group = replace(group, features=tuple(columns[name] for name in role.features))
    return ViewedSchema(group, role.key or (), role.prefix)


def _role_problems(role: ViewedGroup, group: GroupSchema) -> Iterator[Problem]:
    """What is wrong in a role, whatever else the view reads."""
    names = [feature.name for feature in group.features]
    for name, count in Counter(role.features or ()).items():
        if name not in names:
            near = get_close_matches(name, names, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"its features are {', '.join(names)}"
            yield Problem("unknown-feature", f"{group.id} has no feature {name!r}", remedy)
        elif count > 1:
            yield Problem("duplicate-name", f"the feature {name!r} is chosen {count} times", "choose it once")
    if role.key is not None and len(role.key) != len(group.keys):
        keys = ", ".join(key.name for key in group.keys)
        yield Problem(
            "key-count", f"its key is {keys}; keyed_by names {', '.join(role.key)}", "name a column for each of them"
        )
    for name, count in Counter(role.key or ()).items():
        if name in RESERVED:
            yield Problem("reserved-name", f"{name!r} is a reserved name", "key the group by another column")
        elif count > 1:
            yield Problem(
                "duplicate-name", f"the key {name!r} is named {count} times", "name a column for each part of the key"
            )
    if role.prefix and not is_snake_case(f"{role.prefix}x"):
        yield Problem(
            "name", f"the prefix {role.prefix!r} makes no snake_case name", "use lower case letters, digits and _"
        )


def _clashes(view: FeatureView, groups: Sequence[ViewedSchema]) -> Iterator[Problem]:
    """Names that the groups of a view use differently, and keys that lead nowhere."""
    roles = Counter(group.id for group in groups)
    features = Counter(feature.name for group in groups for feature in group.features)
    again = [(name, count) for name, count in roles.items() if count > 1]
    for name, count in again:
        yield Problem("duplicate-name", f"the group {name} is read {count} times", f"read it once, or {_GIVE_PREFIX}")
    for name, count in features.items() if not again else ():
        if count > 1:
            remedy = f"leave one group out, select other features, or {_GIVE_PREFIX}"
            yield Problem("duplicate-name", f"{count} of its groups have a feature {name!r}", remedy)
        elif name in RESERVED:
            yield Problem("reserved-name", f"the feature name {name!r} is reserved", "choose another prefix")
    if not again:
        yield from _key_problems(view, groups)
    schema = ViewSchema(view.name, view.version, tuple(groups), prejoin=view.prejoin)
    if view.prejoin and not schema.prejoined:
        message = "no two of its groups are read by the same key: there is nothing to join"
        if len(schema.named_stores) > 1:
            message = "its groups are in several online stores: their rows cannot be kept together"
        yield Problem("prejoin", message, "leave prejoin=True out")


def _key_problems(view: FeatureView, groups: Sequence[ViewedSchema]) -> Iterator[Problem]:
    """Keys of two types, and keys that are features by mistake, of another type, not selected, or of each other."""
    features = {feature.name: feature.dtype for group in groups for feature in group.features}
    left_out = {f"{role.prefix}{name}": role.id for role in view.viewed if role.features for name in _left_out(role)}
    types: dict[str, set[str]] = {}
    for role, group in zip(view.viewed, groups, strict=True):
        for key in group.keys:
            name, dtype = key.name, features.get(key.name)
            types.setdefault(name, set()).add(str(key.dtype))
            if role.key is None and dtype is not None:
                remedy = f"rename the feature; if it holds the key of {group.id}, write keyed_by({name!r})"
                yield Problem("duplicate-name", f"{name!r} is a key and a feature", remedy)
            elif dtype is not None and dtype != key.dtype:
                message = f"{group.id} is keyed by {key.dtype}, the feature {name!r} is {dtype}"
                yield Problem("key-type", message, f"key it by a feature of type {key.dtype}")
            elif role.key is not None and name in left_out:
                message = f"{group.id} is keyed by {name!r}, which is not selected"
                yield Problem("unknown-feature", message, f"select it too, of {left_out[name]}")
    for name, found in types.items():
        if len(found) > 1:
            yield Problem("key-type", f"the key {name!r} is {' and '.join(sorted(found))}", "make the entities agree")
    readable = {i for places in ViewSchema(view.name, view.version, tuple(groups)).rounds for i in places}
    circular = [group.id for i, group in enumerate(groups) if i not in readable]
    if circular:
        message = f"{', '.join(circular)} need features of each other as keys"
        yield Problem("key-cycle", message, "key one of them by a column that readers give")


def _left_out(role: ViewedGroup) -> set[str]:
    """The features of the group that the role does not read."""
    return {*(feature.name for feature in role.group.features), *role.group.derived} - set(role.features or ())
