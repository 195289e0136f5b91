"""How the plaintext head's weights move: the very updates that the secure head makes (`amint_mpc.mpc.dense.descent`).

`gradients` are those of L_mint: sums over rows of a class, divided by `members`, the number of its rows. The secure
head takes its steps on the sums.
"""

from __future__ import annotations

import math
from typing import Protocol

from amint_mpc.config import Head
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import (
    CLIP,
    MAX_OCTAVES,
    SCALED_ROWS_LIMIT,
    SEARCH,
    SEARCH_BETA,
    SQUARE_LIMIT,
    SQUARE_LIMIT_RATIO,
    START_OCTAVES,
    representable_momentum,
    representable_rate,
)
from amint_mpc.models.head_weights import HeadWeights


class HeadOptimizer(Protocol):
    """An optimizer of the plaintext head, with what it remembers from step to step."""

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """The weights after a step."""
        ...


class Descent:
    """Plain gradient descent.

    Args:
        learning_rate: for all four tensors, below 1; the rate used is the nearest one that the secure head can apply
            exactly (`amint_mpc.limits`).
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
        numerator, k = representable_momentum(momentum)
        self.momentum = numerator / 2**k
        self._before: HeadWeights | None = None

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """See `HeadOptimizer.step`."""
        before, self._before = self._before or weights, weights
        velocity = _moved(weights, before, -1.0)
        return _moved(super().step(weights, gradients, members), velocity, self.momentum)


class NovoGrad:
    """NovoGrad (Ginsburg et al. 2019) without a first moment, with the second moment of the step before.

    Two layers, (w1, b1) and w2; b2 moves with the rate of w2. A layer's rate, for sums over rows, is
    s = learning_rate / sqrt(v), kept as octaves = -2 log2 s between 0 and MAX_OCTAVES; they follow the length of the
    layer's last step, as `amint_mpc.mpc.protocols.novograd` says. The constants: `amint_mpc.limits`.
    """

    def __init__(self, learning_rate: float, beta2: float) -> None:
        self.learning_rate, self.beta2 = learning_rate, beta2
        self.octaves = [float(START_OCTAVES)] * 2
        self._lengths: list[float] = []  # squared, of the last step
        self._taken = 0

    def step(self, weights: HeadWeights, gradients: HeadWeights, members: int) -> HeadWeights:
        """See `HeadOptimizer.step`.

        Raises:
            ProtocolError: a step too long for the secure head.
        """
        beta = SEARCH_BETA if self._taken <= SEARCH else self.beta2
        for layer, length in enumerate(self._lengths):
            growth = math.log2(beta + (1 - beta) * min(length / self.learning_rate**2, CLIP))
            self.octaves[layer] = min(max(self.octaves[layer] + growth, 0.0), MAX_OCTAVES)
        self._taken += 1
        rates = [members * 2 ** (-octaves / 2) for octaves in self.octaves]
        by_name = {"w1": rates[0], "b1": rates[0], "w2": rates[1], "b2": rates[1]}
        moved = {name: by_name[name] * value for name, value in gradients.tensors().items()}
        squared = {name: float(value.square().sum()) for name, value in moved.items()}
        self._lengths = [squared["w1"] + squared["b1"], squared["w2"]]
        longest = min(SQUARE_LIMIT, SQUARE_LIMIT_RATIO * self.learning_rate**2)
        scaled = float(weights.w2.abs().max()) * rates[0] / members  # bounds s1 dY
        if not (max(self._lengths) < longest and scaled < SCALED_ROWS_LIMIT):  # written so that NaN is refused, too
            raise ProtocolError(
                f"a step of the head is too long for the secure NovoGrad (a square of {longest:g} or more)",
                "Lower head.learning_rate or head.beta2.",
            )
        return HeadWeights(**{name: value - moved[name] for name, value in weights.tensors().items()})


def plaintext_optimizer(head: Head) -> HeadOptimizer:
    """The optimizer that the settings name."""
    if head.optimizer == "novograd":
        return NovoGrad(head.learning_rate, head.beta2)
    if head.optimizer == "momentum":
        return Momentum(head.learning_rate, head.momentum)
    return Descent(head.learning_rate)


def _moved(weights: HeadWeights, by: HeadWeights, times: float) -> HeadWeights:
    """weights + times * by."""
    steps = by.tensors()
    return HeadWeights(**{name: value + times * steps[name] for name, value in weights.tensors().items()})
