"""The protocols, each as one function that both parties run, with the masks of what they send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols import linear as linear_layer
from amint_mpc.mpc.protocols import relu as relu_layer
from amint_mpc.mpc.protocols import sigmoid as sigmoid_tables
from amint_mpc.mpc.protocols import truncate
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from tests.mpc.views import Mask, Party

USED_BITS = {"relu.gate_mask": 10, "sigmoid.flip": 16}
"""Of the words that carry fewer bits than they have."""


def linear(
    rounds: Rounds, masks: LinearMasks, material: Any, inputs: Sequence[Any]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """inputs: x or None, shares of w, dy and the scaled dy. Returns shares of Y and of the update, and dX or None."""
    x, w, dy, scaled = inputs
    layer = rounds.run(linear_layer.forward(rounds, masks, material, x, w))
    dx, update = rounds.run(linear_layer.backward(rounds, layer, dy, lambda _: next_round(scaled), True))
    return layer.y, dx, update


def next_round(scaled: Tensor) -> InRounds[Tensor]:
    """The scaling of an optimizer that needs one round and opens nothing in it."""
    yield
    return scaled


def relu(
    rounds: Rounds, masks: ReluMasks, material: Any, inputs: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """inputs: shares of y, w2, g. Returns shares of z, dY, dw2, and the share of s as (opened v, flip)."""
    y, w2, g = inputs
    layer = rounds.run(relu_layer.forward(rounds, masks, material, y, w2))
    dy, dw2 = rounds.run(relu_layer.backward(rounds, layer, g))
    v = layer.v.long()
    public = v if rounds.party == DEVELOPER else 0
    return layer.z, dy, dw2.sum(dim=0), public + (1 - 2 * v) * material["beta"]


def sigmoid(rounds: Rounds, masks: SigmoidTables, material: Any, inputs: Sequence[Any]) -> Tensor:
    """inputs: share of z. Returns the share of p."""
    return rounds.run(sigmoid_tables.sigmoid(rounds, material, inputs[0]))


def truncation(rounds: Rounds, masks: truncate.TruncationMasks, material: Any, inputs: Sequence[Any]) -> Tensor:
    """inputs: share of x. Returns the share of x >> bits."""
    return rounds.run(truncate.truncated(rounds, masks, material, inputs[0]))


@dataclass(frozen=True)
class Case:
    """One protocol with its sizes. masks: of the tensors that developer and auditor send, as (key, sign) or None."""

    name: str
    run: Any
    correlation: Any
    masks: tuple[tuple[tuple[str, int] | None, ...], tuple[tuple[str, int] | None, ...]]

    @property
    def plan(self) -> Plan:
        return {self.name: self.correlation}

    def party(self, inputs: Sequence[Sequence[Sequence[Any]]]) -> Party:
        """inputs[step][party]: what the party brings to a step. Returns the results of the steps."""

        def run(party: int, channel: Any, supply: Any) -> list[Any]:
            rounds, results = Rounds(channel, party), []
            for step, brought in enumerate(inputs):
                material = supply.take(step, self.plan)
                rounds.begin(step)
                results.append(self.run(rounds, self.correlation, material[self.name], brought[party]))
            return results

        return run

    def sent_under(self, sender: int, steps: int) -> list[Mask | None]:
        return [
            mask and Mask(step, self.name, mask[0], mask[1]) for step in range(steps) for mask in self.masks[sender]
        ]


ROWS, INPUTS, HIDDEN = 4, 5, 3
RELU_SENT = (("r", 1), ("rho", -1), ("gate_mask", 0), ("flip", 0), ("m", -1), ("gamma", -1))
CASES = {
    case.name: case
    for case in (
        Case(
            "linear",
            linear,
            LinearMasks(ROWS, INPUTS, HIDDEN),
            ((("r", -1), ("a", -1), ("s", -1)), (("r", -1), ("s", -1), None, ("t", -1))),
        ),
        Case("relu", relu, ReluMasks(ROWS, HIDDEN), (RELU_SENT, RELU_SENT)),
        Case("sigmoid", sigmoid, SigmoidTables(ROWS), ((("r", 1), ("flip", 0)),) * 2),
        Case("truncation", truncation, truncate.TruncationMasks((ROWS, HIDDEN), 20), ((("alpha", 0),), (("beta", 0),))),
    )
}


# ------------------------------------------------------------------------------------------------ the whole head

RATE = GradientDescent(3, 7)
MOMENTUM = Momentum(3, 7, (115, 7))
NOVOGRAD = NovoGrad(2.0**-8, 0.95)  # so short that the first steps are already measured as neither 0 nor too long
RANGES = 5  # kinds of numbers that are tested together
NOVOGRAD_SENT: list[list[tuple[str, str, int] | None]] = [
    [("rates", "r_norm", 1), ("moves in range", "r", 1)],
    [("rates", "alpha", -1), ("rates", "mu", -1), None],
    [("rates", "r_octaves", 1)],
    [("rates", "sigma", -1)],
]


def head_party(
    weights: Mapping[str, Tensor],
    weight_masks: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    targets: Tensor,
    *,
    scored: Sequence[Tensor] = (),
    opened: bool = False,
    rate: Optimizer = RATE,
    revealed: int = 32,
    noise: float = 0.0,
) -> Party:
    """Training steps, scores and the opening of the weights. The developer returns the gradients, the auditor scores;
    both return the opened weights and their shares of the weights before each step and at the end."""

    def run(party: int, channel: Any, supply: Any) -> Any:
        inputs, hidden = weights["w1"].shape
        head = SecureHead(channel, party, supply, inputs, hidden, rate, revealed, noise)
        head.share_weights(*((weights, weight_masks) if party == AUDITOR else (None, None)))
        gradients, scores, shares = [], [], [shares_of(head)]
        for x in batches:
            gradients.append(head.train_step(x if party == DEVELOPER else None, targets))
            shares.append(shares_of(head))
        for x in scored:
            scores.append(head.logits(x if party == DEVELOPER else None, len(x)))
        return gradients, scores, head.open_weights() if opened else None, shares

    return run


def shares_of(head: SecureHead) -> dict[str, Tensor]:
    return {name: getattr(head._module, name).share.clone() for name in ("w1", "w2", "b2")}


def head_plans(
    rows: int,
    inputs: int,
    hidden: int,
    steps: int,
    scored: Sequence[int] = (),
    rate: Optimizer = RATE,
    revealed: int = 32,
) -> list[Plan]:
    plans: list[Plan] = [train_plan(rows, inputs + 1, hidden, rate, number, revealed) for number in range(steps)]
    return plans + [score_plan(count, inputs + 1, hidden) for count in scored]


def train_masks(step: int, sender: int, optimizer: Optimizer = RATE) -> list[Mask | None]:
    """Of what a party sends in one training step, in order. The sums that test ranges have no masks: they are 0."""
    sent: list[tuple[str, str, int] | None] = [None]  # dw2 of the step before
    momentum, novograd = isinstance(optimizer, Momentum), isinstance(optimizer, NovoGrad)
    top = "alpha" if sender == DEVELOPER else "beta"
    sent += [(name, top, 0) for name in ("velocity of w1", "velocity", "again")] if momentum else []
    sent += [("linear", "r", -1)]
    sent += [("linear", "a", -1)] if sender == DEVELOPER else []
    beside = NOVOGRAD_SENT if novograd else [[]] * 4
    sent += [("relu", "r", 1), ("relu", "rho", -1)]
    sent += [("in range", "r", 1), None, *beside[0], ("relu", "gate_mask", 0)]
    sent += [*[None] * RANGES, *beside[1], ("relu", "flip", 0)]
    sent += [*beside[2], ("relu", "m", -1)]
    sent += [*beside[3], ("logits in range", "r", 1), ("sigmoid", "r", 1), None, ("sigmoid", "flip", 0)]
    sent += [("relu", "gamma", -1), ("dw2 in range", "r", 1)]
    sent += [("dw2 for the velocity", top, 0)] if momentum else []
    sent += [("scale dw2", "r", 1), ("scale db2", "s", -1)] if novograd else [("dw2", top, 0)]
    sent += [("linear", "s", -1)]
    sent += [("step of w2", top, 0)] if novograd else [("dy", top, 0)]
    sent += [None] if sender == AUDITOR else []
    sent += [("dy", top, 0)] if novograd else []
    sent += [("linear", "t", -1)] if sender == AUDITOR else []
    return [mask and Mask(step, *mask) for mask in sent]


def score_masks(step: int, sender: int) -> list[Mask | None]:
    """The same of a scoring, in a run without training."""
    first: list[Mask | None] = list(train_masks(step, sender)[: 9 + RANGES + (sender == DEVELOPER)])
    return first + ([None] if sender == DEVELOPER else [])


def random_head(inputs: int, hidden: int, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights, and the masks with which they are shared."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = {
        "w1": normal(inputs, hidden) * (2 / inputs) ** 0.5,
        "b1": normal(hidden) * 0.1,
        "w2": normal(hidden) * 0.3,
        "b2": normal() * 0.2,
    }
    return weights, weight_masks(inputs, hidden, seed)


def weight_masks(inputs: int, hidden: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    shapes: dict[str, tuple[int, ...]] = {"w1": (inputs + 1, hidden), "w2": (hidden,), "b2": ()}
    return {name: ring(shape, generator) for name, shape in shapes.items()}


def ring(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in Z_2^64 (randint's upper end is left out by one value, which no test here can see)."""
    return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator)


def share(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    mine = ring(tuple(x.shape), generator)
    return mine, x - mine
