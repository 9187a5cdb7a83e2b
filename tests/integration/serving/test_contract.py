"""Random requests made from the OpenAPI document: every answer is one that the document has for its route."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from feature_store.registry.models import RegisteredModels
from feature_store.registry.store import Registry
from serving.rest.openapi import openapi_document
from tests.conftest import Eventually
from tests.integration.serving.server_process import ServerProcess

SEED = 14
EXAMPLES = 12
"""Of each route, of those that the document allows and of those that it does not."""
OPERATIONS = [(method, path) for path, methods in openapi_document()["paths"].items() for method in methods]
LATER = 501
NAMES = {
    "feature-groups": ["user_facts", "user_facts@1", "item_facts", "pair_facts", "slot_facts", "user_visits@9", "é|☃"],
    "feature-views": ["ranking", "matching@1", "ranking@2", "%00"],
    "models": ["scorer", "scorer@1", "scorer@2", "nobody"],
    "errors": ["no-rows", "no-such-code"],
    "training-datasets": ["nothing", "%00"],
    "lineage": ["user_facts@1/user_count", "ranking@1", "nothing@1", "raw.user_log"],
}
"""What is there, and what is not, by the first part of a path."""
SCORER = ["buyer_user_count", "item_vector", "item_seller"]
PAIR = {"user_id": "a", "item_id": 1}
RANKING = {"rows": [PAIR, {**PAIR, "user_id": "nobody"}], "request": {"budget": 1.0, "asked_at": None}}
TRAINING = {"name": "first", "labels": [{"user_id": "a", "label_timestamp": "2026-01-31T12:00:00Z"}]}
READS: list[tuple[str, str, str, dict[str, Any], Any]] = [
    ("get", "/feature-groups/{id}/online", "user_facts", {"entity_ids": "a,nobody"}, None),
    ("get", "/feature-groups/{id}/online", "slot_facts@1", {"entity_id": "1970-01-01T00:00:00Z|1"}, None),
    ("post", "/feature-groups/{id}/online", "item_facts", {}, {"rows": [{"item_id": 1}, {"item_id": None}]}),
    ("get", "/feature-views/{id}/online", "ranking", {"user_id": "a", "item_id": "0,1", "budget": "2", "asked_at": "0"},
     None),
    ("post", "/feature-views/{id}/online", "ranking@1", {}, RANKING),
    ("post", "/feature-views/{id}/online", "ranking@1", {}, {**RANKING, "features": ["rest", "item_vector"]}),
]  # fmt: skip


@pytest.fixture(scope="module")
def conforms() -> list[Callable[..., Any]]:
    """What is looked at: statuses, content types, bodies and headers are in the document, and nothing is a 5xx."""
    from schemathesis.specs.openapi import checks  # here: it takes a second to import

    return [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
        _is_no_server_error,
    ]


@pytest.fixture(scope="module")
def document() -> Any:
    import schemathesis

    return schemathesis.openapi.from_dict(openapi_document())


@pytest.fixture(scope="module", autouse=True)
def scorer(server: ServerProcess, serving_registry: Registry, eventually: Eventually) -> None:
    """A registered model, with an order of its own."""
    RegisteredModels(serving_registry).register("scorer", 1, "matching@1", SCORER, by="tests")
    eventually(lambda: server.get("/models/scorer").status == 200)


def _is_no_server_error(_: Any, response: Any, case: Any) -> None:
    documented = case.operation.definition.raw["responses"]
    later = response.status_code == LATER and "200" not in documented
    assert response.status_code < 500 or later, response.text


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_to_random_requests_are_in_the_document(
    server: ServerProcess, document: Any, conforms: Any, method: str, path: str
) -> None:
    from schemathesis import GenerationMode

    if path.endswith("/training-dataset"):  # the first of them imports what opens tables: that may take long
        server.post("/feature-groups/user_facts/training-dataset", TRAINING)
    operation = document[path][method.upper()]
    known = st.sampled_from(NAMES.get(path.split("/")[1], [""]))

    @seed(SEED)
    @settings(max_examples=2 * EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(
        operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE),
        st.booleans(),
        known,
    )
    def ask(case: Any, is_known: bool, name: str) -> None:
        note(f"seed {SEED}")
        if is_known and case.path_parameters:
            case.path_parameters = dict.fromkeys(case.path_parameters, name)
        case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=conforms)

    ask()


@pytest.mark.parametrize(("method", "path", "name", "query", "body"), READS)
@pytest.mark.parametrize("shape", ["columns", "records", "msgpack", "arrow"])
def test_vectors_in_every_shape_are_in_the_document(
    server: ServerProcess, document: Any, conforms: Any, method: str, path: str, name: str, query: Any, body: Any,
    shape: str,
) -> None:  # fmt: skip
    given = {} if body is None else {"body": body, "media_type": "application/json"}
    case = document[path][method.upper()].Case(
        path_parameters={"id": name}, query={**query, "shape": shape}, **given
    )  # fmt: skip
    response = case.call(base_url=f"http://127.0.0.1:{server.port}")
    assert response.status_code == 200, response.text
    case.validate_response(response, checks=conforms)


@pytest.mark.parametrize("shape", ["columns", "records", "msgpack", "arrow"])
def test_vectors_of_a_model_are_in_the_document(
    server: ServerProcess, document: Any, conforms: Any, shape: str
) -> None:
    rows = {"rows": [{"item_id": 1, "buyer_id": "a"}]}
    case = document["/models/{name}/online"]["POST"].Case(
        path_parameters={"name": "scorer"}, query={"shape": shape, "version": 1}, body=rows,
        media_type="application/json",
    )  # fmt: skip
    response = case.call(base_url=f"http://127.0.0.1:{server.port}")
    assert response.status_code == 200, response.text
    case.validate_response(response, checks=conforms)


@pytest.mark.parametrize("path", sorted({path for _, path in OPERATIONS} - {"/models/{name}/online"}))
def test_other_methods_are_refused_with_those_that_are_answered(server: ServerProcess, path: str) -> None:
    documented = {method.upper() for method, of in OPERATIONS if of == path}
    answered = documented | {"HEAD"} if "GET" in documented else documented
    name = NAMES.get(path.split("/")[1], [""])[0]
    for method in {"DELETE", "PUT", "PATCH", "GET", "POST"} - documented:
        answer = server.ask(method, re.sub(r"\{.*?\}", name, path))
        assert (answer.status, answer.json["code"]) == (405, "wrong-method"), (method, path)
        assert set(answer.headers["allow"].split(", ")) == answered, (method, path)
