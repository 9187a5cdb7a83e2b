"""What the server answers, in every shape and way to ask, is what a reader in the same process gets."""

from __future__ import annotations

import random
import struct
from datetime import datetime
from io import BytesIO
from typing import Any

import pyarrow as pa
import pytest

from feature_store.dtypes import from_micros, to_micros
from feature_store.errors import StackError
from feature_store.online.reader import OnlineReader
from feature_store.online.vectors import OnlineVectors
from feature_store.plan.schema import ViewSchema
from feature_store.settings import Settings
from serving.settings import ServingSettings
from tests.integration.serving.server_process import Answer, ServerProcess
from tests.integration.serving.shop import Shop, key_value

KINDS = {"group": "feature-groups", "view": "feature-views"}
ROUNDS = 8


def rows_of(view: ViewSchema, chance: random.Random) -> list[dict[str, Any]]:
    size = chance.choice([1, 2, 5, 40])
    rows = [{key.name: key_value(key.dtype, chance) for key in view.keys} for _ in range(size)]
    for row in rows:
        if chance.random() < 0.1:
            row[chance.choice(list(row))] = None
    return rows


def plain(value: Any) -> Any:
    """A value as a columnar answer has it."""
    if isinstance(value, datetime):
        return to_micros(value)
    return value


def expected_columns(vectors: OnlineVectors) -> dict[str, Any]:
    """A columnar answer, put together row by row."""
    names = [column.name for column in vectors.view.outputs]
    return {
        "id": vectors.view.id,
        "features": names,
        "rows": [[plain(row[name]) for name in names] for row in vectors.to_dicts()],
        "groups": [
            {
                "group": part.group.id,
                "stale": vectors.stale[part.group.id],
                "updated_at": plain(vectors.updated_at[part.group.id]),
                "statuses": [row[part.group.id] for row in vectors.statuses],
                "feature_timestamps": [plain(row[part.group.id]) for row in vectors.feature_timestamps],
            }
            for part in vectors.groups
        ],
    }


def unpacked(view: ViewSchema, packed: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a MessagePack answer: per row the features by name, as one writes down who reads the format."""
    types = {column.name: column.dtype.kind for column in view.features}
    rows: list[dict[str, Any]] = [{} for _ in range(packed["row_count"])]
    for group in packed["groups"]:
        places = group.get("places") or range(len(rows))
        for row, place in zip(rows, places, strict=True):
            values = group["absent"] if place == -1 else group["rows"][place]
            for name, value in zip(group["features"], values, strict=True):
                if value is not None and types[name] == "EMBEDDING":
                    value = list(struct.unpack(f"<{len(value) // 4}f", value))
                row[name] = value
    for name, column in packed.get("on_demand", {}).items():
        for row, value in zip(rows, column, strict=True):
            row[name] = value
    return rows


def json_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def ask(server: ServerProcess, path: str, rows: list[dict[str, Any]], request: dict[str, Any], shape: str) -> Answer:
    body = {"rows": [json_row(row) for row in rows], "request": json_row(request)}
    answer = server.post(f"{path}?shape={shape}", body)
    assert answer.status == 200, answer.body
    return answer


@pytest.fixture(params=["native", "python"])
def either(request: pytest.FixtureRequest) -> ServerProcess:
    """A server with the native core, and one without."""
    found: ServerProcess = request.getfixturevalue("server" if request.param == "native" else "python_server")
    assert found.get("/health").json["native"]["used"] == (request.param == "native")
    return found


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_shape_has_the_values_of_a_reader(
    either: ServerProcess, shop: Shop, reader: OnlineReader, seed: int
) -> None:
    chance, server = random.Random(seed), either
    for (kind, name), view in shop.views.items():
        rows = rows_of(view, chance)
        request = {"budget": chance.choice([None, 5, 7.25]), "asked_at": from_micros(chance.randrange(10**15))}
        request = request if view.request else {}
        path = f"/{KINDS[kind]}/{name}/online"

        columns = ask(server, path, rows, request, "columns").json
        vectors = reader.read(view, rows, from_micros(columns.pop("request_time")), request=request)
        assert columns == expected_columns(vectors) | {"id": name}

        records = ask(server, path, rows, request, "records").json
        vectors = reader.read(view, rows, datetime.fromisoformat(records["request_time"]), request=request)
        names = [column.name for column in view.outputs]
        for record, values, statuses in zip(records["records"], vectors.to_dicts(), vectors.statuses, strict=True):
            for feature in names:
                got, value = record["features"][feature], values[feature]
                assert (datetime.fromisoformat(got) if isinstance(value, datetime) else got) == value
            assert record["statuses"] == statuses

        packed = ask(server, path, rows, request, "msgpack").packed
        vectors = reader.read(view, rows, from_micros(packed["request_time"]), request=request)
        expected = [{n: plain(row[n]) for n in names} for row in vectors.to_dicts()]
        assert unpacked(view, packed) == expected
        for group, part in zip(packed["groups"], vectors.groups, strict=True):
            assert [*part.spread(group["statuses"], "NOT_FOUND")] == [*part.statuses]

        table = pa.ipc.open_stream(BytesIO(ask(server, path, rows, request, "arrow").body)).read_all()
        vectors = reader.read(view, rows, from_micros(int(table.schema.metadata[b"request_time"])), request=request)
        assert table.select([*(key.name for key in view.keys), *names]) == vectors.to_arrow()
        for part in vectors.groups:
            assert table[f"{part.group.id}.status"].to_pylist() == [*part.statuses]


def test_ids_in_a_url_are_the_rows_of_a_body(server: ServerProcess, shop: Shop) -> None:
    for query, rows in (
        ({"entity_ids": "a,b,nobody"}, [{"user_id": "a"}, {"user_id": "b"}, {"user_id": "nobody"}]),
        ({"entity_id": ["x,y", ""]}, [{"user_id": "x,y"}, {"user_id": ""}]),
        ({"entity_ids": "é|{%}"}, [{"user_id": "é|{%}"}]),
    ):
        by_url = server.get("/feature-groups/user_facts@1/online", **query).json
        by_body = server.post("/feature-groups/user_facts/online", {"rows": rows}).json
        assert {**by_url, "request_time": 0} == {**by_body, "request_time": 0}
    pair = server.get("/feature-groups/pair_facts/online", entity_ids="a|1,b|-5").json
    rows = [{"user_id": "a", "item_id": 1}, {"user_id": "b", "item_id": -5}]
    assert pair["rows"] == server.post("/feature-groups/pair_facts/online", {"rows": rows}).json["rows"]
    slot = server.get("/feature-groups/slot_facts/online", entity_ids="1970-01-01T00:00:00Z|1,0|1").json
    assert slot["rows"][0] == slot["rows"][1]


def test_key_columns_in_a_url_are_the_rows_of_a_body(server: ServerProcess) -> None:
    asked = {"user_id": "a", "item_id": "0,1,-5", "budget": "9.5", "asked_at": "2026-01-31T00:00:00Z"}
    by_url = server.get("/feature-views/ranking/online", **asked).json
    rows = [{"user_id": "a", "item_id": item} for item in (0, 1, -5)]
    request = {"budget": 9.5, "asked_at": to_micros(datetime.fromisoformat("2026-01-31T00:00:00Z"))}
    by_body = server.post("/feature-views/ranking@1/online", {"rows": rows, "request": request}).json
    assert {**by_url, "request_time": 0} == {**by_body, "request_time": 0}


def test_chosen_features_are_those_of_the_whole_answer(either: ServerProcess) -> None:
    server = either
    path = "/feature-views/ranking/online"
    body = {"rows": [{"user_id": "a", "item_id": 1}], "request": {"budget": 1.0, "asked_at": None}}
    whole = server.post(path, body).json
    chosen = ["rest", "item_vector", "user_count"]
    for shape in ("columns", "records", "msgpack"):
        answer = server.post(f"{path}?shape={shape}", {**body, "features": chosen})
        some = answer.packed if shape == "msgpack" else answer.json
        if shape == "columns":
            assert some["features"] == ["user_count", "item_vector", "rest"]
            assert some["rows"] == [[whole["rows"][0][whole["features"].index(n)] for n in some["features"]]]
        elif shape == "records":
            assert set(some["records"][0]["features"]) == set(chosen)
        else:
            assert [group["features"] for group in some["groups"]] == [["user_count"], ["item_vector"], []]
            assert list(some["on_demand"]) == ["rest"]


def test_accept_chooses_the_form(server: ServerProcess) -> None:
    path = "/feature-groups/user_facts/online?entity_ids=a"
    for accept, content_type in (
        ("application/msgpack", "application/msgpack"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("*/*", "application/json"),
    ):
        assert server.get(path, {"Accept": accept}).headers["content-type"] == content_type


def test_the_native_core_can_be_switched_off(stack: Settings) -> None:
    here = {"FS_HOME": str(stack.home)}
    assert ServingSettings.load(here).native == ServingSettings.load({**here, "FS_SERVING_NATIVE": "on"}).native
    assert ServingSettings.load(here).native == stack.home / "native"
    assert ServingSettings.load({**here, "FS_SERVING_NATIVE": "off"}).native is None
    with pytest.raises(StackError) as error:
        ServingSettings.load({**here, "FS_SERVING_NATIVE": "perhaps"})
    assert error.value.code == "serving-native"
