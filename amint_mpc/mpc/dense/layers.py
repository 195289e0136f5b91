"""The secure protocols as CrypTen autograd functions, so that the head is an ordinary `crypten.nn` module.

A function gets, beside its shared tensors, the `Step` that carries the openings, this step's masks and the optimizer.
Gradients with respect to parameters come out multiplied by the learning rate, in the scale of the parameter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.dense.descent import Optimizer
from amint_mpc.mpc.dense.step import Step
from amint_mpc.mpc.protocols.linear import REVEALED_BITS, Linear, LinearMasks
from amint_mpc.mpc.protocols.relu import ReluDot, ReluMasks
from amint_mpc.mpc.protocols.sigmoid import INPUT_BITS, Sigmoid, SigmoidTables
from amint_mpc.mpc.ring import fixed_point as fp

DX_REVEALED_BITS = fp.DX_BITS - (64 - REVEALED_BITS)
"""Fractional bits of the input gradient as the developer gets it."""


def train_plan(rows: int, inputs: int, hidden: int, optimizer: Optimizer, number: int = 0) -> dict[str, Correlation]:
    """What one training step of the head needs from the dealer.

    Args:
        inputs: with the column of ones.
        number: training steps that were taken before.
    """
    return {
        "linear": LinearMasks(rows, inputs, hidden, constants=1),
        "relu": ReluMasks(rows, hidden),
        "sigmoid": SigmoidTables(rows),
        **optimizer.masks(rows, inputs, hidden, number),
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


@crypten.gradients.register_function("developers_linear")
class DevelopersLinear(crypten.gradients.AutogradFunction):  # type: ignore[misc,name-defined]
    """Y = X W where X is the developer's: its share is X, the auditor's is zero."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, step: Step) -> Any:
        masks = step.plan["linear"]
        assert isinstance(masks, LinearMasks)
        linear = Linear(step.rounds, masks, step.material["linear"])
        step.opened["w1"] = linear.post(x.share if step.rounds.party == DEVELOPER else None, w.share)
        step.exchange()
        ctx.save_multiple_for_backward((linear, step))
        return shared(linear.product(), fp.Y_BITS)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> tuple[Any, Any]:
        linear, step = ctx.saved_tensors
        assert step.optimizer is not None
        scaling = step.optimizer.scale_rows(step, dy.share, linear.post_gradient(dy.share))
        next(scaling)
        step.exchange()
        if step.open_gradient:
            linear.post_input_gradient()
        linear.post_update(step.finish(scaling))
        step.exchange()
        # the developer's share is the whole value, the auditor's is zero
        learns = step.open_gradient and step.rounds.party == DEVELOPER
        dx = linear.input_gradient() if learns else torch.zeros(1, dtype=torch.int64)
        return shared(dx, DX_REVEALED_BITS), shared(linear.update(), fp.W1_BITS)


@crypten.gradients.register_function("relu_dot")
class ReluDotFunction(crypten.gradients.AutogradFunction):  # type: ignore[misc,name-defined]
    """z = ReLU(Y) w2 + b2."""

    @staticmethod
    def forward(ctx: Any, y: Any, w2: Any, b2: Any, step: Step) -> Any:
        masks = step.plan["relu"]
        assert isinstance(masks, ReluMasks)
        layer = ReluDot(step.rounds, masks, step.material["relu"])
        step.opened["w2"] = layer.post(y.share, w2.share)
        step.exchange()
        layer.post_chunks()
        step.exchange()
        layer.post_sign()
        step.exchange()
        ctx.save_multiple_for_backward((layer, step))
        return shared(layer.logits() + b2.share, fp.Z_BITS)

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple[Any, Any, Any]:
        layer, step = ctx.saved_tensors
        layer.post_error(g.share)
        step.exchange()
        dy, dw2 = layer.gradients()
        # begun here, goes on beside the layer below, and is read by the optimizer after the backward pass
        assert step.optimizer is not None
        step.start("output", step.optimizer.scale_output(step, dw2, g.share))
        return shared(dy, fp.DY_BITS), PendingGradient(step, 0), PendingGradient(step, 1)


class PendingGradient:
    """The step of w2 (0) or of b2 (1), whose openings share the rounds of the layer below."""

    def __init__(self, step: Step, number: int) -> None:
        self._step, self._number = step, number

    @property
    def share(self) -> Tensor:
        share: Tensor = self._step.result("output")[self._number]
        return share


def binary_cross_entropy_gradient(z: Any, targets: Tensor, step: Step) -> Any:
    """sigmoid(z) - y as shares; the loss value itself is not computed. targets: [n] of 0 and 1, public."""
    sigmoid = Sigmoid(step.rounds, step.material["sigmoid"])
    sigmoid.post(z.share << (INPUT_BITS - fp.Z_BITS))
    step.exchange()
    sigmoid.post_bits()
    step.exchange()
    g = sigmoid.value()
    if step.rounds.party == DEVELOPER:
        g = g - (targets.long() << fp.G_BITS)
    return shared(g, fp.G_BITS)
