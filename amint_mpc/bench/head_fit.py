"""A head by gradient descent on the gradients that were opened: see `head_recovery`, whose result it improves.

Alone, from a head that the developer trained by itself, it comes a little nearer; a unit's state has no gradient, so
it finds no unit that the first head lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.models.head_weights import HeadWeights

FIT_STEPS, FIT_RATE, FIT_ROWS = 1500, 2e-3, 1024


@dataclass(frozen=True)
class OpenedRows:
    """Rows of joint steps. features [n, F], gradients of the sum over rows [n, F], members [n] bool."""

    features: Tensor
    gradients: Tensor
    members: Tensor


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
