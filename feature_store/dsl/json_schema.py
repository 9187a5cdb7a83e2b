"""The JSON form of definitions as a JSON schema, for tools in other languages; published in docs/."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from feature_store.dsl.entity import Entity
from feature_store.dsl.group import FeatureGroup
from feature_store.dsl.source import BatchSource, StreamSource
from feature_store.dsl.view import FeatureView

_DECLARED = (FeatureGroup, FeatureView, Entity, BatchSource, StreamSource)


def definitions_schema() -> dict[str, Any]:
    """The schema of what `to_json` writes and `from_json` reads; the parts of definitions are in its `$defs`."""
    adapters = [(kind, "serialization", TypeAdapter(kind)) for kind in _DECLARED]
    references, parts = TypeAdapter.json_schemas(
        adapters,  # type: ignore[arg-type]
        title="Definitions of a feature store",
        description="One group, view, entity or source, as to_json() of the Python value writes it.",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **{name: parts[name] for name in ("title", "description")},
        "anyOf": [references[kind, "serialization"] for kind in _DECLARED],
        "$defs": parts["$defs"],
    }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(definitions_schema(), indent=2, ensure_ascii=False) + "\n"
