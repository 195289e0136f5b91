"""How the head's weights move. An optimizer says what it needs from the dealer and takes its part in the rounds of a
step; what it has to remember stands in `Step.state`, at each party.

The learning rate is applied to dY [n, h] before the product X^T dY, which costs one truncation of n h values instead
of f h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc.correlations.base import Correlation, MaskRef
from amint_mpc.mpc.dense.step import Step
from amint_mpc.mpc.protocols.momentum import VelocityMasks, decayed_velocity
from amint_mpc.mpc.protocols.rounds import InRounds, Opened
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from amint_mpc.mpc.ring import fixed_point as fp

MAX_NUMERATOR = 3
MAX_SHIFT = 62 - (fp.DW2_BITS - fp.W2_BITS)  # a truncation drops at most 62 bits; that of dw2 is the largest
MAX_MOMENTUM_SHIFT = 16
VELOCITY_BITS = 30  # of w2, whose own 14 would be too few to multiply again and again
B2_VELOCITY_LIMIT = 2.0 ** (62 - fp.Z_BITS)
"""a |velocity of b2|, for momentum a / 2^k, stays below: it is truncated. w1 and w2 have a million times that room."""
W1_MASK = MaskRef("linear", "r")
"""The mask under which every step opens w1."""


class Optimizer(Protocol):
    """What a training step asks of an optimizer. Every party derives the same one from the agreed experiment."""

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """What it needs from the dealer for training step `number`, counted from 0."""
        ...

    def begin(self, step: Step, weights: Mapping[str, Tensor]) -> None:
        """Called before the first round. weights: this party's shares of w1, w2 and b2."""

    def scale_rows(self, step: Step, dy: Tensor, opened: Opened) -> InRounds[Tensor]:
        """rate * dY [n, h], UPDATE_BITS. Begins before the round that opens dY - S.

        Args:
            dy: share of dY, DY_BITS. opened: dY - S, the masks being "s" of "linear".
        """
        ...

    def scale_output(self, step: Step, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """rate * dw2 [h], W2_BITS, and rate * db2 [], Z_BITS. Begins before the round that opens dY - S.

        Args:
            dw2: [h], DW2_BITS. g: [n], G_BITS.
        """
        ...

    def drift(self, step: Step) -> Mapping[str, Tensor]:
        """At the end of the step: what is added to the weights beside the step down the gradient."""
        ...


@dataclass(frozen=True)
class GradientDescent:
    """Plain gradient descent at a public learning rate a / 2^k, 1 <= a <= 3 and 0 <= k <= 24.

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
            "dy": TruncationMasks((rows, hidden), fp.DY_BITS + self.shift - fp.UPDATE_BITS),
            "dw2": TruncationMasks((hidden,), fp.DW2_BITS + self.shift - fp.W2_BITS),
        }

    def begin(self, step: Step, weights: Mapping[str, Tensor]) -> None:
        """See `Optimizer.begin`."""

    def scale_rows(self, step: Step, dy: Tensor, opened: Opened) -> InRounds[Tensor]:
        """See `Optimizer.scale_rows`: the truncation shares the round of dY - S."""
        return step.truncated("dy", dy * self.numerator)

    def scale_output(self, step: Step, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Optimizer.scale_output`."""
        db2 = g.sum() * (self.numerator << (fp.Z_BITS - fp.G_BITS - self.shift))
        return (yield from step.truncated("dw2", dw2 * self.numerator)), db2

    def drift(self, step: Step) -> Mapping[str, Tensor]:
        """See `Optimizer.drift`."""
        return {}


@dataclass(frozen=True)
class Momentum(GradientDescent):
    """Gradient descent that takes a / 2^k of its last step again.

    w1 (with b1): from the openings of two steps (protocols/momentum.py). w2 and b2, h + 1 values, have a velocity of
    their own on shares, with 16 bits more than w2 has, so that what is lost in rounding w2 is not taken again. mu of it
    is truncated beside exchange 1, for the velocity and, once more, for w2; so is the gradient beside exchange 8.

    Args:
        again: (a, k), a odd, 0 < a < 2^k, k at most 16.

    State: the opened w1 - R of the step before; shares of the velocity of w2 and b2 [h + 1].

    Raises:
        UsageError: as `Rate`, or other momentum.
    """

    again: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        a, k = self.again
        if not (a % 2 == 1 and 0 < a < 1 << k and k <= MAX_MOMENTUM_SHIFT):
            raise UsageError(
                f"the secure head applies momentum a / 2^k with an odd a, 0 < a < 2^k and k <= {MAX_MOMENTUM_SHIFT}, "
                f"not {a} / 2^{k}",
                "Take head.momentum between 1/128 and 127/128",
            )

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """See `Optimizer.masks`. The first step has no velocity: its masks are dealt like all others, and not used."""
        return {
            **super().masks(rows, inputs, hidden, number),
            "velocity of w1": VelocityMasks((inputs, hidden), *self.again, W1_MASK),
            "velocity": TruncationMasks((hidden + 1,), self.again[1]),
            "again": TruncationMasks((hidden,), self.again[1] + VELOCITY_BITS - fp.W2_BITS),
            "dw2 for the velocity": TruncationMasks((hidden,), fp.DW2_BITS + self.shift - VELOCITY_BITS),
        }

    def begin(self, step: Step, weights: Mapping[str, Tensor]) -> None:
        """See `Optimizer.begin`."""
        last = step.state.get("velocity", torch.zeros(len(weights["w2"]) + 1, dtype=torch.int64))
        step.start("velocity", step.truncated("velocity", last * self.again[0]))
        step.start("again", step.truncated("again", last[:-1] * self.again[0]))

    def scale_output(self, step: Step, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Optimizer.scale_output`: the velocities take the place of the gradients."""
        finer = step.truncated("dw2 for the velocity", dw2 * self.numerator)
        next(finer)
        of_w2, of_b2 = yield from super().scale_output(step, dw2, g)
        velocity = step.result("velocity") + torch.cat([step.finish(finer), of_b2[None]])
        step.state["velocity"] = velocity
        return of_w2 + step.result("again"), velocity[-1]

    def drift(self, step: Step) -> Mapping[str, Tensor]:
        """See `Optimizer.drift`."""
        masks, now, before = step.plan["velocity of w1"], step.opened["w1"].value, step.state.get("w1")
        assert isinstance(masks, VelocityMasks)
        step.state["w1"] = now
        if before is None:
            return {}
        material = step.material["velocity of w1"]
        return {"w1": decayed_velocity(masks, material, now, before, step.rounds.party)}
