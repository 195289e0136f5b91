"""How the head's weights move: gradient descent, and momentum.

An optimizer says which masks it needs; its updates take their part in the rounds of a step (step.py).

The learning rate is applied to dY [n, h] before the product X^T dY, which costs one truncation of n h values instead
of f h.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.limits import MAX_NUMERATOR, MAX_SHIFT, MOMENTUM_RANGE, blocks
from amint_mpc.mpc.correlations.base import Correlation, Slot
from amint_mpc.mpc.dense.step import Optimizer, TrainingStep, Updates
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened, side_by_side
from amint_mpc.mpc.protocols.truncate import TruncationMasks, truncated
from amint_mpc.mpc.ring import fixed_point as fp

MAX_MOMENTUM_SHIFT = 16  # so that the wrap of a truncation fits two bytes (truncate.py)
VELOCITY_BITS = 30  # of w2, whose own W2_BITS would be too few to multiply again and again
B2_VELOCITY_BITS = fp.G_BITS + MAX_SHIFT  # as many as its gradient has: more would leave a velocity no room

DY = Slot("dy", TruncationMasks)
DW2 = Slot("dw2", TruncationMasks)
W1_VELOCITY = Slot("velocity of w1", TruncationMasks)
VELOCITY = Slot("velocity", TruncationMasks)
AGAIN = Slot("again", TruncationMasks)
FINER_DW2 = Slot("dw2 for the velocity", TruncationMasks)


@dataclass(frozen=True)
class GradientDescent:
    """Plain gradient descent at a public learning rate a / 2^k, 1 <= a <= MAX_NUMERATOR and 0 <= k <= MAX_SHIFT.

    Raises:
        UsageError: another a or k, which the truncations of the gradients could not apply.
    """

    numerator: int
    shift: int

    def __post_init__(self) -> None:
        if not (1 <= self.numerator <= MAX_NUMERATOR and 0 <= self.shift <= MAX_SHIFT):
            raise UsageError(
                f"the secure head applies a learning rate a / 2^k with 1 <= a <= {MAX_NUMERATOR} and "
                f"0 <= k <= {MAX_SHIFT}, not {self.numerator} / 2^{self.shift}",
                f"Take a learning rate over rows between 2^{1 - MAX_SHIFT} and 1",
            )

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """See `Optimizer.masks`."""
        return {
            DY.name: TruncationMasks((rows, hidden), fp.DY_BITS + self.shift - fp.UPDATE_BITS),
            DW2.name: TruncationMasks((blocks(rows), hidden), fp.DW2_BITS + self.shift - fp.W2_BITS),
        }

    def reach(self, rows: int) -> float:
        """See `Optimizer.reach`."""
        return rows * self.numerator * 2.0**-self.shift

    def updates(self) -> Updates:
        """See `Optimizer.updates`."""
        return DescentUpdates(self)


class DescentUpdates:
    """See `Updates`. There is nothing to remember."""

    def __init__(self, rate: GradientDescent) -> None:
        self._rate = rate

    def begin(self, step: TrainingStep, w1: Tensor) -> None:
        """See `Updates.begin`."""

    def scale_rows(self, step: TrainingStep, dy: Tensor, d: Opened) -> InRounds[Tensor]:
        """See `Updates.scale_rows`: the truncation shares the round of dY - S."""
        return truncated(step.rounds, *step.dealt(DY), dy * self._rate.numerator)

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Updates.scale_output`. dw2 is multiplied by a after its truncation, which has no more room."""
        a, k = self._rate.numerator, self._rate.shift
        of_w2 = yield from truncated(step.rounds, *step.dealt(DW2), dw2)
        return of_w2.sum(dim=0) * a, g.sum() * (a << (fp.Z_BITS - fp.G_BITS - k))

    def drift(self, step: TrainingStep) -> Tensor | None:
        """See `Updates.drift`."""
        return None


@dataclass(frozen=True)
class Momentum(GradientDescent):
    """Gradient descent that takes a / 2^k of its last step again.

    Args:
        again: (a, k), a odd, 0 < a < 2^k, k at most MAX_MOMENTUM_SHIFT.

    Raises:
        UsageError: as `GradientDescent`, or other momentum.
    """

    again: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        a, k = self.again
        if not (a % 2 == 1 and 0 < a < 1 << k and k <= MAX_MOMENTUM_SHIFT):
            raise UsageError(
                f"the secure head applies momentum a / 2^k with an odd a, 0 < a < 2^k and k <= {MAX_MOMENTUM_SHIFT}, "
                f"not {a} / 2^{k}",
                f"Take head.momentum {MOMENTUM_RANGE}",
            )

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """See `Optimizer.masks`. The first step has no velocity: its masks are dealt like all others, and not used."""
        return {
            **super().masks(rows, inputs, hidden, number),
            W1_VELOCITY.name: TruncationMasks((inputs, hidden), self.again[1]),
            VELOCITY.name: TruncationMasks((hidden + 1,), self.again[1]),
            AGAIN.name: TruncationMasks((hidden,), self.again[1] + VELOCITY_BITS - fp.W2_BITS),
            FINER_DW2.name: TruncationMasks((blocks(rows), hidden), fp.DW2_BITS + self.shift - VELOCITY_BITS),
        }

    def updates(self) -> Updates:
        """See `Optimizer.updates`."""
        return MomentumUpdates(self)


class MomentumUpdates(DescentUpdates):
    """See `Updates`.

    mu times the velocities is truncated beside exchange 1. That of w1 (with b1) is the difference of its shares in two
    steps. w2 and b2, h + 1 values, have a velocity of their own on shares, with more bits, so that what is lost in
    rounding w2 is not taken again: mu of it is truncated for the velocity and, once more, for w2; so is the gradient
    beside exchange 9.
    """

    def __init__(self, rate: Momentum) -> None:
        super().__init__(rate)
        self._mu = rate.again[0]
        self.velocity: Tensor | None = None  # share, of w2 and b2, [h + 1]
        self._w1: Tensor | None = None  # share, as it was one step ago
        self._moving = False  # or these are truncations of nothing
        self._drift: Concurrent[Tensor]
        self._decayed: Concurrent[Tensor]
        self._again: Concurrent[Tensor]

    def begin(self, step: TrainingStep, w1: Tensor) -> None:
        """See `Updates.begin`."""
        self._moving = self._w1 is not None
        moved = torch.zeros_like(w1) if self._w1 is None else w1 - self._w1
        last = torch.zeros(step.dealt(VELOCITY)[0].shape, dtype=torch.int64) if self.velocity is None else self.velocity
        self._w1 = w1
        self._drift, self._decayed, self._again = (
            step.rounds.start(truncated(step.rounds, *step.dealt(slot), value * self._mu))
            for slot, value in ((W1_VELOCITY, moved), (VELOCITY, last), (AGAIN, last[:-1]))
        )

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Updates.scale_output`: the velocities take the place of the gradients."""
        a, k = self._rate.numerator, self._rate.shift
        finer = truncated(step.rounds, *step.dealt(FINER_DW2), dw2)
        fine_w2, (of_w2, _) = yield from side_by_side(finer, super().scale_output(step, dw2, g))
        of_b2 = g.sum() * (a << (B2_VELOCITY_BITS - fp.G_BITS - k))
        self.velocity = torch.cat([fine_w2.sum(dim=0) * a, of_b2[None]])
        if self._moving:
            self.velocity, of_w2 = self.velocity + self._decayed.result, of_w2 + self._again.result
        return of_w2, self.velocity[-1] << (fp.Z_BITS - B2_VELOCITY_BITS)

    def drift(self, step: TrainingStep) -> Tensor | None:
        """See `Updates.drift`."""
        return self._drift.result if self._moving else None


def plain_descent(optimizer: Optimizer, head: str) -> GradientDescent:
    """The rate of plain gradient descent, for a head that has no other optimizer.

    Args:
        head: what the message calls it.

    Raises:
        UsageError: another optimizer.
    """
    if type(optimizer) is not GradientDescent:
        raise UsageError(f"{head} is trained by sgd alone", "Set head.optimizer to sgd")
    return optimizer
