"""Images read by worker processes, from sets that are no tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from amint_mpc.errors import AmintError

Place = tuple[int, int]
"""Of an image: which set, and which row of it."""


class Reader:
    """Reads batches of images, with a torch `DataLoader` that draws nothing from the loop's own random numbers.

    Args:
        sets: of images, uint8 [C, H, W] each, of one size.
        workers: processes that read ahead. They are forked here, before there are threads of a head.
        pinned: into memory that an accelerator reads by itself.
    """

    def __init__(self, sets: Sequence[Sequence[Tensor]], workers: int = 0, pinned: bool = False) -> None:
        self._order = _Order()
        self._loader: DataLoader[Any] = DataLoader(
            _Told(sets),
            batch_sampler=self._order,  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_stacked,
            pin_memory=pinned,
            generator=torch.Generator().manual_seed(0),
        )
        if workers:
            iter(self._loader)

    def __call__(self, batches: Sequence[Sequence[Place]]) -> Iterator[Tensor]:
        """These batches in turn, uint8 [n, C, H, W].

        Raises:
            DataError: an image cannot be read.
        """
        self._order.batches = batches
        for found in self._loader:
            if isinstance(found, AmintError):
                raise found
            yield found


def whole(which: int, count: int, at_once: int) -> list[list[Place]]:
    """The places of a whole set, in batches of `at_once`."""
    return [[(which, row) for row in range(at, min(at + at_once, count))] for at in range(0, count, at_once)]


class _Order:
    """A batch sampler that says what it is told."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[Place]] = ()

    def __iter__(self) -> Iterator[Sequence[Place]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Told(Dataset[Any]):
    """Images by place; or why one cannot be read, for an error that a worker raises comes as its traceback."""

    def __init__(self, sets: Sequence[Sequence[Tensor]]) -> None:
        self._sets = sets

    def __getitem__(self, place: Place) -> Tensor | AmintError:
        which, row = place
        try:
            return self._sets[which][row]
        except AmintError as error:
            return error


def _stacked(items: list[Any]) -> Tensor | AmintError:
    errors = (item for item in items if isinstance(item, AmintError))
    return next(chain(errors, [None])) or torch.stack(items)
