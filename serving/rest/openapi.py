"""The OpenAPI document of the routes, and a page of it for people. Examples work against the demo."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from pydantic import TypeAdapter

from feature_store.dsl.group import FeatureGroup
from feature_store.online.packed import PackedAnswer
from serving.rest.answers import ARROW, JSON, MSGPACK, ColumnarAnswer, RecordsAnswer
from serving.rest.problems import PROBLEM_JSON, Problem
from serving.rest.requests import MOST_ROWS, OnlineBody

_SCHEMAS = (ColumnarAnswer, RecordsAnswer, PackedAnswer, OnlineBody, Problem)
_REFERENCE = "#/components/schemas/{name}"
_SHAPE = "columns, records (for people), msgpack or arrow; Accept says it, too"
_CUT: Mapping[str, str] = {"limit": "items of one answer", "offset": "the first of them"}
_FEATURES = "names of the features that are wanted, separated by commas; all unless given"


@dataclass(frozen=True)
class RouteDoc:
    """What is said of a route.

    Attributes:
        parameters: of the query, and what each is.
        example: path and query of a request.
        body: of that request; None if it has none.
        form: the schema of a body.
        created: whether 201 is an answer, too.
        vectors: whether it answers with vectors.
    """

    method: str
    path: str
    summary: str
    example: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: str = "OnlineBody"
    created: bool = False
    vectors: bool = False


_RETURNS = {
    "name": "user_returns",
    "entity": "user",
    "source": "order_events",
    "owner": "team:returns",
    "where": "status = 'returned'",
    "features": [
        {"name": "user_return_count_30d", "agg": {"function": "count"}, "window": "30d", "dtype": "INT", "default": 0}
    ],
}
_RANKING = {"rows": [{"user_id": "00042", "product_id": "p0007"}, {"user_id": "00042", "product_id": "p0008"}]}
ROUTES = (
    RouteDoc(
        "get", "/feature-groups/{id}/online", f"The newest row of each entity, of {MOST_ROWS} at most",
        "/feature-groups/user_orders/online?entity_ids=00042,00043",
        {"entity_ids": "ids, separated by commas; the parts of a composite key by |",
         "entity_id": "one id as it is, with commas if it has some; may be given several times",
         "features": _FEATURES, "shape": _SHAPE},
        vectors=True,
    ),
    RouteDoc(
        "post", "/feature-groups/{id}/online", "The same, with rows of key columns in the body",
        "/feature-groups/user_orders@1/online", {"shape": _SHAPE}, {"rows": [{"user_id": "00042"}]}, vectors=True,
    ),
    RouteDoc(
        "get", "/feature-views/{id}/online", "Vectors of a view; a parameter for each key column and request value",
        "/feature-views/ranking/online?user_id=00042&product_id=p0007,p0008",
        {"features": _FEATURES, "shape": _SHAPE}, vectors=True,
    ),
    RouteDoc(
        "post", "/feature-views/{id}/online", "Vectors of a view: rows of key columns, and request values for all rows",
        "/feature-views/ranking@1/online", {"shape": _SHAPE}, {**_RANKING, "request": {}}, vectors=True,
    ),
    RouteDoc(
        "get", "/models/{name}/online", "Vectors of the view version that a model is recorded with",
        "/models/ranker/online?user_id=00042&product_id=p0007", {"features": _FEATURES, "shape": _SHAPE}, vectors=True,
    ),
    RouteDoc(
        "post", "/models/{name}/online", "The same, with rows in the body", "/models/ranker/online",
        {"shape": _SHAPE}, _RANKING, vectors=True,
    ),
    RouteDoc(
        "get", "/feature-groups", "Recorded groups", "/feature-groups?q=order",
        {"q": "a text in any field", "owner": "", "entity": "", "status": "ACTIVE, DEPRECATED or RETIRED", **_CUT},
    ),
    RouteDoc(
        "post", "/feature-groups", "Records a group given as JSON, if it is right and breaks nothing",
        "/feature-groups?plan=true",
        {"plan": "true: say what would change, and change nothing"}, _RETURNS, form="PostedGroup", created=True,
    ),
    RouteDoc("get", "/feature-groups/{id}", "One group: definition, features, readers", "/feature-groups/user_orders"),
    RouteDoc("get", "/feature-groups/{id}/versions", "All versions of a group", "/feature-groups/user_orders/versions"),
    RouteDoc("get", "/feature-groups/{id}/usage", "The models that read it", "/feature-groups/user_orders/usage"),
    RouteDoc(
        "get", "/feature-views", "Recorded views", "/feature-views?owner=team:recommendations",
        {"q": "a text in any field", "owner": "", "status": "ACTIVE, DEPRECATED or RETIRED", **_CUT},
    ),
    RouteDoc("get", "/feature-views/{id}", "One view", "/feature-views/ranking"),
    RouteDoc("get", "/feature-views/{id}/versions", "All versions of a view", "/feature-views/ranking/versions"),
    RouteDoc("get", "/feature-views/{id}/usage", "The models that read it", "/feature-views/ranking/usage"),
    RouteDoc(
        "get", "/features", "Recorded features", "/features?q=review",
        {"q": "a text in any field", "group": "", "dtype": "", "owner": "", "status": "", **_CUT},
    ),
    RouteDoc("get", "/entities", "Recorded entities", "/entities", _CUT),
    RouteDoc(
        "get", "/lineage/{subject}", "What a feature, group, view, source or column comes from, and what from it",
        "/lineage/user_orders@1/user_order_count_all_time",
    ),
    RouteDoc("get", "/errors/{code}", "What a problem's code means", "/errors/too-many-rows"),
    RouteDoc("get", "/health", "What works and what does not; 200 while it can answer", "/health"),
    RouteDoc("get", "/ready", "200 if requests should be sent here, else 503", "/ready"),
    RouteDoc("get", "/metrics", "Counts and latencies for Prometheus", "/metrics"),
)  # fmt: skip


@cache
def openapi_document() -> dict[str, Any]:
    """The routes as OpenAPI 3.1 describes them."""
    _, schemas = msgspec.json.schema_components(_SCHEMAS, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feature store",
            "version": "1",
            "description": "Feature vectors with the status of every value, and what is recorded. Errors are problem "
            "details (RFC 9457) whose type explains them. Instants are microseconds since the epoch in columns and "
            "MessagePack, RFC 3339 texts in records.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas, **_definition_schemas()}},
    }


def docs_page(server: str) -> str:
    """The routes for people, each with a line to copy.

    Args:
        server: the address that the caller has used, http://host:port.
    """
    sections = "".join(_section(route, server) for route in ROUTES)
    return _PAGE.replace("{sections}", sections)


def _operation(route: RouteDoc) -> dict[str, Any]:
    in_path = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in in_path
    ]
    for name, description in route.parameters.items():
        schema = {"type": "integer", "minimum": 0} if name in _CUT else {"type": "string"}
        parameters.append({"name": name, "in": "query", "description": description, "schema": schema})
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": _content(route)},
            "default": {"description": "a problem", "content": {PROBLEM_JSON: {"schema": _reference("Problem")}}},
        },
    }
    if route.body is not None:
        body = {"schema": _reference(route.form), "example": route.body}
        packed = {MSGPACK: {"schema": body["schema"]}} if route.vectors else {}
        operation["requestBody"] = {"required": True, "content": {JSON: body, **packed}}
    if route.created:
        operation["responses"]["201"] = {"description": "recorded; Location says where", "content": {JSON: {}}}
    return operation


def _definition_schemas() -> dict[str, Any]:
    """The schemas of definitions; of a posted group also with the names of recorded entities and sources in place."""
    template = _REFERENCE.replace("{name}", "{model}")
    posted = TypeAdapter(FeatureGroup).json_schema(ref_template=template, mode="serialization")
    schemas: dict[str, Any] = posted.pop("$defs")
    fields = dict(posted["properties"])
    sources = {**fields["sources"], "items": _or_name(fields["sources"]["items"])}
    fields |= {"entity": _or_name(fields["entity"]), "source": _or_name(fields["source"]), "sources": sources}
    return {**schemas, "PostedGroup": {**posted, "properties": fields}}


def _or_name(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "string", "description": "the name of a recorded one"}]}


def _content(route: RouteDoc) -> dict[str, Any]:
    if not route.vectors:
        return {"text/plain" if route.path == "/metrics" else JSON: {}}
    shapes = {"anyOf": [_reference("ColumnarAnswer"), _reference("RecordsAnswer")]}
    return {JSON: {"schema": shapes}, MSGPACK: {"schema": _reference("PackedAnswer")}, ARROW: {}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _section(route: RouteDoc, server: str) -> str:
    words = ["curl", "-s", f"{server}{route.example}"]
    if route.body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(route.body)]
    parameters = "".join(
        f"<li><code>{html.escape(name)}</code> {html.escape(description)}</li>"
        for name, description in route.parameters.items()
    )
    return (
        f"<section><h2><b>{route.method.upper()}</b> {html.escape(route.path)}</h2><p>{html.escape(route.summary)}</p>"
        f"{f'<ul>{parameters}</ul>' if parameters else ''}<pre>{html.escape(shlex.join(words))}</pre></section>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Feature store: routes</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
h2 { font: 600 1rem/1.5 ui-monospace, monospace; margin: 2rem 0 0; border-top: 1px solid #ddd; padding-top: 1rem }
h2 b { color: #0a6; display: inline-block; min-width: 3.5rem }
pre { background: #f5f5f5; padding: .75rem; overflow-x: auto; border-radius: .25rem }
p, ul { margin: .25rem 0 } code { color: #06c }
</style></head><body>
<h1>Feature store</h1>
<p>Vectors with the status of every value, and what is recorded. The same as <a href="/openapi.json">OpenAPI</a>.
An error is a problem with a <code>code</code>; <code>/errors/{code}</code> explains it. A version may be pinned
(<code>ranking@1</code>); without one the newest active version answers.</p>
{sections}
</body></html>
"""
