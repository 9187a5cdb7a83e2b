"""Opening the native core: compiled and loaded if that is possible, or else why not."""

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
    """What came of opening the core.

    Attributes:
        core: None: the Python path does everything.
        trouble: why there is none, and what to do about it; empty if there is one.
    """

    core: NativeCore | None = None
    trouble: str = "it is switched off"


def open_core(folder: Path) -> CoreState:
    """The native core, which is compiled first if need be; whatever goes wrong, the Python path answers.

    Args:
        folder: where it is kept.
    """
    try:
        state = CoreState(load_core(built_core(folder)), "")
        _log.info("the native core answers")
    except (StackError, OSError, ImportError) as error:
        state = CoreState(None, str(error))
        _log.warning("Python answers, more slowly: %s", error)
    return state


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
