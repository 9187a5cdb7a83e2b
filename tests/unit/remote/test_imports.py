"""A program that only reads vectors over HTTP needs few packages."""

from __future__ import annotations

import subprocess
import sys

from feature_store.settings import REPOSITORY

HEAVY = ("pyspark", "dagster", "pyiceberg", "polars", "duckdb", "sqlalchemy", "redis", "hiredis", "pyarrow", "pandas",
         "great_expectations", "grpc", "google.protobuf", "confluent_kafka", "pydantic", "sqlglot", "torch",
         "uvicorn")  # fmt: skip
PROGRAM = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it is an error
from feature_store import AsyncFeatureStoreClient, FeatureStoreClient
from feature_store.errors import StackError
from feature_store.online.packed import PackedAnswer
from feature_store.remote.answers import vectors_of
from feature_store.plan.schema import ViewSchema

assert "numpy" not in sys.modules  # it takes longer than all the rest
client = FeatureStoreClient("http://127.0.0.1:1", "", deadline=0.1)
try:
    client.online("ranking", [{{"user_id": "a"}}])
except StackError as error:
    assert error.code == "deadline", error
vectors = vectors_of(PackedAnswer("v@1", 0, 1, []), ViewSchema("v", 1, ()), [{{}}], None)
assert vectors.to_numpy().shape == (1, 0)
for call, package in ((vectors.to_arrow, "pyarrow"), (vectors.to_torch, "torch")):
    try:
        call()
    except StackError as error:
        assert (error.code, error.remedy) == ("package-missing", f"pip install {{package}}"), error
    else:
        raise AssertionError(package)
"""


def test_the_client_needs_few_packages() -> None:
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
