"""The secure head: logits = ReLU(X W1 + b1) w2 + b2 on additive shares, seen from both parties.

The developer brings X and learns the gradient by X; the auditor draws the weights, learns the logits of a score and,
at the end, the weights; nobody holds the weights in between. Both run the same lines; where they differ, one of the
two brings or takes a value.

    train step    exchanges 1 weights and input | 2 hidden values | 3 chunks | 4 sign | 5 relu(Y) | 6 logits
                  | 7 sigmoid bits | 8 error | 9 dY | 10 input gradient and scaled dY, both to the developer alone
    (sgd and momentum; for novograd, which has eleven, see novograd.py)
    sealed step   the same without input and input gradient: its rows were shared before, once for all such steps
    score step    exchanges 1 to 5, then the logits to the auditor

The auditor waits for nothing in the last one and goes on to exchange 1. The longest chain of messages has ten a step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.limits import GRADIENT_LIMIT, LOGIT_LIMIT, TABLE_BITS
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskSource, Material, Plan
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.dense.layers import (
    binary_cross_entropy_gradient,
    dx_bits,
    score_plan,
    shared,
    train_plan,
)
from amint_mpc.mpc.dense.ranges import DW2_NAME, nothing_pending, pending_sums, watch, watch_pending
from amint_mpc.mpc.dense.step import Optimizer, Step, TrainingStep
from amint_mpc.mpc.protocols.linear import TABLE, Combination, TableMasks, share
from amint_mpc.mpc.protocols.ranges import beyond
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.shared_head import open_to, send_shares
from amint_mpc.transport.channel import Channel

OPENED_LOGIT_BITS = 32
"""Of the 64 bits of a logit, the top ones that are opened to the auditor."""
LOGIT_BITS = fp.Z_BITS - (64 - OPENED_LOGIT_BITS)
WEIGHT_BITS = {"w1": fp.W1_BITS, "w2": fp.W2_BITS, "b2": fp.Z_BITS}
OPENED_BITS = 16
"""Fractional bits of a weight as it is opened, at most. Exact sums of a short run could be solved for its features."""


class HeadModule(crypten.nn.Module):  # type: ignore[misc,name-defined]
    """The head as a CrypTen module. Its parameters are shared: w1 [f + 1, h] (the last row is b1), w2 [h], b2 []."""

    def __init__(self, w1: Tensor, w2: Tensor, b2: Tensor) -> None:
        super().__init__()
        self.encrypted = True  # CrypTen: the parameters are shares already
        self.register_parameter("w1", shared(w1, fp.W1_BITS))
        self.register_parameter("w2", shared(w2, fp.W2_BITS))
        self.register_parameter("b2", shared(b2, fp.Z_BITS))

    def forward(self, x: Any, step: Step) -> Any:
        return x.developers_linear(self.w1, step).relu_dot(self.w2, self.b2, step)

    def update(self, step: TrainingStep) -> None:
        """Gradient descent. The learning rate is in the gradients already (see `layers`)."""
        drift, (of_w2, of_b2) = step.updates.drift(step), step.output.result
        of_w1 = self.w1.grad.share if drift is None else self.w1.grad.share - drift
        for parameter, change in ((self.w1, of_w1), (self.w2, of_w2), (self.b2, of_b2)):
            parameter.share = parameter.share - change
            parameter.grad = None


class SecureHead:
    """The head at one party, on a link to the other and with masks from a supply.

    Args:
        channel: the link to the other party. party: DEVELOPER or AUDITOR.
        supply: this party's masks, step by step.
        inputs: features of an image. hidden: hidden units.
        optimizer: how the weights move. Its rates are for the gradient of a sum over rows.
        revealed: how many top bits of the gradient with respect to the features are opened, one of `linear.REVEALED`.
        noise: standard deviation of what the auditor adds to each entry of that gradient before it is opened. The
            auditor draws it here, from a seed that never leaves this object; the developer has none.
    """

    def __init__(
        self,
        channel: Channel,
        party: int,
        supply: MaskSource,
        inputs: int,
        hidden: int,
        optimizer: Optimizer,
        revealed: int = 32,
        noise: float = 0.0,
    ) -> None:
        self._revealed = revealed
        self._noisy = noise > 0
        self._noise = GradientNoise(noise) if noise and party == AUDITOR else None
        self.party, self.inputs, self.hidden = party, inputs, hidden
        self._optimizer, self._updates = optimizer, optimizer.updates()
        self._channel, self._supply = channel, supply
        self._rounds = Rounds(channel, party)
        self._step, self._trained = 0, 0
        self._table = torch.empty(0, dtype=torch.int64)  # of `share_features`: X here, X - A there
        self._module: HeadModule | None = None
        self._pending = nothing_pending()  # the last test of the last training step, which the next one takes along

    def __repr__(self) -> str:
        return f"SecureHead(inputs={self.inputs}, hidden={self.hidden}, party={self.party})"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the shared parameters, in the order in which they travel. The last row of w1 is b1."""
        return {"w1": (self.inputs + 1, self.hidden), "w2": (self.hidden,), "b2": ()}

    def share_weights(self, weights: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor] | None) -> None:
        """Share the initial head, which the auditor alone knows: before the first step, or to begin again with it.

        Args:
            weights: w1 [f, h], b1 [h], w2 [h], b2 [] at the auditor; None at the developer.
            masks: uniformly random int64 of the shapes of w1 [f + 1, h], w2 and b2 at the auditor, used once.
        """
        encoded = None
        if weights is not None:
            w1 = torch.cat([weights["w1"], weights["b1"][None]])
            secret = {"w1": w1, "w2": weights["w2"], "b2": weights["b2"]}
            encoded = {name: fp.encode(value, WEIGHT_BITS[name]) for name, value in secret.items()}
        self._module = HeadModule(*send_shares(self._channel, self.party, self.shapes, encoded, masks))
        self._trained, self._updates = 0, self._optimizer.updates()

    def open_weights(self) -> dict[str, Tensor] | None:
        """Open the head to the auditor alone, float64, within 2^-OPENED_BITS. None at the developer."""
        self._settle()
        dropped = {name: max(WEIGHT_BITS[name] - OPENED_BITS, 0) for name in self.shapes}
        mine = {name: getattr(self._ready(), name).share >> bits for name, bits in dropped.items()}
        sums = open_to(self._channel, self.party, AUDITOR, "open", 0, mine)
        if sums is None:
            return None
        opened = {}
        for (name, bits), total in zip(dropped.items(), sums, strict=True):
            kept = (total << bits) >> bits  # the sum of the kept bits, with its sign
            opened[name] = fp.decode(kept, WEIGHT_BITS[name] - bits)
        return {"w1": opened["w1"][:-1], "b1": opened["w1"][-1], "w2": opened["w2"], "b2": opened["b2"]}

    def train_step(self, x: Tensor | None, targets: Tensor, open_gradient: bool = True) -> Tensor | None:
        """One step of gradient descent on the sum over rows of the binary cross-entropy.

        Args:
            x: [n, f] at the developer, |x| <= limits.FEATURE_LIMIT; None at the auditor.
            targets: [n] of 0 and 1, public.
            open_gradient: whether the developer learns the gradient with respect to x; the auditor sends nothing of it
                otherwise.

        Returns:
            At the developer the gradient of the sum by x, [n, f] float64, right on average: rounded at random, and with
            the auditor's noise. None at the auditor, or where none is opened.
        """
        self._ready()
        features = self._features(x, len(targets))
        self._train(features, targets, None, open_gradient)
        if self.party == AUDITOR or not open_gradient:
            return None
        bits = dx_bits(self._revealed)
        gradient = fp.decode(features.grad.share, bits).add_(2.0 ** -(bits + 1))
        if not self._noisy and not bool((gradient.abs() < GRADIENT_LIMIT).all()):
            raise beyond(f"a gradient row (limit {GRADIENT_LIMIT:g})")
        return gradient

    def share_features(self, x: Tensor | None, rows: int) -> None:
        """See `SharedHead.share_features`. The one message about them, X - A, is uniformly random."""
        masks = TableMasks(rows, self.inputs + 1, constants=1)
        material = self._begin({TABLE.name: masks})
        table = None if self.party == AUDITOR else self._encoded(x, rows, TABLE_BITS)
        self._table = self._rounds.run(share(self._rounds, masks, material[TABLE.name], table))

    def train_on_shared(self, rows: Combination, targets: Tensor, optimizer: Optimizer) -> None:
        """See `SharedHead.train_on_shared`."""
        if optimizer != self._optimizer:
            self._optimizer, self._updates = optimizer, optimizer.updates()
        self._train(shared_input(rows(self._table)), targets, rows, open_gradient=False)

    def _train(self, features: Any, targets: Tensor, standing: Combination | None, open_gradient: bool) -> None:
        """One step. Args: features: a shared tensor, [n, f + 1]."""
        module = self._ready()
        sizes = len(targets), self.inputs + 1, self.hidden
        plan = train_plan(*sizes, self._optimizer, self._trained, self._revealed, standing)
        step = TrainingStep(self._rounds, plan, self._begin(plan), self._updates, open_gradient, self._noise)
        self._watch(step)
        self._updates.begin(step, module.w1.share)
        module.train()
        z = module(features, step)
        z.backward(binary_cross_entropy_gradient(z, targets, step))
        module.update(step)
        self._trained += 1
        self._pending = pending_sums(step)

    def logits(self, x: Tensor | None, rows: int) -> Tensor | None:
        """Score a batch; the logits go to the auditor alone.

        Args:
            x: [rows, f] at the developer; None at the auditor.

        Returns:
            [rows] float64 at the auditor, to 2^-LOGIT_BITS: the low bits, which would say more of an image than its
            score, never leave the developer. None at the developer.
        """
        module = self._ready()
        plan = score_plan(rows, self.inputs + 1, self.hidden)
        step = Step(self._rounds, plan, self._begin(plan))
        module.eval()
        features = self._features(x, rows)
        self._watch(step)
        z = module(features, step).share
        top = self._rounds.run(opened_logits(self._rounds, z))
        if top is None:
            return None
        logits = fp.decode(top.long(), LOGIT_BITS)
        if not bool((logits.abs() < LOGIT_LIMIT).all()):
            raise beyond(f"a logit (limit {LOGIT_LIMIT:g})")
        return logits

    def snapshot(self) -> dict[str, Tensor]:
        """This party's shares of the parameters as they are now."""
        return {name: parameter.share.clone() for name, parameter in self._ready().named_parameters()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go back to shares that `snapshot` gave; both parties do, for the same step. No message.

        The next opening of a weight is under a fresh mask, so it says nothing of the one before (`protocols.linear`).
        """
        for name, parameter in self._ready().named_parameters():
            parameter.share = snapshot[name].clone()
        self._updates = self._optimizer.updates()  # what these remember is of other weights

    @property
    def done(self) -> int:
        """Steps taken or passed over: the number of the next one."""
        return self._step

    def skip(self, plan: Plan) -> None:
        """Pass over one step; both parties do. Its masks are never used."""
        self._supply.skip(self._step, plan)
        self._step += 1

    def _ready(self) -> HeadModule:
        if self._module is None:
            raise RuntimeError("share the weights first")
        return self._module

    def _begin(self, plan: Plan) -> Mapping[str, Material]:
        material = self._supply.take(self._step, plan)
        self._rounds.begin(self._step)
        self._step += 1
        return material

    def _watch(self, step: Step) -> None:
        """Start what tests, beside the layers, that everything is in its range."""
        self._rounds.start(watch_pending(self._rounds, self._pending))
        self._pending = nothing_pending()
        module = self._ready()
        self._rounds.start(watch(step, module.w1.share, module.b2.share))

    def _settle(self) -> None:
        """Before weights are opened, the auditor looks at a test that no step has taken along."""
        sums = open_to(self._channel, self.party, AUDITOR, "range", 0, {"dw2": self._pending})
        self._pending = nothing_pending()
        if sums is not None and bool(sums[0].any()):
            raise beyond(DW2_NAME)

    def _features(self, x: Tensor | None, rows: int) -> Any:
        """X with its column of ones, as a shared tensor: X itself at the developer, nothing at the auditor."""
        if self.party == AUDITOR:
            return shared_input(torch.zeros(1, dtype=torch.int64))
        return shared_input(self._encoded(x, rows, fp.X_BITS))

    def _encoded(self, x: Tensor | None, rows: int, bits: int) -> Tensor:
        """X with its column of ones, [rows, f + 1], as ring elements."""
        if x is None or x.shape != (rows, self.inputs):
            raise ProtocolError(f"the head takes features of shape ({rows}, {self.inputs})")
        fp.check_features(x)
        return fp.encode(torch.cat([x.double(), torch.ones(rows, 1)], dim=1), bits)


class GradientNoise:
    """Gaussian noise for the opened gradient, of the auditor alone: the `Noise` of `protocols.linear`.

    Args:
        deviation: standard deviation of an entry.

    Guarantees:
        the auditor's alone: its seed is drawn here, from the machine's randomness; no message, file or repr has it.
    Edge cases:
        it is added modulo the ring, so gradient and noise together are read modulo 2 * DX_LIMIT.
        no entry is more than 8.2 deviations from 0: the uniform numbers behind it have 52 bits.
    """

    def __init__(self, deviation: float) -> None:
        self._deviation = deviation
        self._stream = SecretStream(os.urandom(SEED_BYTES), "noise of the gradient")

    def __repr__(self) -> str:
        return "GradientNoise()"

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """The next entries, int64, DX_BITS."""
        drawn = self._stream.normal(*shape) * self._deviation
        return fp.encode(torch.remainder(drawn + fp.DX_LIMIT, 2 * fp.DX_LIMIT) - fp.DX_LIMIT, fp.DX_BITS)


def opened_logits(rounds: Rounds, z: Tensor) -> InRounds[Tensor | None]:
    """The top OPENED_LOGIT_BITS of z at the auditor, int32, [n]; None at the developer. z: share, [n]."""
    top = (z >> (64 - OPENED_LOGIT_BITS)).to(torch.int32)
    theirs = rounds.hand_over(DEVELOPER, top if rounds.party == DEVELOPER else None, tuple(z.shape), torch.int32)
    yield
    return None if rounds.party == DEVELOPER else top + theirs.value


def shared_input(share: Tensor) -> Any:
    tensor = shared(share, fp.X_BITS)
    tensor.requires_grad = True
    return tensor
