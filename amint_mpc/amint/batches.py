"""Batches in the agreed order: members first, then as many external images.

Which images a step has follows from the experiment alone (`data.order`), so both parties can write it into their log.
Sets that are tensors are taken from the device they lie on; all others are read by workers (`data.reading_ahead`),
whose number changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.data.order import Rows
from amint_mpc.data.reading_ahead import Reader, whole
from amint_mpc.data.split import SETS, SplitImages
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
    """Makes the batches of epochs, and those of evaluations.

    Args:
        images: of the experiment. transform: of a batch. workers: read ahead, where the sets are no tensors.
    """

    def __init__(self, images: SplitImages, device: torch.device, transform: Transform, workers: int = 0) -> None:
        self._images, self._device, self._transform = images, device, transform
        self._labels = images.member_labels.to(device)
        members, external = images.members, images.external
        self._tensors: tuple[Tensor, Tensor] | None = None
        self._reader: Reader
        if isinstance(members, Tensor) and isinstance(external, Tensor):
            self._tensors = members.to(device), external.to(device)
        else:
            sets = [members, external, *(images.images(name) for name in SETS)]
            self._reader = Reader(sets, workers, device.type == "cuda")

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
        for batch in self._reader(
            [
                [*((0, int(row)) for row in m), *((1, int(row)) for row in e)]
                for m, e in zip(members, external, strict=True)
            ]
        ):
            yield batch.to(self._device, non_blocking=True)

    def two(self) -> Tensor:
        """The first two members, as the model takes them: for a trial."""
        return self._transform(torch.stack([self._images.members[0], self._images.members[1]]).to(self._device))

    def whole(self, name: str) -> Iterator[Tensor]:
        """One of the five sets in order, as the model takes it, in batches of `SCORE_BATCH`."""
        images = self._images.images(name)
        if self._tensors is not None:
            batches: Iterable[Tensor] = torch.split(images, SCORE_BATCH)
        else:
            batches = self._reader(whole(2 + SETS.index(name), len(images), SCORE_BATCH))
        for batch in batches:
            yield self._transform(batch.to(self._device))


class Loader:
    """What a loop iterates, once an epoch; see `Audit.loader`."""

    def __init__(self, epoch: Callable[[], Iterator[Batch]], steps: int) -> None:
        self._epoch, self._steps = epoch, steps

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch()

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._steps
