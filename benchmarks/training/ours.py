"""Ours: labels checked and hashed, files planned, joined, and written in the order of the labels, with a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.training.setting import RESULT, Setting
from feature_store.pit.dataset import build_in


def one_node(folder: Path, memory: int) -> Callable[[], int]:
    setting = Setting(folder)

    def run() -> int:
        made = build_in(setting.catalog, folder, setting.view, setting.labels, name=RESULT, memory=memory)
        return made.row_count

    return run
