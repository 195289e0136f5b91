"""One suite for both makers of masks: what `SharedHead` promises, whether a dealer makes them or the two parties."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskSource, Memory
from amint_mpc.mpc.correlations.checking import Stretch, UsedPlans
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.pair.supply import PairSupply
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.parties import run_both

ROWS, INPUTS, HIDDEN = 8, 12, 4
RATE = GradientDescent(3, 6)
TARGETS = (torch.arange(ROWS) < ROWS // 2).float()


@dataclass
class Played:
    """What one party saw of the script below."""

    gradients: list[Tensor | None] = field(default_factory=list)
    logits: list[Tensor | None] = field(default_factory=list)
    snapshots: list[dict[str, Tensor]] = field(default_factory=list)
    opened: dict[str, Tensor] | None = None
    done: int = 0


def first() -> HeadWeights:
    drawn = init_head(INPUTS, HIDDEN, seeded_normal(3))
    return HeadWeights(drawn.w1, drawn.b1 + 0.1, drawn.w2 * 10, drawn.b2 - 0.1)


def batch(seed: int) -> Tensor:
    x = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return fp.decode(fp.encode(x.clamp(-8, 8), fp.X_BITS), fp.X_BITS)


def script(head: SharedHead, party: int) -> Played:
    """Two steps, a scoring, a sealed step, back to before it, the same scoring, and the end."""
    played, mine = Played(), party == DEVELOPER
    x = [batch(seed) if mine else None for seed in range(4)]
    generator = torch.Generator().manual_seed(11)
    masks = {
        name: torch.randint(-(2**63), 2**63 - 1, shape, generator=generator) for name, shape in head.shapes.items()
    }
    head.share_weights(None if mine else first().tensors(), None if mine else masks)
    for step in (0, 1):
        played.gradients.append(head.train_step(x[step], TARGETS))
    played.logits.append(head.logits(x[2], ROWS))
    played.snapshots.append(head.snapshot())
    played.gradients.append(head.train_step(x[3], TARGETS, open_gradient=False))
    played.snapshots.append(head.snapshot())
    head.restore(played.snapshots[0])
    played.logits.append(head.logits(x[2], ROWS))
    played.opened, played.done = head.open_weights(), head.done
    return played


TRAIN, SCORING = train_plan(ROWS, INPUTS + 1, HIDDEN, RATE), score_plan(ROWS, INPUTS + 1, HIDDEN)
PLANS = [TRAIN, TRAIN, SCORING, TRAIN, SCORING]


def played_with(supply: MaskSource, party: int, channel: Channel) -> Played:
    return script(SecureHead(channel, party, supply, INPUTS, HIDDEN, RATE), party)


def with_dealer() -> tuple[Played, Played]:
    return run_both(lambda party, channel, supply: played_with(supply, party, channel), PLANS)


def without_dealer() -> tuple[Played, Played]:
    links = memory_pair()

    def one(party: int, channel: Channel, _: Any) -> Played:
        def make(link: Channel, index: int, memory: Memory) -> PairMaker:
            return PairMaker(link, index, os.urandom(32), memory)

        with PairSupply(party, [links[party]], make, 2**26) as supply:
            supply.start(UsedPlans([Stretch(len(PLANS), len(PLANS), PLANS.__getitem__)]))
            played = played_with(supply, party, channel)
            supply.finish()
        return played

    return run_both(one, [])


@pytest.fixture(scope="module", params=[with_dealer, without_dealer])
def played(request: pytest.FixtureRequest) -> tuple[Played, Played]:
    pair: tuple[Played, Played] = request.param()
    return pair


def reference() -> tuple[list[Tensor], HeadWeights]:
    """Gradients of the two steps, and the weights after them, in float64."""
    weights, gradients = first(), []
    for seed in (0, 1):
        x = batch(seed)
        y = weights.hidden(x)
        g = (y.relu() @ weights.w2 + weights.b2).sigmoid() - TARGETS
        dy = g[:, None] * weights.w2 * (y > 0)
        gradients.append(dy @ weights.w1.T)
        rate = RATE.numerator / 2**RATE.shift
        weights = HeadWeights(
            weights.w1 - rate * x.T @ dy,
            weights.b1 - rate * dy.sum(0),
            weights.w2 - rate * y.relu().T @ g,
            weights.b2 - rate * g.sum(),
        )
    return gradients, weights


def test_the_developer_learns_the_gradient(played: tuple[Played, Played]) -> None:
    for found, wanted in zip(played[DEVELOPER].gradients[:2], reference()[0], strict=True):
        assert found is not None
        assert (found - wanted).norm() < 0.03 * wanted.norm()
    assert played[AUDITOR].gradients == [None] * 3


def test_a_sealed_step_tells_nobody_and_moves_the_head(played: tuple[Played, Played]) -> None:
    assert played[DEVELOPER].gradients[2] is None
    before, after = (sum_of(played, number) for number in (0, 1))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_auditor_learns_logits(played: tuple[Played, Played]) -> None:
    wanted = reference()[1].logits(batch(2))
    for found in played[AUDITOR].logits:  # the second after going back
        assert found is not None
        assert torch.allclose(found, wanted, atol=0.03)  # the sigmoid rounds at random
    assert played[DEVELOPER].logits == [None, None]


def test_the_auditor_alone_opens_the_weights(played: tuple[Played, Played]) -> None:
    opened, wanted = played[AUDITOR].opened, reference()[1].tensors()
    assert played[DEVELOPER].opened is None
    assert opened is not None
    assert opened.keys() == wanted.keys()
    for name, value in wanted.items():
        assert opened[name].shape == value.shape
        assert (opened[name] - value).norm() < 0.01 * value.norm() + 4e-3, name  # the sigmoid rounds at random


def test_steps_are_counted(played: tuple[Played, Played]) -> None:
    assert [party.done for party in played] == [5, 5]


def test_shares_alone_say_nothing(played: tuple[Played, Played]) -> None:
    """Each share is uniform over the ring: with 48 weights below 2^40, a plain one would have its top bits alike."""
    for party in played:
        top = party.snapshots[0]["w1"].flatten() >> 56
        assert len(top.unique()) > len(top) / 2


def sum_of(played: tuple[Played, Played], number: int) -> dict[str, Tensor]:
    mine, theirs = (party.snapshots[number] for party in played)
    return {name: mine[name] + theirs[name] for name in mine}
