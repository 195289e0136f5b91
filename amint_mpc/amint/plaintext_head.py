"""The one seam: what the training loop asks of a membership head, and the head in plaintext.

`PlaintextHead` is the twin that every secure head is compared with: the same function, gradient and update, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint.opened_gradient import Opening
from amint_mpc.amint.optimizers import Descent, HeadOptimizer
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import (
    B2_LIMIT,
    FEATURE_LIMIT,
    GRADIENT_LIMIT,
    HIDDEN_LIMIT,
    LOGIT_LIMIT,
    PARTS,
    SQUARES_LIMIT,
    W1_SQUARES_LIMIT,
    W2_GRADIENT_LIMIT,
    W2_SQUARES_LIMIT,
    blocks,
)
from amint_mpc.models.head_weights import HeadWeights


class MintHead(Protocol):
    """A membership head as the developer meets it. Calls come one at a time, in the order of the schedule."""

    def step(self, features: Tensor, members: int) -> Tensor:
        """Take one training step and return what the classifier needs of it.

        Args:
            features: float32 [n, F] on the CPU, without a graph; rows 0..members-1 are members, the others external.
            members: between 1 and n - 1.

        Returns:
            gradient of L_mint by `features`, float32 [n, F], by the weights before the step.
        """

    def seal(self, features: Tensor) -> None:
        """Begin again with a fresh head, whose steps are all on these features.

        Args:
            features: [members + external, F], as `sealing.rounded` gives them.
        """

    def fit(self, rows: MixedRows) -> None:
        """One step of gradient descent on rows of the sealed features, of which nothing is learned."""

    def score(self, features: Tensor) -> Tensor | None:
        """Membership probabilities, float64 [n], for features [n, F]; None on a party that may not learn them."""


class HeadWrapper:
    """A head that does what another one does; for those that watch it.

    Args:
        head: the other one.
    """

    def __init__(self, head: MintHead) -> None:
        self._head = head

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        return self._head.step(features, members)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        self._head.seal(features)

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""
        self._head.fit(rows)

    def score(self, features: Tensor) -> Tensor | None:
        """See `MintHead.score`."""
        return self._head.score(features)


class PlaintextHead:
    """The head in this process.

    Args:
        weights: first weights; not changed.
        optimizer: how they move, or the learning rate of plain gradient descent.
        fresh: draws the head of the sealed epochs.
        opening: what a gradient goes through before the classifier gets it; None: it is told exactly.
        limited: refuse what leaves the secure head's ranges. A head that is nobody's twin has none.

    Attributes:
        told: the last step's gradient of the sum over rows as the classifier's side got it, float64 [n, F].
    """

    told: Tensor

    def __init__(
        self,
        weights: HeadWeights,
        optimizer: HeadOptimizer | float,
        fresh: Callable[[], PlaintextHead] | None = None,
        opening: Opening | None = None,
        limited: bool = True,
    ) -> None:
        self.fresh, self._opening, self._limited = fresh, opening, limited
        self.weights = weights.clone()
        self._optimizer = Descent(optimizer) if isinstance(optimizer, float) else optimizer
        self._sealed = torch.empty(0)
        self.loss = float("nan")  # L_mint of the last step; the secure head never computes it

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`.

        Raises:
            ProtocolError: a value has left the range in which the secure head is exact.
        """
        x, w = features.to(torch.float64), self.weights
        y = w.hidden(x)
        h = y.relu()
        z = h @ w.w2 + w.b2
        if self._limited:
            check_head(w, x, y, z)

        # L_mint = mean over members of BCE(z, 1) + mean over external of BCE(z, 0)
        self.loss = float(F.softplus(-z[:members]).mean() + F.softplus(z[members:]).mean())
        rows = torch.full_like(z, len(z) - members)  # how many rows the mean of a row's class goes over
        rows[:members] = members
        label = torch.zeros_like(z)
        label[:members] = 1
        gz = (z.sigmoid() - label) / rows
        gy = gz[:, None] * w.w2 * (y > 0)
        gx = gy @ w.w1.T
        if self._limited:
            refuse_beyond("gradient row", gx * rows[:, None], GRADIENT_LIMIT)
            of_w2 = _block_sums(h * (gz * rows)[:, None])
            refuse_beyond("sum of the gradient with respect to w2", of_w2, W2_GRADIENT_LIMIT)

        gradients = HeadWeights(w1=x.T @ gy, b1=gy.sum(0), w2=h.T @ gz, b2=gz.sum())
        self.weights = self._optimizer.step(w, gradients, members)
        self.told = gx * rows[:, None] if self._opening is None else self._opening(gx * rows[:, None])
        return (self.told / rows[:, None]).to(torch.float32)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        if self.fresh is None:
            raise ValueError("this head does not know how a fresh one is drawn")
        drawn = self.fresh()
        self.weights, self._optimizer, self._sealed = drawn.weights, drawn._optimizer, features

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""
        if type(self._optimizer) is Descent:  # others have a length of their own
            self._optimizer = Descent(rows.learning_rate)
        self.step(rows(self._sealed) / PARTS, rows.batch)

    def score(self, features: Tensor) -> Tensor:
        """See `MintHead.score`.

        Raises:
            ProtocolError: a value has left the range in which the secure head is exact.
        """
        x = features.to(torch.float64)
        y = self.weights.hidden(x)
        z = y.relu() @ self.weights.w2 + self.weights.b2
        check_head(self.weights, x, y, z)
        return z.sigmoid()


def check_head(weights: HeadWeights, x: Tensor, y: Tensor, z: Tensor) -> None:
    """Of the dense head: what the secure one tests (`amint_mpc.mpc.dense.ranges`). Args, Raises: as `check_forward`."""
    check_forward(x, y, z)
    of_w1 = weights.w1.square().sum() + weights.b1.square().sum()
    refuse_beyond("sum of the squares of w1 and b1", of_w1, W1_SQUARES_LIMIT)
    refuse_beyond("sum of the squares of w2", weights.w2.square().sum(), W2_SQUARES_LIMIT)
    refuse_beyond("b2", weights.b2, B2_LIMIT)
    refuse_beyond("sum of the squares of an image's hidden values", y.square().sum(dim=1), SQUARES_LIMIT)
    refuse_beyond("sum of the squares of a unit's hidden values", _block_sums(y.square()), SQUARES_LIMIT)


def _block_sums(x: Tensor) -> Tensor:
    """[n, h] -> [blocks, h]: sums over the rows of each block (`amint_mpc.limits.blocks`)."""
    count = blocks(len(x))
    return torch.stack([x[i::count].sum(dim=0) for i in range(count)])


def check_forward(x: Tensor, y: Tensor, z: Tensor) -> None:
    """Of features, hidden values before their ReLU, and logits.

    Raises:
        ProtocolError: a value has left the range in which the secure head is exact.
    """
    if not bool((x.abs() <= FEATURE_LIMIT).all()):
        if not bool(x.isfinite().all()):
            raise ProtocolError(
                f"a feature lies outside +-{FEATURE_LIMIT:g}: it is not finite, training diverged",
                "Lower training.learning_rate.",
            )
        raise ProtocolError(
            f"a feature lies outside +-{FEATURE_LIMIT:g}", "Clip features as amint_mpc.models.Features does."
        )
    refuse_beyond("hidden pre-activation", y, HIDDEN_LIMIT)
    refuse_beyond("logit", z, LOGIT_LIMIT)


def refuse_beyond(name: str, values: Tensor, limit: float) -> None:
    """Raises ProtocolError: some value is not within the limit."""
    if not bool((values.abs() < limit).all()):  # written so that NaN is refused, too
        raise ProtocolError(
            f"a {name} of the head reached its limit of {limit:g}, beyond which the secure head is not exact",
            "Lower head.learning_rate (in sealed epochs training.sealed_learning_rate), or train for fewer epochs.",
        )
