"""The velocity of weights that are opened under fresh masks in every step, against exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from amint_mpc.mpc.protocols.momentum import VelocityMasks, decayed_velocity
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskRef, Plan, corrected
from amint_mpc.mpc.dense.descent import Momentum
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.protocols.rounds import Rounds
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.cases import MOMENTUM, RATE, ring, share
from tests.mpc.parties import run_both
from tests.mpc.views import Mask, explained, record

SHAPE = (50, 8)
OPENING = TruncationMasks(SHAPE, 9)  # anything with a mask r


def plan_of(numerator: int, bits: int) -> Plan:
    return {"w": OPENING, "v": VelocityMasks(SHAPE, numerator, bits, MaskRef("w", "r"))}


def walk(shares: Sequence[Sequence[Tensor]], plans: Sequence[Plan], feed_back: bool = False, leak: bool = False) -> Any:
    """A party that opens W - R in every step whose plan has a velocity; returns its shares of mu V.

    Args:
        shares: [step][party] of W. feed_back: what came out is added to the weights of the steps that follow.
        leak: the mistake that has to be seen: the velocity itself is opened.
    """

    def party(index: int, channel: Any, supply: Any) -> list[Tensor]:
        rounds, found, before = Rounds(channel, index), [], None
        moved = torch.zeros(SHAPE, dtype=torch.int64)
        for step, plan in enumerate(plans):
            material = supply.take(step, plan)
            rounds.begin(step)
            if "v" not in plan:
                continue
            now = rounds.open(shares[step][index] + moved - material["w"]["r"])
            rounds.exchange()
            if before is not None:
                masks = plan["v"]
                assert isinstance(masks, VelocityMasks)
                found.append(decayed_velocity(masks, material["v"], now.value, before, index))
                if feed_back:
                    moved = moved + found[-1]
                if leak:
                    rounds.open(found[-1])
                    rounds.exchange()
            before = now.value
        return found

    return party


@pytest.mark.parametrize("size", [1, 2**6, 2**20, 2**31, 2**44, 2**54])
@pytest.mark.parametrize(("numerator", "bits"), [(1, 1), (115, 7), (127, 7), (3, 2), (1, 16), (65535, 16)])
def test_velocity_is_rounded_to_one_of_both_sides(numerator: int, bits: int, size: int) -> None:
    size = min(size, 2**61 // numerator)
    generator = torch.Generator().manual_seed(bits)
    first = ring(SHAPE, generator)  # where the weights stand does not matter, how far they move does
    moves = torch.randint(-size, size + 1, (3, *SHAPE), generator=generator)
    moves[0, 0, :3] = torch.tensor([size, -size, 0])
    weights = [first, first + moves[0], first + moves[0] + moves[1], first + moves.sum(dim=0)]
    shares = [share(w, generator) for w in weights]
    mine, theirs = run_both(walk(shares, [plan_of(numerator, bits)] * 4), [plan_of(numerator, bits)] * 4)
    for move, a, b in zip(moves, mine, theirs, strict=True):
        error = (a + b) - (move * numerator >> bits)
        assert bool(((error == 0) | (error == 1)).all())
        assert bool((error[(move * numerator) % 2**bits == 0] == 0).all())


def test_the_rounding_has_no_bias() -> None:
    generator = torch.Generator().manual_seed(1)
    move, total, repeats = torch.randint(-1000, 1000, SHAPE, generator=generator), torch.zeros(SHAPE), 40
    weights = [move * number for number in range(repeats)]
    plans = [plan_of(115, 7)] * repeats
    mine, theirs = run_both(walk([share(w, generator) for w in weights], plans), plans)
    for a, b in zip(mine, theirs, strict=True):
        total += (a + b) - move * 115 / 128
    mean = total / (repeats - 1)
    assert abs(float(mean.mean())) < 5 * 0.5 / (repeats * move.numel()) ** 0.5
    assert float(mean.abs().max()) < 5 * 0.5 / repeats**0.5


def test_steps_without_a_velocity_between_two_with_one_do_not_disturb() -> None:
    generator = torch.Generator().manual_seed(1)
    scored: Plan = {"w": OPENING}
    plan = plan_of(7, 3)
    plans = [scored, plan, scored, scored, plan, plan]
    weights = [torch.full(SHAPE, 800 * step) for step in range(6)]
    mine, theirs = run_both(walk([share(w, generator) for w in weights], plans), plans)
    assert [int((a + b).double().mean()) for a, b in zip(mine, theirs, strict=True)] == [3 * 700, 700]


def test_a_dealer_without_memory_makes_garbage() -> None:
    """The masks of the velocity are those of two steps: what the dealer remembers is part of the protocol."""
    generator = torch.Generator().manual_seed(1)
    plans = [plan_of(7, 3)] * 2
    shares = [share(torch.full(SHAPE, 800 * step), generator) for step in range(2)]

    def forgetful(index: int, channel: Any, supply: Any) -> Any:
        return walk(shares, plans)(index, channel, Forgetting(supply) if index == DEVELOPER else supply)

    mine, theirs = run_both(forgetful, plans)
    assert float(((mine[0] + theirs[0]) - 700).double().abs().median()) > 2**40


class Forgetting:
    def __init__(self, supply: Any) -> None:
        self._supply = supply

    def take(self, step: int, plan: Plan) -> Any:
        self._supply._source._memory.clear()
        return self._supply.take(step, plan)


@pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR], ids=["developer", "auditor"])
@pytest.mark.parametrize("fault", ["none", "same masks", "opened velocity"])
def test_a_view_fits_any_other_weights_unless_the_protocol_is_broken(viewer: int, fault: str) -> None:
    """Weights that move by their velocity, which so gets into what is opened next. The two faults must show."""
    steps, generator = 4, torch.Generator().manual_seed(viewer)
    plans = [plan_of(115, 7)] * steps
    leak = fault == "opened velocity"
    real = [[ring(SHAPE, generator), ring(SHAPE, generator)] for _ in range(steps)]
    others = [both[:] for both in real]
    for both in others:
        both[1 - viewer] = ring(SHAPE, generator)
    _, views = record(walk(real, plans, True, leak), plans, again=fault == "same masks")
    masks: list[Mask | None] = []
    for step in range(steps):
        masks += [Mask(0 if fault == "same masks" else step, "w", "r", -1)]
        masks += [None] if leak and step else []
    party = walk(others, plans, True, leak)
    if fault == "same masks":
        party = _with_step_0(party)
    fits, _ = explained(party, plans, viewer, views, masks)
    assert fits == (fault == "none")


def _with_step_0(party: Any) -> Any:
    class Again:
        def __init__(self, supply: Any) -> None:
            self._supply = supply

        def take(self, step: int, plan: Plan) -> Any:
            return self._supply.take(0, plan)

    return lambda index, channel, supply: party(index, channel, Again(supply))


def test_momentum_that_is_no_odd_fraction_is_refused() -> None:
    for again in ((2, 3), (8, 3), (9, 3), (0, 1), (-1, 3), (1, 17)):
        with pytest.raises(UsageError, match="odd a, 0 < a < 2\\^k and k <= 16"):
            Momentum(3, 7, again)
    with pytest.raises(UsageError, match="1 <= a <= 3"):
        Momentum(8, 7, (1, 1))
    with pytest.raises(ValueError, match="odd"):
        VelocityMasks(SHAPE, 2, 3, MaskRef("w", "r"))


def test_what_momentum_adds_to_a_plan() -> None:
    rows, inputs, hidden = 16, 10, 4
    plain, added = (
        sum(torch.Size(field.shape).numel() * field.dtype.itemsize for _, _, field in corrected(plan))
        for plan in (train_plan(rows, inputs, hidden, optimizer) for optimizer in (RATE, MOMENTUM))
    )
    # f h as the docstring says, and three truncations of the output layer, two of which drop more than 16 bits
    assert added - plain == 10 * inputs * hidden + 10 * (hidden + 1) + 2 * 12 * hidden
