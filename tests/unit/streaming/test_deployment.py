"""Names of application clusters, and the address of a session cluster."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from feature_store.streaming.cluster import rest_options
from feature_store.streaming.deployment import cluster_name


@given(st.text(alphabet="aB1_@. -", min_size=1, max_size=80))
def test_a_cluster_has_a_name_that_kubernetes_takes(name: str) -> None:
    assert re.fullmatch("[a-z0-9-]{1,45}", cluster_name(name))
    assert not cluster_name(name).endswith("-")


def test_each_job_has_another_name() -> None:
    names = ["user_clicks@1", "user_clicks@11", "user@clicks_1", "user_clicks_1", "log of clicks", "x" * 60, "x" * 61]
    assert len({cluster_name(name) for name in names}) == len(names)
    assert cluster_name("user_clicks@1").startswith("user-clicks-1-")


def test_a_session_cluster_is_submitted_to_where_it_answers() -> None:
    plain = {"rest.address": "flink.example", "security.ssl.rest.enabled": "false"}
    assert rest_options("http://flink.example") == plain | {"rest.port": "80"}
    assert rest_options("http://flink.example:8081") == plain | {"rest.port": "8081"}
    encrypted = plain | {"security.ssl.rest.enabled": "true"}
    assert rest_options("https://flink.example") == encrypted | {"rest.port": "443"}
