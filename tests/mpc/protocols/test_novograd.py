"""The rates of NovoGrad from shares against the formula in float64, over the whole range; and a secret factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc import limits
from amint_mpc.errors import UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskRef, Plan
from amint_mpc.mpc.dense import novograd as optimizer
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.protocols import novograd, opened_truncation
from amint_mpc.mpc.protocols.novograd import OCTAVE_BITS, RATE_BITS, RateMasks, Window
from amint_mpc.mpc.protocols.opened_truncation import OpenedTruncationMasks
from amint_mpc.mpc.protocols.rounds import Rounds
from amint_mpc.mpc.protocols.scale import ScaledTruncationMasks, ScalingMasks, scaled, scaled_truncation
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import ring, share
from tests.mpc.parties import run_both
from tests.mpc.views import Mask, explained, record

RATES = [2.0**-8, 0.03, 0.25]
LAYERS = 100  # of one number each, so that a run tries many lengths at once


def one_step(
    lr: float, beta: float, lengths: Sequence[float], octaves: Sequence[float], seed: int = 0
) -> tuple[Tensor, Tensor]:
    """s and the new octaves of layers whose last steps have these squared lengths, float64."""
    links = tuple(MaskRef("w", "r") for _ in lengths)
    plan: Plan = {"w": OpenedTruncationMasks((1,), 3), "rates": RateMasks(lr, beta, links)}
    masks, generator = plan["rates"], torch.Generator().manual_seed(seed)
    assert isinstance(masks, RateMasks)
    whole = [(round(length * 2.0**60) + 2**63) % 2**64 - 2**63 for length in lengths]  # as the ring has it
    moves = [share(torch.tensor(length), generator) for length in whole]
    kept = share((torch.tensor(octaves, dtype=torch.float64) * 2.0 ** (OCTAVE_BITS - 4)).long() << 4, generator)

    def party(index: int, channel: Any, supply: Any) -> tuple[Tensor, Tensor]:
        rounds, material = Rounds(channel, index), supply.take(0, plan)
        rounds.begin(0)
        own = [both[index] - square for both, square in zip(moves, material["rates"]["squares"], strict=True)]
        steps = novograd.next_rates(rounds, masks, material["rates"], own, [30] * len(own), kept[index])
        opened, new = rounds.run(steps)
        return opened * (index == DEVELOPER) + material["rates"]["sigma"], new

    (s0, e0), (s1, e1) = run_both(party, [plan], seed)
    octave = (e0 + e1).double() / 2.0**OCTAVE_BITS
    return (s0 + s1).double() / 2**RATE_BITS, (octave + 12) % 64 - 12


@pytest.mark.parametrize("beta", [0.5, 0.95, 0.99, limits.SEARCH_BETA])
@pytest.mark.parametrize("lr", RATES)
def test_octaves_follow_the_length_of_the_last_step(lr: float, beta: float) -> None:
    """Each draw within the stated distance, and the mean over equal layers within what chance leaves of it."""
    longest, repeats, b = min(8, 2**13 * lr**2) * 0.999, 25, (1 - beta) / beta
    tried = [0, 1e-6, 0.01, 0.1, 0.5, 1, 2, 7, 15.9, 16, 16.1, 31, 32, 40, 65, 1000, longest / lr**2]
    ratios = torch.tensor([min(ratio, longest / lr**2) for ratio in tried], dtype=torch.float64).repeat(repeats)
    rate, octaves = one_step(lr, beta, (ratios * lr**2).tolist(), [17.3] * len(ratios))
    error = octaves - 17.3 - torch.log2(beta + (1 - beta) * ratios.clamp(max=limits.CLIP))
    assert float(error.abs().max()) <= 0.05 * b + 1e-6
    assert float(error.view(repeats, -1).mean(0).abs().max()) <= 0.0002 * b**2 + 4 * 0.025 * b / repeats**0.5 + 1e-6
    relative = rate * 2 ** (octaves / 2) - 1
    assert float(relative.abs().max()) <= 0.011
    assert abs(float(relative.mean())) <= 2**-10 + 4 * 0.0055 / len(ratios) ** 0.5


def test_rates_over_the_whole_range_and_beyond_its_ends() -> None:
    """ratio 1 leaves the octaves as they are, but for what brings them back between 0 and 40."""
    lr, octaves = 0.03, torch.linspace(-8, 46, LAYERS, dtype=torch.float64)
    rate, after = one_step(lr, 0.95, [lr**2] * LAYERS, octaves.tolist())
    inside = octaves.clamp(0, limits.MAX_OCTAVES)
    assert float((after - inside).abs().max()) <= 1 / 32 + 0.003
    middle = (octaves > 0.1) & (octaves < 39.9)
    assert float((after - octaves)[middle].abs().max()) < 0.003  # nothing is rounded away in the middle
    assert float((rate * 2 ** (inside / 2) - 1).abs().max()) < 0.014
    assert float(rate.max()) <= 1
    assert float(rate.min()) >= 2.0**-20


def test_a_longer_step_than_the_limit_is_garbage() -> None:
    """Why the twin refuses it: nothing in the protocol could notice."""
    lr = 0.03
    limit = Window(lr).norm_limit
    right, wrong = (one_step(lr, 0.95, [length] * LAYERS, [20.0] * LAYERS)[1] for length in (limit * 0.999, limit * 2))
    expected = 20 + math.log2(0.95 + 0.05 * limits.CLIP)
    assert float((right - expected).abs().max()) < 0.003
    assert float((wrong - expected).abs().max()) > 0.3


@pytest.mark.parametrize("size", [1, 2**10, 2**28])
def test_the_length_of_a_move_is_exact(size: int) -> None:
    """From what is opened of the weights, and the dealer's term."""
    shape, generator = (30, 7), torch.Generator().manual_seed(1)
    plan: Plan = {"w": OpenedTruncationMasks(shape, 3), "rates": RateMasks(0.03, 0.95, (MaskRef("w", "r"),))}
    first = ring(shape, generator)
    weights = [first, first + torch.randint(-size, size + 1, shape, generator=generator)]
    shares = [share(w, generator) for w in weights]

    def party(index: int, channel: Any, supply: Any) -> Tensor:
        rounds, opened, masks = Rounds(channel, index), [], []
        for step in range(2):
            material = supply.take(step, plan)
            rounds.begin(step)
            opened.append(rounds.open(shares[step][index] - material["w"]["r"]))
            masks.append(material["w"]["r"])
            rounds.exchange()
        move = novograd.squared_move(opened[1].value, opened[0].value, masks[1], masks[0], index)
        return move + material["rates"]["squares"][0]

    mine, theirs = run_both(party, [plan] * 2)
    assert int(mine + theirs) == int((weights[1] - weights[0]).square().sum())


@pytest.mark.parametrize("factor", [1, 1023, 2**30])
@pytest.mark.parametrize("size", [1, 2**12, 2**31])
def test_a_secret_factor_is_exact(size: int, factor: int) -> None:
    shape, generator = (5, 4), torch.Generator().manual_seed(1)
    plan: Plan = {
        "factor": OpenedTruncationMasks((3,), 3),
        "x": OpenedTruncationMasks(shape, 3),
        "own": ScalingMasks(shape, MaskRef("factor", "r"), 2),
        "linked": ScalingMasks(shape, MaskRef("factor", "r"), 2, MaskRef("x", "r")),
    }
    x = torch.randint(-size, size + 1, shape, generator=generator)
    xs, factors = share(x, generator), share(torch.full((3,), factor), generator)

    def party(index: int, channel: Any, supply: Any) -> list[Tensor]:
        rounds, material = Rounds(channel, index), supply.take(0, plan)
        rounds.begin(0)
        sigma, masks = material["factor"]["r"], {"own": material["own"]["s"], "linked": material["x"]["r"]}
        e = rounds.open(factors[index] - sigma)
        d = {name: rounds.open(xs[index] - mask) for name, mask in masks.items()}
        rounds.exchange()
        return [
            scaled(e.value[2], sigma[2], d[name].value, masks[name], material[name], index)
            for name in ("own", "linked")
        ]

    for mine, theirs in zip(*run_both(party, [plan]), strict=True):
        assert torch.equal(mine + theirs, x * factor)


@pytest.mark.parametrize("factor", [1, 1023, 2**30])
@pytest.mark.parametrize(("bits", "size"), [(3, 2**20), (32, 2**40), (32, 2**61), (46, 2**61)])
def test_a_secret_factor_of_a_truncated_value_is_exact(bits: int, size: int, factor: int) -> None:
    """One of both neighbours, times the factor; it may wrap around the ring, as the product does."""
    shape, generator = (20, 4), torch.Generator().manual_seed(1)
    plan: Plan = {
        "factor": OpenedTruncationMasks((2,), 3),
        "x": ScaledTruncationMasks(shape, bits, MaskRef("factor", "r"), 1),
    }
    x = torch.randint(-size, size + 1, shape, generator=generator)
    xs, factors = share(x, generator), share(torch.full((2,), factor), generator)

    def party(index: int, channel: Any, supply: Any) -> Tensor:
        rounds, material = Rounds(channel, index), supply.take(0, plan)
        rounds.begin(0)
        sigma = material["factor"]["r"]
        e, c = rounds.open(factors[index] - sigma), rounds.open(opened_truncation.mask(xs[index], material["x"], index))
        rounds.exchange()
        return scaled_truncation(e.value[1], sigma[1], c.value, material["x"], bits, index)

    mine, theirs = run_both(party, [plan])
    found, low = mine + theirs, (x >> bits) * factor
    assert bool(((found == low) | (found == low + factor)).all())
    assert bool((found == low).any())


# ------------------------------------------------------------------------------------------------ secrecy

SHAPE, STEPS = (4, 3), 3
VIEWED: Plan = {
    "w": OpenedTruncationMasks(SHAPE, 3),
    "rates": RateMasks(0.03, 0.95, (MaskRef("w", "r"),)),
    "scaled": ScalingMasks(SHAPE, MaskRef("rates", "sigma"), 0),
}


def moving(starts: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]], fault: str = "none") -> Any:
    """Weights that move by s x, x being a gradient on shares: what the rates were gets into what is opened next."""

    def party(index: int, channel: Any, supply: Any) -> Tensor:
        rounds, w, kept = Rounds(channel, index), starts[index], None
        octaves = novograd.first_octaves(1, index)
        for step in range(STEPS):
            material = supply.take(0 if fault == "same masks" else step, VIEWED)
            rounds.begin(step)
            r, masks = material["w"]["r"], VIEWED["rates"]
            assert isinstance(masks, RateMasks)
            c = rounds.open(w - r)
            rounds.exchange()
            moves = kept and [novograd.squared_move(c.value, kept[0], r, kept[1], index)]
            kept = c.value, r
            steps = novograd.next_rates(rounds, masks, material["rates"], moves, [30], octaves)
            e, octaves = rounds.run(steps)
            d = rounds.open(gradients[step][index] - material["scaled"]["s"])
            if fault == "opened rate":
                rounds.open(material["rates"]["sigma"])  # with e, this is s
            rounds.exchange()
            sigma, s = material["rates"]["sigma"][0], material["scaled"]["s"]
            w = w - scaled(e[0], sigma, d.value, s, material["scaled"], index)
        return w

    return party


def sent_under(fault: str) -> list[Mask | None]:
    keys = [("w", "r", -1), ("rates", "r_norm", 1), ("rates", "alpha", -1), ("rates", "mu", -1)]
    keys += [("rates", "r_octaves", 1), ("rates", "sigma", -1), ("scaled", "s", -1)]
    sent: list[Mask | None] = []
    for step in range(STEPS):
        sent += [Mask(0 if fault == "same masks" else step, *key) for key in keys]
        sent += [None] if fault == "opened rate" else []
    return sent


@pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR], ids=["developer", "auditor"])
@pytest.mark.parametrize("fault", ["none", "same masks", "opened rate"])
def test_a_view_fits_any_other_gradients_unless_the_protocol_is_broken(viewer: int, fault: str) -> None:
    generator = torch.Generator().manual_seed(viewer)
    starts = [ring(SHAPE, generator) for _ in range(2)]
    gradients, others, start = [], [], starts[:]
    start[1 - viewer] = ring(SHAPE, generator)
    for _ in range(STEPS):  # steps of some lr in one case and of a tenth of it in the other
        own, large, small = (torch.randint(-size, size, SHAPE, generator=generator) for size in (2**62, 200, 20))
        both = [own, own]
        both[1 - viewer] = large - own
        gradients.append(both[:])
        both[1 - viewer] = small - own
        others.append(both)
    _, views = record(
        moving(starts, gradients, "none" if fault == "same masks" else fault),
        [VIEWED] * STEPS,
        0,
        fault == "same masks",
    )
    fits, _ = explained(moving(start, others, fault), [VIEWED] * STEPS, viewer, views, sent_under(fault))
    assert fits == (fault == "none")


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("lr", "beta2", "limit"),
    [(0.0039, 0.95, "0.00390625 to 0.25"), (0.26, 0.95, "0.25"), (0.03, 0.49, "0.5 to 0.99"), (0.03, 0.995, "0.99")],
)
def test_settings_that_the_tables_cannot_hold_are_refused(lr: float, beta2: float, limit: str) -> None:
    with pytest.raises(UsageError, match=limit):
        NovoGrad(lr, beta2)


@pytest.mark.parametrize("lr", RATES)
def test_the_limits_lie_within_the_ranges_of_the_protocol(lr: float) -> None:
    window = Window(lr)
    assert min(limits.SQUARE_LIMIT, limits.SQUARE_LIMIT_RATIO * lr**2) <= window.norm_limit
    assert 2.0**window.reach >= 2 * limits.CLIP * lr**2
    assert 4 <= window.high_size <= 1024
    assert limits.SCALED_ROWS_LIMIT == 2.0 ** (62 - fp.DY_BITS - RATE_BITS)
    assert fp.DW2_LIMIT * 2.0 ** (optimizer.STEP_BITS + 1) <= 2.0**62  # s2 dw2 has room for its truncation
