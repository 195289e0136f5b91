"""Batches in the agreed order: members first, then as many external images.

Which images a step has follows from the experiment alone (`data.order`), so both parties can write it into their log.
Sets that are tensors are taken from the device they lie on; all others are read by a torch `DataLoader`, whose number
of workers changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.data.order import Rows
from amint_mpc.data.split import SplitImages
from amint_mpc.events import Phase

Transform = Callable[[Tensor], Tensor]
"""uint8 images [n, C, H, W] -> what the model takes."""


@dataclass(frozen=True)
class Batch:
    """Of one step, on the model's device.

    Args:
        images: what the model takes, [n, ...]: the members' rows, then the external images'.
        labels: int64 [members].
        members, external: their rows. In warm-up epochs there are no external images, unless a teacher needs them.
        head: the rows whose features the head sees.
        soft_labels: with `training.distillation`, the teacher's probabilities for the external rows.
        epoch: from 1. phase: `warm-up` or `joint`.
    """

    images: Tensor
    labels: Tensor
    members: slice
    external: slice
    head: slice
    soft_labels: Tensor | None
    epoch: int
    phase: Phase


class Batches:
    """Makes the batches of epochs.

    Args:
        images: of the experiment. transform: of a batch. workers: read ahead, where the sets are no tensors.
    """

    def __init__(self, images: SplitImages, device: torch.device, transform: Transform, workers: int = 0) -> None:
        self._device, self._order, self._transform = device, _Order(), transform
        self._labels = images.member_labels.to(device)
        members, external = images.members, images.external
        self._tensors: tuple[Tensor, Tensor] | None = None
        if isinstance(members, Tensor) and isinstance(external, Tensor):
            self._tensors = members.to(device), external.to(device)
            return
        self._reader: DataLoader[Any] = DataLoader(
            _Joined(members, external),
            batch_sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=torch.stack,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # draws nothing from the loop's own
        )

    def __call__(
        self, members: Rows, external: Rows, epoch: int, phase: Phase, soft_labels: Tensor | None
    ) -> Iterator[Batch]:
        """Of each step of an epoch in turn.

        Args:
            members, external: rows of each, int64 [steps, batch]. soft_labels: of all external images.
        """
        for at, pixels in enumerate(self._pixels(members, external)):
            inside, outside = (torch.from_numpy(rows[at]).to(self._device) for rows in (members, external))
            yield Batch(
                images=self._transform(pixels),
                labels=self._labels[inside],
                members=slice(0, len(inside)),
                external=slice(len(inside), len(pixels)),
                head=slice(0, len(pixels)),
                soft_labels=None if soft_labels is None else soft_labels[outside],
                epoch=epoch,
                phase=phase,
            )

    def _pixels(self, members: Rows, external: Rows) -> Iterator[Tensor]:
        """uint8 [members + external, C, H, W] of each step."""
        if self._tensors is not None:
            inside, outside = (torch.from_numpy(rows).to(self._device) for rows in (members, external))
            for m, e in zip(inside, outside, strict=True):
                found = self._tensors[0][m]
                yield torch.cat([found, self._tensors[1][e]]) if len(e) else found
            return
        self._order.steps = [
            [*((0, int(row)) for row in m), *((1, int(row)) for row in e)]
            for m, e in zip(members, external, strict=True)
        ]
        for batch in self._reader:
            yield batch.to(self._device, non_blocking=True)


def in_turn(images: Tensor | Sequence[Tensor], workers: int = 0) -> Iterator[Tensor]:
    """A set in order, in batches of `SCORE_BATCH`: uint8 [n, C, H, W]."""
    if isinstance(images, Tensor):
        yield from torch.split(images, SCORE_BATCH)
        return
    rows: DataLoader[Tensor] = DataLoader(
        images,  # type: ignore[arg-type]
        SCORE_BATCH,
        num_workers=workers,
        collate_fn=torch.stack,
        generator=torch.Generator().manual_seed(0),
    )
    yield from rows


class _Order:
    """A batch sampler that says what it is told. Items: (0 or 1, row): of the members, or of the external images."""

    def __init__(self) -> None:
        self.steps: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class _Joined(Dataset[Tensor]):
    """Both sets, images alone."""

    def __init__(self, *sets: Sequence[Tensor]) -> None:
        self._sets = sets

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        which, row = place
        return self._sets[which][row]


class Loader:
    """What a loop iterates, once an epoch; see `Audit.loader`."""

    def __init__(self, epoch: Callable[[], Iterator[Batch]], steps: int) -> None:
        self._epoch, self._steps = epoch, steps

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch()

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._steps
