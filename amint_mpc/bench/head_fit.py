"""A head by gradient descent on the gradients that were opened.

`fit` improves a head on rows of one time, as that which `head_recovery` finds. `follow` goes through the whole training
with a head of the developer's own: at each step it moves a little towards what was opened, then takes the step that the
secret head takes, which needs nothing but features, labels and the agreed optimizer. Both heads then see the same
images in the same order and grow alike; noise in the gradients averages out over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.amint.optimizers import HeadOptimizer
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.models.head_weights import HeadWeights

FIT_STEPS, FIT_RATE, FIT_ROWS = 1500, 2e-3, 1024
FOLLOW_MOVES, FOLLOW_RATE = 5, 5e-4
"""Moves towards each step's gradients, and their rate (Adam)."""


@dataclass(frozen=True)
class OpenedStep:
    """Of one joint step: features [n, F], opened gradients of the sum over rows [n, F], number of members."""

    features: Tensor
    gradients: Tensor
    members: int

    @property
    def labels(self) -> Tensor:
        """Members, [n] bool."""
        return torch.arange(len(self.features)) < self.members


@dataclass(frozen=True)
class OpenedRows:
    """Rows of joint steps. features [n, F], gradients of the sum over rows [n, F], members [n] bool."""

    features: Tensor
    gradients: Tensor
    members: Tensor

    def __getitem__(self, chosen: Tensor) -> OpenedRows:
        """Args: chosen: [n] bool."""
        return OpenedRows(self.features[chosen], self.gradients[chosen], self.members[chosen])


def rows_of(steps: Sequence[OpenedStep]) -> OpenedRows:
    """All rows of these steps."""
    features, gradients = ([getattr(step, name) for step in steps] for name in ("features", "gradients"))
    return OpenedRows(torch.cat(features), torch.cat(gradients), torch.cat([step.labels for step in steps]))


def follow(start: HeadWeights, steps: Sequence[OpenedStep], optimizer: HeadOptimizer) -> HeadWeights:
    """A head that goes the way of the secret one.

    Args:
        start: weights before the first step, as anybody may draw them.
        steps: all joint steps, from the first one. optimizer: of the secret head, new.

    Raises:
        ProtocolError: it left the range that heads are held to.
    """
    weights = [value.float().clone().requires_grad_() for value in start.tensors().values()]
    adam = torch.optim.Adam(weights, lr=FOLLOW_RATE, betas=(0.9, 0.99))
    for step in steps:
        x, u, labels = step.features.float(), step.gradients.float(), step.labels.float()
        size = u.square().sum().clamp(min=1e-30)
        for _ in range(FOLLOW_MOVES):
            adam.zero_grad()
            ((_gradients(weights, x, labels) - u).square().sum() / size).backward()  # type: ignore[no-untyped-call]
            adam.step()
        head = PlaintextHead(HeadWeights(*(value.detach().double() for value in weights)), optimizer, limited=False)
        head.step(step.features, step.members)
        for value, moved in zip(weights, head.weights.tensors().values(), strict=True):
            value.data.copy_(moved)
    return HeadWeights(*(value.detach().double() for value in weights))


def fit(start: HeadWeights, rows: OpenedRows, seed: int = 0) -> HeadWeights:
    """Weights near `start` whose gradients by the features are those that were opened, row by row.

    Adam on batches of rows. A row counts by the square of its error over the square of its length, so that rows of
    which the head is sure say as much as others; nothing can count more than a thousand times what the average does.
    """
    x, u, labels = rows.features.float(), rows.gradients.float(), rows.members.float()
    weights = [value.float().clone().requires_grad_() for value in start.tensors().values()]
    optimizer = torch.optim.Adam(weights, lr=FIT_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)
    random = torch.Generator().manual_seed(seed)
    sizes = _sizes(u)
    for _ in range(FIT_STEPS):
        batch = torch.randint(len(x), (FIT_ROWS,), generator=random)
        optimizer.zero_grad()
        missed = _gradients(weights, x[batch], labels[batch]) - u[batch]
        (missed.square().sum(1) / sizes[batch]).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return HeadWeights(*(value.detach().double() for value in weights))


def fit_error(head: HeadWeights, rows: OpenedRows) -> float:
    """Mean squared error of the rows' gradients, relative to their lengths; a head that says nothing has 1."""
    u = rows.gradients.float()
    weights = [value.float() for value in head.tensors().values()]
    missed = _gradients(weights, rows.features.float(), rows.members.float()) - u
    return float((missed.square().sum(1) / _sizes(u)).mean())


def _gradients(weights: Sequence[Tensor], x: Tensor, labels: Tensor) -> Tensor:
    w1, b1, w2, b2 = weights
    y = x @ w1 + b1
    g = (y.relu() @ w2 + b2).sigmoid() - labels
    return (g[:, None] * w2 * (y > 0)) @ w1.T


def _sizes(u: Tensor) -> Tensor:
    sizes = u.square().sum(1)
    return sizes.clamp(min=1e-3 * float(sizes.mean()))
