"""What the commands decide without a database."""

from __future__ import annotations

import os

import pytest

from feature_store.registry.commands import user_name


def test_whoever_has_no_name_is_recorded_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)  # as in a container that is given any user id
    assert user_name() == "unknown"
    monkeypatch.setenv("USER", "ann")
    assert user_name() == "ann"
