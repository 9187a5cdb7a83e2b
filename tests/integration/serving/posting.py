"""Groups to post, and what the server tells of them."""

from __future__ import annotations

from typing import Any

from tests.integration.serving.server_process import Answer, ServerProcess

COUNT = {
    "name": "user_trip_count_7d",
    "agg": {"function": "count"},
    "window": "7d",
    "dtype": "INT",
    "default": 0,
}
TRIPS: dict[str, Any] = {
    "name": "user_trips",
    "entity": "user",
    "source": "visits",
    "owner": "team:trips",
    "description": "Reisen, é|☃",
    "features": [COUNT],
}
LOG = {
    "name": "trips",
    "table": "raw.trips",
    "event_timestamp": "ts",
    "schema": {"user_id": "STRING", "ts": "TIMESTAMP"},
}


def trips(**changes: Any) -> dict[str, Any]:
    return {**TRIPS, **changes}


def post(server: ServerProcess, given: Any, query: str = "", **headers: str) -> Answer:
    return server.post(f"/feature-groups{query}", given, headers)


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"] if answer.status >= 400 else answer.json["outcome"]


def faults(answer: Answer) -> list[tuple[str, str]]:
    assert told(answer) == (422, "wrong-definition"), answer.body
    return [(fault["pointer"], fault["code"]) for fault in answer.json["errors"]]
