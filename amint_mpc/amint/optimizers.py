"""How the plaintext head's weights move: the very updates that the secure head makes (`amint_mpc.mpc.optimizers`).

`gradients` are those of L_mint: sums over rows of a class, divided by `members`, the number of its rows. The secure
head takes its steps on the sums.
"""

from __future__ import annotations

from typing import Protocol

from amint_mpc.config import Head
from amint_mpc.models.head import HeadWeights
from amint_mpc.models.rate import representable_momentum, representable_rate


class HeadOptimizer(Protocol):
    """An optimizer of the plaintext head, with what it remembers from step to step."""

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """The weights after a step."""
        ...


class Descent:
    """Plain gradient descent.

    Args:
        learning_rate: for all four tensors, below 1; the rate used is the nearest one that the secure head can apply
            exactly (`amint_mpc.models.rate`).
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """See `HeadOptimizer.step`."""
        a, k = representable_rate(self.learning_rate / members)
        return _moved(weights, gradients, -members * a / 2**k)


class Momentum(Descent):
    """The heavy ball (Polyak 1964): the step before, times `momentum`, is taken again.

    Args:
        learning_rate: see `Descent`. momentum: the one used is the nearest that the secure head can apply exactly.
    """

    def __init__(self, learning_rate: float, momentum: float) -> None:
        super().__init__(learning_rate)
        a, k = representable_momentum(momentum)
        self.momentum = a / 2**k
        self._before: HeadWeights | None = None

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """See `HeadOptimizer.step`."""
        before, self._before = self._before or weights, weights
        velocity = _moved(weights, before, -1.0)
        return _moved(super().step(weights, gradients, members), velocity, self.momentum)


def head_optimizer(head: Head) -> HeadOptimizer:
    """The optimizer that the settings name."""
    if head.optimizer == "momentum":
        return Momentum(head.learning_rate, head.momentum)
    return Descent(head.learning_rate)


def _moved(weights: HeadWeights, by: HeadWeights, times: float) -> HeadWeights:
    """weights + times * by."""
    steps = by.tensors()
    return HeadWeights(**{name: value + times * steps[name] for name, value in weights.tensors().items()})
