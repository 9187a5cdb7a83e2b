"""Which core this process uses: the native one, if it was switched on and can be loaded, or none."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from feature_store.errors import StackError
from feature_store.online.native.build import MODULE, built_core
from feature_store.online.native.core import NativeCore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CoreState:
    """The core of a process.

    Attributes:
        core: None: the Python path does everything.
        trouble: why there is none, and what to do about it; empty if there is one.
    """

    core: NativeCore | None = None
    trouble: str = "it is switched off"


_state = CoreState()


def active_core() -> NativeCore | None:
    """The native core, if this process uses it."""
    return _state.core


def use_native_core(folder: Path) -> CoreState:
    """Has this process use the native core from now on, for all that is made after; compiles it first if need be.

    Args:
        folder: where it is kept.

    Returns:
        what came of it: whatever goes wrong, the Python path answers.
    """
    global _state
    try:
        _state = CoreState(load_core(built_core(folder)), "")
        _log.info("the native core answers")
    except (StackError, OSError, ImportError) as error:
        _state = CoreState(None, str(error))
        _log.warning("Python answers, more slowly: %s", error)
    return _state


def load_core(module: Path) -> NativeCore:
    """The compiled module in this file.

    Raises:
        ImportError: if it cannot be loaded.
    """
    loader = importlib.machinery.ExtensionFileLoader(MODULE, str(module))
    spec = importlib.util.spec_from_file_location(MODULE, module, loader=loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    loader.exec_module(made)
    core = cast("NativeCore", made)
    core.take_powers(b"".join(map(_leading_bits, range(-292, 325))))
    return core


def _leading_bits(exponent: int) -> bytes:
    """The 128 leading bits of a power of ten, rounded up: what the core writes floats with."""
    power: int = 10 ** abs(exponent)
    size = power.bit_length()
    if exponent < 0:
        return (-(-(1 << 127 + size) // power)).to_bytes(16, "big")
    return (-(-power << 128 >> size)).to_bytes(16, "big")
