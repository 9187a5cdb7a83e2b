"""Registered models as a server finds them, also out of its file."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from feature_store.errors import ConflictError, NotFoundError
from feature_store.registry.model_records import ModelFeature, ModelRecord
from feature_store.registry.snapshot import RegistrySnapshot
from serving.models import ServedModels

GONE = datetime(2026, 3, 1, tzinfo=UTC)
FEATURES = (ModelFeature("user_count", "INT", "user_facts@1/user_count"), ModelFeature("rest", "FLOAT"))


def model(name: str, version: int, retired_at: datetime | None = None) -> ModelRecord:
    return ModelRecord(name, version, "ranking@1", FEATURES, "team:ads", "d1", "runs:/1/model", "ann", GONE, retired_at)


RECORDS = (model("a b", 2), model("ranker", 2), model("ranker", 10), model("ranker", 11, GONE), model("old", 1, GONE))


def test_the_latest_is_the_highest_version_that_is_not_retired() -> None:
    served = ServedModels(RECORDS)
    wanted = {"ranker": 10, "ranker@2": 2, "ranker@10": 10, "a b": 2}
    assert {name: found.version for name in wanted if (found := served.find(name))} == wanted
    assert served.find("nobody") is None
    assert served.find("nobody@1") is None
    for name in ("ranker@11", "old", "old@1"):
        with pytest.raises(ConflictError, match="is retired"):
            served.find(name)
    for name in ("ranker@3", "ranker@", "ranker@x"):
        with pytest.raises(NotFoundError, match="registered are: ranker@2, ranker@10, ranker@11"):
            served.find(name)


def test_a_server_finds_in_its_file_what_it_has_written() -> None:
    assert RECORDS[0].feature_names == ("user_count", "rest")  # it is kept, and must not be in the file
    kept = RegistrySnapshot(plan_id=3, models=RECORDS)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=RegistrySnapshot) == kept
    before = msgspec.json.encode(msgspec.to_builtins(kept) | {"models": []}).replace(b',"models":[]', b"")
    assert msgspec.json.decode(before, type=RegistrySnapshot).models == ()
