"""The native core, compiled from its sources if that was not done yet."""

from __future__ import annotations

import pytest

from feature_store.online.native.build import built_core
from feature_store.online.native.core import NativeCore
from feature_store.online.native.loader import load_core
from tests.conftest import OWN_STATE


@pytest.fixture(scope="session")
def core() -> NativeCore:
    """The extension module."""
    return load_core(built_core(OWN_STATE / "native"))
