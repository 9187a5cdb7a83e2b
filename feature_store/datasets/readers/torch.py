"""A dataset as tensors; imports torch, so it is imported only where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from feature_store.datasets.readers.matrices import MatrixBatches


class TensorBatches(IterableDataset):  # type: ignore[misc] # torch has no types here
    """Batches as tensors. Workers of a DataLoader share the blocks of the files, and so do processes that train
    together: `share` is which of how many of those this one is."""

    def __init__(self, batches: MatrixBatches, share: tuple[int, int] = (0, 1)) -> None:
        self._batches = batches
        self._share = share
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Another order of the rows from the next pass on; passes of the same epoch have the same one."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = self._share
        share = process * workers + number, processes * workers
        for features, target in self._batches.read(self._epoch, share):
            tensor = torch.from_numpy(features)
            yield tensor if target is None else (tensor, torch.from_numpy(target))
