"""The JSON form of definitions: what is written is read back as the same value, and fits the published schema."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from feature_store.cli import main
from feature_store.dsl.collect import load_project
from feature_store.dsl.definition import Definition
from feature_store.dsl.feature import Feature
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.json_schema import definitions_schema, schema_text
from tests.unit.dsl import definition_cases as cases

PUBLISHED = Path(__file__).parents[3] / "docs" / "definitions.schema.json"
SCHEMA = Draft202012Validator(definitions_schema())
PART = Draft202012Validator({"$ref": "#/$defs/Feature", "$defs": definitions_schema()["$defs"]})
RANDOM = settings(
    max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def through_json(definition: Definition) -> Any:
    return json.loads(json.dumps(definition.to_json(), allow_nan=False))


def reordered(value: Any) -> Any:
    """JSON with the members of every object the other way round."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def fields_of(definition: Any) -> Any:
    """The very values of a definition, not their JSON form."""
    if dataclasses.is_dataclass(definition):
        return type(definition), [fields_of(getattr(definition, f.name)) for f in dataclasses.fields(definition)]
    if isinstance(definition, tuple | list):
        return [fields_of(item) for item in definition]
    return definition


@RANDOM
@given(cases.definitions)
def test_every_definition_survives_json_and_fits_the_schema(definition: Definition) -> None:
    written = through_json(definition)
    SCHEMA.validate(written)
    copy = type(definition).from_json(written)
    assert (copy, hash(copy)) == (definition, hash(definition))
    assert fields_of(copy) == fields_of(definition)
    again = type(definition).from_json(reordered(written))
    assert (again, hash(again)) == (definition, hash(definition))


@RANDOM
@given(cases.features(), cases.features(), st.sampled_from(dataclasses.fields(Feature)))
def test_features_are_equal_when_all_their_values_are(one: Feature, other: Feature, field: Any) -> None:
    changed = dataclasses.replace(one, **{field.name: getattr(other, field.name)})
    PART.validate(through_json(changed))
    assert (changed == one) == (repr(fields_of(changed)) == repr(fields_of(one)))
    assert changed != one or hash(changed) == hash(one)


def test_the_shop_fits_the_schema() -> None:
    project = load_project("feature_defs")
    for definition in (*project.groups, *project.views):
        SCHEMA.validate(through_json(definition))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 1},
        {"colour": "red"},
        {"version": "1"},
        {"ttl": "3 days"},
        {"entity": {"name": "user"}},
        {"entity": {"name": "user", "join_key": "user_id", "dtype": "TEXT"}},
        {"features": [{"name": "x", "dtype": "LIST(LIST(INT))"}]},
        {"features": [{"name": "x", "dtype": "INT", "window": "session"}]},
        {"refresh": "weekly"},
        {"source": {"name": "s"}},
    ],
)
def test_what_does_not_fit_the_schema(wrong: dict[str, Any]) -> None:
    good = load_project("feature_defs").group("user_orders@1").to_json()
    assert SCHEMA.is_valid(good)
    assert not SCHEMA.is_valid({**good, **wrong})


def test_the_published_schema_is_the_schema_in_force() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PUBLISHED.write_text(schema_text())
    assert PUBLISHED.read_text() == schema_text()
    Draft202012Validator.check_schema(definitions_schema())
    assert CliRunner().invoke(main, ["schema"]).stdout == schema_text()


def test_definitions_cannot_be_changed() -> None:
    group = load_project("feature_defs").group("user_orders@1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        group.owner = "team:other"  # type: ignore[misc]
    assert group == FeatureGroup.from_json(group.to_json())
