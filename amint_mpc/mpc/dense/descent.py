"""How the head's weights move: gradient descent, and momentum.

An optimizer says what it needs from the dealer; its updates take their part in the rounds of a step (step.py).

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
from amint_mpc.mpc.dense.ranges import DW2_IN_RANGE, dw2_masks
from amint_mpc.mpc.dense.step import W1_MASK, Optimizer, TrainingStep, Updates
from amint_mpc.mpc.protocols.momentum import VelocityMasks, decayed_velocity
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened, side_by_side
from amint_mpc.mpc.protocols.truncate import TruncationMasks, truncated
from amint_mpc.mpc.ring import fixed_point as fp

MAX_MOMENTUM_SHIFT = 16  # so that the wrap of a truncation fits two bytes (truncate.py)
VELOCITY_BITS = 30  # of w2, whose own W2_BITS would be too few to multiply again and again
B2_VELOCITY_BITS = fp.G_BITS + MAX_SHIFT  # as many as its gradient has: more would leave a velocity no room

DY = Slot("dy", TruncationMasks)
DW2 = Slot("dw2", TruncationMasks)
W1_VELOCITY = Slot("velocity of w1", VelocityMasks)
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
            DW2_IN_RANGE.name: dw2_masks(rows, hidden, DW2.mask("r")),
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

    def begin(self, step: TrainingStep) -> None:
        """See `Updates.begin`."""

    def scale_rows(self, step: TrainingStep, dy: Tensor, d: Opened) -> InRounds[Tensor]:
        """See `Updates.scale_rows`: the truncation shares the round of dY - S."""
        return truncated(step.rounds, *step.dealt(DY), dy * self._rate.numerator)

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Updates.scale_output`. dw2 is multiplied by a after its truncation, which has no more room."""
        a, k = self._rate.numerator, self._rate.shift
        of_w2 = yield from truncated(step.rounds, *step.dealt(DW2), dw2, step.dw2)
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
            W1_VELOCITY.name: VelocityMasks((inputs, hidden), *self.again, W1_MASK),
            VELOCITY.name: TruncationMasks((hidden + 1,), self.again[1]),
            AGAIN.name: TruncationMasks((hidden,), self.again[1] + VELOCITY_BITS - fp.W2_BITS),
            FINER_DW2.name: TruncationMasks((blocks(rows), hidden), fp.DW2_BITS + self.shift - VELOCITY_BITS),
        }

    def updates(self) -> Updates:
        """See `Optimizer.updates`."""
        return MomentumUpdates(self)


class MomentumUpdates(DescentUpdates):
    """See `Updates`.

    w1 (with b1): from the openings of two steps (protocols/momentum.py). w2 and b2, h + 1 values, have a velocity of
    their own on shares, with more bits, so that what is lost in rounding w2 is not taken again. mu of it is truncated
     beside exchange 1, for the velocity and, once more, for w2; so is the gradient beside exchange 8.
    """

    def __init__(self, rate: Momentum) -> None:
        super().__init__(rate)
        self._mu = rate.again[0]
        self.velocity: Tensor | None = None  # share, of w2 and b2, [h + 1]
        self._w1: Tensor | None = None  # w1 - R as the step before opened it
        self._decayed: Concurrent[Tensor]
        self._again: Concurrent[Tensor]

    def begin(self, step: TrainingStep) -> None:
        """See `Updates.begin`."""
        masks, material = step.dealt(VELOCITY)
        last = torch.zeros(masks.shape, dtype=torch.int64) if self.velocity is None else self.velocity
        self._decayed = step.rounds.start(truncated(step.rounds, masks, material, last * self._mu))
        self._again = step.rounds.start(truncated(step.rounds, *step.dealt(AGAIN), last[:-1] * self._mu))

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Updates.scale_output`: the velocities take the place of the gradients."""
        a, k = self._rate.numerator, self._rate.shift
        finer = truncated(step.rounds, *step.dealt(FINER_DW2), dw2)
        fine_w2, (of_w2, _) = yield from side_by_side(finer, super().scale_output(step, dw2, g))
        of_b2 = g.sum() * (a << (B2_VELOCITY_BITS - fp.G_BITS - k))
        self.velocity = self._decayed.result + torch.cat([fine_w2.sum(dim=0) * a, of_b2[None]])
        return of_w2 + self._again.result, self.velocity[-1] << (fp.Z_BITS - B2_VELOCITY_BITS)

    def drift(self, step: TrainingStep) -> Tensor | None:
        """See `Updates.drift`."""
        masks, material = step.dealt(W1_VELOCITY)
        now, before = step.w1.value, self._w1
        self._w1 = now
        return None if before is None else decayed_velocity(masks, material, now, before, step.rounds.party)


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
