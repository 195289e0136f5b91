"""The secure protocols as CrypTen autograd functions, so that the head is an ordinary `crypten.nn` module.

A function gets, beside its shared tensors, the `Step` that carries the openings and this step's masks. Gradients by
parameters come out multiplied by the learning rate, in the scale of the parameter: scaling dY [n, h] before the
product X^T dY costs one truncation of n h values instead of f h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc import fixed_point as fp
from amint_mpc.mpc.correlations.base import DEVELOPER, Correlation, Material, Plan
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.protocols import truncate
from amint_mpc.mpc.protocols.linear import REVEALED_BITS, Linear, LinearMasks
from amint_mpc.mpc.protocols.relu import ReluDot, ReluMasks
from amint_mpc.mpc.protocols.sigmoid import INPUT_BITS, Sigmoid, SigmoidTables
from amint_mpc.mpc.rounds import Rounds

DX_REVEALED_BITS = fp.DX_BITS - (64 - REVEALED_BITS)
"""Fractional bits of the input gradient as the developer gets it."""


MAX_NUMERATOR = 3
MAX_SHIFT = 62 - (fp.DW2_BITS - fp.W2_BITS)  # a truncation drops at most 62 bits; that of dw2 is the largest


@dataclass(frozen=True)
class Rate:
    """A public learning rate a / 2^k, 1 <= a <= 3 and 0 <= k <= 24.

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
                f"take a learning rate over rows between 2^{1 - MAX_SHIFT} and 1",
            )


@dataclass
class Step:
    """One step at one party: the openings, the masks, and the learning rate."""

    rounds: Rounds
    plan: Plan
    material: Mapping[str, Material]
    rate: Rate | None = None


def train_plan(rows: int, inputs: int, hidden: int, rate: Rate) -> dict[str, Correlation]:
    """What one training step of the head needs from the dealer. inputs: with the column of ones."""
    return {
        "linear": LinearMasks(rows, inputs, hidden, constants=1),
        "relu": ReluMasks(rows, hidden),
        "sigmoid": SigmoidTables(rows),
        "dy": truncate.TruncationMasks((rows, hidden), fp.DY_BITS + rate.shift - fp.UPDATE_BITS),
        "dw2": truncate.TruncationMasks((hidden,), fp.DW2_BITS + rate.shift - fp.W2_BITS),
    }


def score_plan(rows: int, inputs: int, hidden: int) -> dict[str, Correlation]:
    """What scoring a batch needs from the dealer."""
    return {
        "linear": LinearMasks(rows, inputs, hidden, training=False),
        "relu": ReluMasks(rows, hidden, training=False),
    }


def shared(share: Tensor, bits: int) -> Any:
    """An MPCTensor around a share, `bits` fractional bits. (`from_shares` would first share an empty tensor.)"""
    tensor = object.__new__(crypten.mpc.MPCTensor)
    crypten.CrypTensor.__init__(tensor)
    tensor._tensor = crypten.mpc.primitives.ArithmeticSharedTensor.from_shares(share, precision=bits)
    tensor.ptype = crypten.mpc.arithmetic
    return tensor


class _Truncation:
    """x >> bits for one posted value."""

    def __init__(self, step: Step, name: str, share: Tensor) -> None:
        masks = step.plan[name]
        assert isinstance(masks, truncate.TruncationMasks)
        self._bits, self._material, self._party = masks.bits, step.material[name], step.rounds.party
        self._opened = step.rounds.open(truncate.mask(share, self._material, self._party))

    def result(self) -> Tensor:
        return truncate.finish(self._opened.value, self._material, self._bits, self._party)


@crypten.gradients.register_function("developers_linear")
class DevelopersLinear(crypten.gradients.AutogradFunction):  # type: ignore[misc,name-defined]
    """Y = X W where X is the developer's: its share is X, the auditor's is zero."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, step: Step) -> Any:
        masks = step.plan["linear"]
        assert isinstance(masks, LinearMasks)
        linear = Linear(step.rounds, masks, step.material["linear"])
        linear.post(x.share if step.rounds.party == DEVELOPER else None, w.share)
        step.rounds.exchange()
        ctx.save_multiple_for_backward((linear, step))
        return shared(linear.product(), fp.Y_BITS)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> tuple[Any, Any]:
        linear, step = ctx.saved_tensors
        assert step.rate is not None
        linear.post_gradient(dy.share)
        scaled = _Truncation(step, "dy", dy.share * step.rate.numerator)
        step.rounds.exchange()
        linear.post_input_gradient()
        linear.post_update(scaled.result())
        step.rounds.exchange()
        # the developer's share is the whole value, the auditor's is zero
        dx = linear.input_gradient() if step.rounds.party == DEVELOPER else torch.zeros(1, dtype=torch.int64)
        return shared(dx, DX_REVEALED_BITS), shared(linear.update(), fp.W1_BITS)


@crypten.gradients.register_function("relu_dot")
class ReluDotFunction(crypten.gradients.AutogradFunction):  # type: ignore[misc,name-defined]
    """z = ReLU(Y) w2 + b2."""

    @staticmethod
    def forward(ctx: Any, y: Any, w2: Any, b2: Any, step: Step) -> Any:
        masks = step.plan["relu"]
        assert isinstance(masks, ReluMasks)
        layer = ReluDot(step.rounds, masks, step.material["relu"])
        layer.post(y.share, w2.share)
        step.rounds.exchange()
        layer.post_chunks()
        step.rounds.exchange()
        layer.post_sign()
        step.rounds.exchange()
        ctx.save_multiple_for_backward((layer, step))
        return shared(layer.logits() + b2.share, fp.Z_BITS)

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple[Any, Any, Any]:
        layer, step = ctx.saved_tensors
        layer.post_error(g.share)
        step.rounds.exchange()
        dy, dw2 = layer.gradients()
        # posted here, opened in the round of the layer below, read by the optimizer after the backward pass
        pending = PendingGradient(_Truncation(step, "dw2", dw2 * step.rate.numerator))
        db2 = g.share.sum() * (step.rate.numerator << (fp.Z_BITS - fp.G_BITS - step.rate.shift))
        return shared(dy, fp.DY_BITS), pending, shared(db2, fp.Z_BITS)


class PendingGradient:
    """A gradient whose opening shares a round with the next layer's."""

    def __init__(self, truncation: _Truncation) -> None:
        self._truncation = truncation

    @property
    def share(self) -> Tensor:
        return self._truncation.result()


def binary_cross_entropy_gradient(z: Any, targets: Tensor, step: Step) -> Any:
    """sigmoid(z) - y as shares; the loss value itself is not computed. targets: [n] of 0 and 1, public."""
    sigmoid = Sigmoid(step.rounds, step.material["sigmoid"])
    sigmoid.post(z.share << (INPUT_BITS - fp.Z_BITS))
    step.rounds.exchange()
    sigmoid.post_bits()
    step.rounds.exchange()
    g = sigmoid.value()
    if step.rounds.party == DEVELOPER:
        g = g - (targets.long() << fp.G_BITS)
    return shared(g, fp.G_BITS)
