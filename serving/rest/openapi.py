"""The OpenAPI document of the routes, and a page of it for people. Examples work against the demo."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from pydantic import TypeAdapter

from feature_store.dsl.group import FeatureGroup
from feature_store.online.packed import PackedAnswer
from serving.rest.answers import ARROW, JSON, MSGPACK, ColumnarAnswer, RecordsAnswer
from serving.rest.documents import RECORDED
from serving.rest.problems import PROBLEM_JSON, Problem
from serving.rest.requests import OnlineBody
from serving.rest.route_docs import ROUTES, Parameter, RouteDoc
from serving.rest.training_documents import TrainingBody

_REFERENCE = "#/components/schemas/{name}"
_STATUSES: Mapping[int, str] = {
    200: "the answer",
    201: "recorded; Location says where",
    202: "asked for; Location says where it can be looked at",
    400: "the request is malformed",
    401: "the request has no good token",
    403: "not for this caller",
    404: "not recorded",
    408: "the body does not arrive in time",
    409: "it does not fit what is recorded",
    410: "retired",
    413: "the body is too large",
    415: "the body is of a type that is not read",
    422: "what is asked for does not fit what is read",
    429: "the token asks more often than it may",
    500: "the server made a mistake",
    503: "too many commands wait for Redis, or the registry is needed and is down",
}
_PROBLEM_HEADERS: Mapping[int, str] = {401: "WWW-Authenticate", 429: "Retry-After"}
_TEXT = {"type": "string"}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Request-Id": {"description": "the request's id, which is in the server's log", "schema": _TEXT},
    "WWW-Authenticate": {"description": "Bearer", "required": True, "schema": _TEXT},
    "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 0}},
    "Location": {"description": "the path of what was recorded or asked for", "required": True, "schema": _TEXT},
}
_REQUEST_HEADERS = {
    "X-Request-Id": "the caller's id of the request; a new one unless given",
    "X-Model": "the model that reads, if the token does not say it",
}


@cache
def openapi_document() -> dict[str, Any]:
    """The routes as OpenAPI 3.1 describes them."""
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
        "components": {
            "schemas": {**_answer_schemas(), **_definition_schemas()},
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "fs_…, from ./fs token create"}
            },
        },
    }


def docs_page(server: str) -> str:
    """The routes for people, each with a line to copy.

    Args:
        server: the address that the caller has used, http://host:port.
    """
    sections = "".join(_section(route, server) for route in ROUTES)
    return _PAGE.replace("{sections}", sections)


def _operation(route: RouteDoc) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name_of(route),
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *map(_query_parameter, route.parameters)],
        "responses": {str(status): _response(route, status) for status in sorted(route.statuses)},
        "security": [{"token": []}, {}] if 401 in route.statuses else [],
    }
    if route.is_of_vectors:
        operation["parameters"] += [
            {"name": name, "in": "header", "description": text, "schema": _TEXT}
            for name, text in _REQUEST_HEADERS.items()
        ]
    if route.body is not None:
        body = {"schema": _reference(route.form), "example": route.body}
        packed = {MSGPACK: {"schema": body["schema"]}} if route.takes_packed else {}
        operation["requestBody"] = {"required": True, "content": {JSON: body, **packed}}
    return operation


def _name_of(route: RouteDoc) -> str:
    """The operation's name: "get-feature-groups-id-online"."""
    words = [route.method, *(part.strip("{}") for part in route.path.split("/") if part)]
    return "-".join(words)


def _path_parameters(route: RouteDoc) -> Iterator[dict[str, Any]]:
    given = urlsplit(route.example).path.split("/")
    parts = route.path.split("/")
    for place, part in enumerate(parts):
        if part.startswith("{"):
            example = "/".join(given[place:] if place == len(parts) - 1 else given[place : place + 1])
            schema = {"type": "string", "minLength": 1}
            yield {"name": part[1:-1], "in": "path", "required": True, "schema": schema, "example": example}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    plain = {"name": parameter.name, "in": "query", "description": parameter.description, "schema": parameter.schema}
    return plain if parameter.named else {**plain, "style": "form", "explode": True}


def _response(route: RouteDoc, status: int) -> dict[str, Any]:
    headers = (
        ["Location"] if status in route.located else [_PROBLEM_HEADERS[status]] if status in _PROBLEM_HEADERS else []
    )
    if route.is_of_vectors or status >= 400:
        headers.append("X-Request-Id")
    response: dict[str, Any] = {"description": _STATUSES[status], "content": _content(route, status)}
    if headers and route.path != "/ready":
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return response


def _content(route: RouteDoc, status: int) -> dict[str, Any]:
    if status >= 400 and route.path != "/ready":
        return {PROBLEM_JSON: {"schema": _reference("Problem")}}
    if route.is_of_vectors:
        shapes = {"anyOf": [_reference("ColumnarAnswer"), _reference("RecordsAnswer")]}
        return {JSON: {"schema": shapes}, MSGPACK: {"schema": _reference("PackedAnswer")}, ARROW: {}}
    if route.answer is str:
        return {"text/plain": {"schema": _TEXT}}
    assert route.answer is not None
    return {JSON: {"schema": _reference(route.answer.__name__)}}


def _answer_schemas() -> dict[str, Any]:
    """The schemas of answers and of bodies; a record's details are told beside the record itself."""
    answers = {route.answer for route in ROUTES if route.answer not in (None, str)}
    wanted = [
        ColumnarAnswer,
        RecordsAnswer,
        PackedAnswer,
        OnlineBody,
        TrainingBody,
        Problem,
        *answers,
        *RECORDED.values(),
    ]
    _, schemas = msgspec.json.schema_components(wanted, ref_template=_REFERENCE)
    for detail, record in RECORDED.items():
        schemas[detail.__name__] = {"allOf": [_reference(record.__name__), schemas[detail.__name__]]}
    return dict(sorted(schemas.items()))


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


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _section(route: RouteDoc, server: str) -> str:
    words = ["curl", "-s", *(["-X", "DELETE"] if route.method == "delete" else []), f"{server}{route.example}"]
    if route.body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(route.body)]
    parameters = "".join(
        f"<li><code>{html.escape(each.name)}</code> {html.escape(each.description)}</li>" for each in route.parameters
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
