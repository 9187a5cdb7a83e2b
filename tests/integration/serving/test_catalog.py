"""What the server shows of the registry, and what it says of itself."""

from __future__ import annotations

import re

import jsonschema

from tests.conftest import Eventually
from tests.integration.serving.server_process import ServerProcess
from tests.integration.serving.shop import GROUPS, RANKING, VIEWS


def test_lists_and_details_are_what_is_recorded(server: ServerProcess) -> None:
    listed = server.get("/feature-groups").json
    assert [group["id"] for group in listed["feature_groups"]] == sorted(group.id for group in GROUPS)
    assert listed["total"] == len(GROUPS)
    assert [view["id"] for view in server.get("/feature-views").json["feature_views"]] == sorted(v.id for v in VIEWS)
    detail = server.get("/feature-groups/user_facts").json
    assert detail["definition"]["description"] == "What a user is."
    assert [feature["name"] for feature in detail["features"]] == ["user_count", "user_name", "user_at"]
    assert sorted(detail["views"]) == ["matching@1", "ranking@1"]
    schema = detail["schema"]["groups"][0]
    assert (schema["keys"], schema["features"][2]) == (
        [{"name": "user_id", "dtype": "STRING"}],
        {"name": "user_at", "dtype": "TIMESTAMP"},
    )
    assert [each["name"] for each in server.get("/feature-views/ranking").json["schema"]["on_demand"]] == [
        "rest",
        "until",
    ]
    assert server.get("/feature-views/ranking@1").json["groups"] == [role.group.id for role in RANKING.viewed]
    assert [each["version"] for each in server.get("/feature-views/ranking/versions").json["versions"]] == [1]
    assert {entity["name"] for entity in server.get("/entities").json["entities"]} >= {"user", "item", "pair"}


def test_lists_are_searched_and_cut(server: ServerProcess) -> None:
    found = server.get("/features", q="vector").json
    assert [feature["feature"] for feature in found["features"]] == ["item_vector", "seller_vector"]
    of_items = server.get("/feature-groups", entity="item").json["feature_groups"]
    assert [group["id"] for group in of_items] == ["item_facts@1"]
    assert server.get("/feature-groups", owner="team:nobody").json["total"] == 0
    page = server.get("/features", limit=2, offset=1).json
    assert [feature["feature"] for feature in page["features"]] == ["item_vector", "item_seller"]


def test_lineage_leads_to_the_views(server: ServerProcess) -> None:
    assert server.get("/lineage/item_facts@1/item_vector").json["views"] == ["matching@1", "ranking@1"]


def test_a_model_reads_the_view_that_it_says_it_reads(server: ServerProcess, eventually: Eventually) -> None:
    rows = {"rows": [{"user_id": "a", "item_id": 1}], "request": {"budget": 1.0, "asked_at": None}}
    asked = "/feature-views/ranking/online"
    for _ in range(3):
        assert server.post(asked, rows, {"X-Model": "ranker"}).status == 200

    def noted() -> bool:
        usage = server.get("/feature-views/ranking/usage").json["usage"]
        return [(used["model"], used["purpose"], used["uses"]) for used in usage] == [("ranker", "serving", 3)]

    eventually(noted)
    eventually(lambda: server.post("/models/ranker/online", rows).status == 200)
    by_model, by_view = server.post("/models/ranker/online", rows).json, server.post(asked, rows).json
    assert {**by_model, "request_time": 0} == {**by_view, "request_time": 0}


def test_metrics_count_requests_and_entities(server: ServerProcess) -> None:
    def count(name: str) -> float:
        lines = server.get("/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    requests = 'feature_store_requests_total{route="/feature-groups/{id}/online",status="200"}'
    found = 'feature_store_entities_total{group="seller_facts@1"'
    before = count(requests), count(found)
    for _ in range(5):
        assert server.get("/feature-groups/seller_facts/online?entity_ids=a,b,nobody").status == 200
    assert (count(requests), count(found)) == (before[0] + 5, before[1] + 15)
    seconds = 'feature_store_request_seconds_count{route="/feature-groups/{id}/online",target="seller_facts@1"}'
    assert count(seconds) >= 5
    assert count("feature_store_redis_up") == 1


def test_every_route_of_the_document_is_answered(server: ServerProcess) -> None:
    document, page = server.get("/openapi.json").json, server.get("/docs").body.decode()
    operations = [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert len(operations) > 15
    for method, path in operations:
        answer = server.ask(method.upper(), re.sub(r"\{.*?\}", "nothing", path), b"{}")
        assert answer.status in (200, 400, 404, 422, 501), (method, path, answer.body)
        assert answer.status == 200 or answer.json["code"] not in ("no-route", "wrong-method"), (method, path)
        assert path in page


def test_answers_are_what_the_document_says(server: ServerProcess) -> None:
    document = server.get("/openapi.json").json
    body = {"rows": [{"user_id": "a", "item_id": 1}], "request": {"budget": 1.0, "asked_at": None}}
    path = "/feature-views/ranking/online"
    wrong = server.get("/feature-groups/user_facts/online").json
    for name, value in (
        ("ColumnarAnswer", server.post(path, body).json),
        ("RecordsAnswer", server.post(f"{path}?shape=records", body).json),
        ("OnlineBody", body),
        ("Problem", wrong),
    ):
        jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_it_says_that_it_is_well(server: ServerProcess) -> None:
    health = server.get("/health")
    assert (health.status, health.json["status"]) == (200, "ok")
    assert health.json["definitions"] == {"plan": 1, "served": len(GROUPS) + len(VIEWS), "refused": {}}
    assert server.get("/ready").json == {"ready": True}
