"""The secure protocols as CrypTen autograd functions, so that the head is an ordinary `crypten.nn` module.

A function gets, beside its shared tensors, the `Step`, on whose rounds it runs a protocol from beginning to end; what
the backward pass needs of the forward one is that protocol's result. What goes on beside several functions was started
on the same rounds. Gradients with respect to parameters come out multiplied by the learning rate, in the scale of the
parameter.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.dense.ranges import open_dw2, watch_logits, watching
from amint_mpc.mpc.dense.step import LINEAR, RELU, SIGMOID, Optimizer, Step, TrainingStep
from amint_mpc.mpc.protocols import linear, relu
from amint_mpc.mpc.protocols.linear import TABLE, Combination, LinearMasks, TableMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables, sigmoid
from amint_mpc.mpc.ring import fixed_point as fp


def dx_bits(revealed: int) -> int:
    """Fractional bits of the input gradient as the developer gets it. Args: revealed: how many top bits are opened."""
    return fp.DX_BITS - (64 - revealed)


def train_plan(
    rows: int,
    inputs: int,
    hidden: int,
    optimizer: Optimizer,
    number: int = 0,
    revealed: int = 32,
    standing: Combination | None = None,
) -> dict[str, Correlation]:
    """The masks of one training step of the head.

    Args:
        inputs: with the column of ones.
        number: training steps that were taken before.
        revealed: how many top bits of the gradient with respect to the features are opened.
        standing: which combinations of shared rows it is on; None: its rows are shared in it.
    """
    return {
        LINEAR.name: LinearMasks(rows, inputs, hidden, constants=1, standing=standing, revealed=revealed),
        RELU.name: ReluMasks(rows, hidden),
        SIGMOID.name: SigmoidTables(rows),
        **optimizer.masks(rows, inputs, hidden, number),
        **watching(rows, inputs, hidden, optimizer.reach(rows)),
    }


def table_plan(rows: int, inputs: int) -> dict[str, Correlation]:
    """The mask of a table of rows that is shared: it is drawn, and nothing is sent for it."""
    return {TABLE.name: TableMasks(rows, inputs, constants=1)}


def score_plan(rows: int, inputs: int, hidden: int) -> dict[str, Correlation]:
    """The masks of a batch that is scored."""
    return {
        LINEAR.name: LinearMasks(rows, inputs, hidden, training=False, constants=1),
        RELU.name: ReluMasks(rows, hidden, training=False),
        **watching(rows, inputs, hidden, None),
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
    """Y = X W where X is the developer's: its share is X, the auditor's is zero, or where X stands X - A."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, step: Step) -> Any:
        masks, material = step.dealt(LINEAR)
        own = x.share if step.rounds.party == DEVELOPER or masks.standing is not None else None
        layer = step.rounds.run(linear.forward(step.rounds, masks, material, own, w.share, step.w1))
        ctx.save_multiple_for_backward((layer, step))
        return shared(layer.y, fp.Y_BITS)

    @staticmethod
    def backward(ctx: Any, dy: Any) -> tuple[Any, Any]:
        layer: linear.Forward
        step: TrainingStep
        layer, step = ctx.saved_tensors
        scaling = partial(step.updates.scale_rows, step, dy.share)
        dx, update = step.rounds.run(
            linear.backward(step.rounds, layer, dy.share, scaling, step.open_gradient, step.noise)
        )
        # the developer's share of dX is the whole value, the auditor's is zero
        own = torch.zeros(1, dtype=torch.int64) if dx is None else dx
        return shared(own, dx_bits(layer.masks.revealed)), shared(update, fp.W1_BITS)


@crypten.gradients.register_function("relu_dot")
class ReluDot(crypten.gradients.AutogradFunction):  # type: ignore[misc,name-defined]
    """z = ReLU(Y) w2 + b2."""

    @staticmethod
    def forward(ctx: Any, y: Any, w2: Any, b2: Any, step: Step) -> Any:
        layer = step.rounds.run(relu.forward(step.rounds, *step.dealt(RELU), y.share, w2.share, step.y, step.w2))
        ctx.save_multiple_for_backward((layer, step))
        return shared(layer.z + b2.share, fp.Z_BITS)

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple[Any, Any, Any]:
        layer: relu.Forward
        step: TrainingStep
        layer, step = ctx.saved_tensors
        dy, dw2 = step.rounds.run(relu.backward(step.rounds, layer, g.share))
        open_dw2(step, dw2)
        # begun here, goes on beside the layer below, and is read after the backward pass
        step.output = step.rounds.start(step.updates.scale_output(step, dw2, g.share))
        return shared(dy, fp.DY_BITS), step.output, step.output  # CrypTen keeps the last two without looking at them


def binary_cross_entropy_gradient(z: Any, targets: Tensor, step: Step) -> Any:
    """sigmoid(z) - y as shares; the loss value itself is not computed. targets: [n] of 0 and 1, public."""
    _, material = step.dealt(SIGMOID)
    step.rounds.start(watch_logits(step, z.share))
    g = step.rounds.run(sigmoid(step.rounds, material, z.share))
    if step.rounds.party == DEVELOPER:
        g = g - (targets.long() << fp.G_BITS)
    return shared(g, fp.G_BITS)
