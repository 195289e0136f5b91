"""The rate of NovoGrad on shares: a secret step size for each layer, from the length of the step before.

s = lr / sqrt(v), v(t) = beta v(t-1) + (1 - beta) |g(t)|^2, and the step taken at time t is D = s(t-1) g(t). Source:
Ginsburg et al. 2019 (NovoGrad, arXiv 1905.11286), without a first moment and with the second moment of the step before,
so that it is off the critical path. s is kept as octaves E = -2 log2 s. From |D|^2 = s^2 |g|^2 follows

    q = |D|^2 / lr^2 = |g|^2 / v,  E <- E + log2(beta + (1 - beta) min(q, CLIP)),  clamped to 0 <= E <= MAX_OCTAVES.

So no gradient has to be squared and no root taken, and errors do not add up: q measures the gradient against the very
s that was used, rounding included. The tables: Ishai et al. 2013, section 3, with random rounding, as in sigmoid.py.

Steps
    1. every step opens c(t) = W(t) - R(t) (linear.py, relu.py). With d = c(t) - c(t-1) public and rho = R(t) - R(t-1)
       shared, |D|^2 = |d|^2 + 2 <d, rho> + |rho|^2; the dealer remembers R(t-1) and deals the last term.
    2. open |D|^2 + r. A table at its low index has log2(...) on a grid, less the value at q = CLIP; another, at its
       high index, has one bit: below or beyond the first table's reach.
    3. open both under masks; their product, plus the value at CLIP, is added to E.
    4. open E + r'. Two tables at its index: s, and what brings E back into its limits (0 inside them).
    5. open s - sigma, as scale.py needs it.
Who learns what: the openings are uniform, and nothing else is opened.
Exact: while |D|^2 stays below `Window.norm_limit`, at least four times what `amint_mpc.limits` allows (where CLIP and
MAX_OCTAVES are, too); beyond, it is garbage. Error, with b = (1 - beta) / beta: E's growth is within 0.0002 b^2 octaves
on average over the rounding, one draw within 0.05 b more; s is within 2^-10 of 2^(-E/2), relative, on average, one draw
within 1.1 %.
Rounds: 4, beside those of the layers. Bytes, each party: 40 a layer; dealer 49 to 57 kB a layer.
State, each party: c(t-1) and its share of R(t-1), 16 bytes a weight; E.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from amint_mpc.limits import CLIP, MAX_OCTAVES, SEARCH, SEARCH_BETA, START_OCTAVES
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Material
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.protocols.squares import mask_squares
from amint_mpc.mpc.ring.fixed_point import W1_BITS
from amint_mpc.mpc.ring.products import logical_shift

NORM_BITS = 2 * W1_BITS  # of |D|^2, as it comes from w1
RATE_BITS = 30
OCTAVE_BITS = 58  # the ring is 64 octaves wide, so that E cannot wrap before it is brought back

_LOW_SIZE = 2048  # entries of the table of log2(...)
_RATE_SIZE = 2048
_RATE_SHIFT = 53  # steps of 1/32 octave


@dataclass(frozen=True)
class Window:
    """Where the tables of |D|^2 lie, for a learning rate.

    log2(...) has 2^reach >= 2 CLIP lr^2, twice what is needed; the ring has 2^ring.
    """

    learning_rate: float

    @property
    def reach(self) -> int:
        return math.ceil(math.log2(2 * CLIP * self.learning_rate**2))

    @property
    def ring(self) -> int:
        return min(64 - NORM_BITS, self.reach + 9)

    @property
    def norm_limit(self) -> float:
        """|D|^2 stays below."""
        return 2.0 ** (self.ring - 1)

    @property
    def bits(self) -> int:
        """Fractional bits of |D|^2 with which it fills the ring."""
        return 64 - self.ring

    @property
    def low_shift(self) -> int:
        return self.bits + self.reach - _LOW_SIZE.bit_length() + 1

    @property
    def high_shift(self) -> int:
        return self.bits + self.reach - 1

    @property
    def high_size(self) -> int:
        return 1 << (64 - self.high_shift)


def beta(beta2: float, number: int) -> float:
    """The factor of v in training step `number`, counted from 0, which knows the steps before it."""
    return SEARCH_BETA if number <= SEARCH else beta2


@lru_cache(maxsize=4)
def _growth_table(learning_rate: float, beta: float) -> tuple[Tensor, int]:
    """log2(beta + (1 - beta) q) on the grid, less its value at CLIP, and that value; OCTAVE_BITS."""
    grid = torch.arange(_LOW_SIZE, dtype=torch.float64) * (2.0 ** Window(learning_rate).reach / _LOW_SIZE)
    growth = torch.log2(beta + (1 - beta) * (grid / learning_rate**2).clamp(max=CLIP))
    top = math.log2(beta + (1 - beta) * CLIP)
    return torch.round((growth - top) * 2.0**OCTAVE_BITS).long(), round(top * 2**OCTAVE_BITS)


def _rate_tables() -> tuple[Tensor, Tensor]:
    """s, RATE_BITS, and the way back into the limits, OCTAVE_BITS, by index of E. The upper 12 octaves are negative."""
    steps = torch.arange(_RATE_SIZE)
    steps = torch.where(steps < 52 * 32, steps, steps - _RATE_SIZE)
    inside = steps.clamp(0, MAX_OCTAVES * 32)
    return torch.round(2.0 ** (RATE_BITS - inside.double() / 64)).long(), (inside - steps) << _RATE_SHIFT


_RATES, _BACK = _rate_tables()


@dataclass(frozen=True)
class RateMasks:
    """What the rates of some layers need in one step.

    Args:
        learning_rate: lr. beta: of this step.
        masks: of each layer, where R stands in the plan.
        shifts: of each layer, for `coarse`: the same squares of numbers that are rounded to 2^shift (squares.py);
            none: not at all.
    """

    learning_rate: float
    beta: float
    masks: tuple[MaskRef, ...]
    shifts: tuple[int, ...] = ()

    @property
    def links(self) -> Mapping[str, MaskRef]:
        now = {f"now {i}": mask for i, mask in enumerate(self.masks)}
        return now | {f"before {i}": replace(mask, before=True) for i, mask in enumerate(self.masks)}

    @property
    def window(self) -> Window:
        return Window(self.learning_rate)

    @property
    def fields(self) -> Mapping[str, Field]:
        n = len(self.masks)
        return {
            "squares": Field((n,), corrected=True),
            "coarse": Field((n,), corrected=True),
            "r_norm": Field((n,)),
            "growth": Field((n, _LOW_SIZE), corrected=True),
            "below": Field((n, self.window.high_size), corrected=True),
            "alpha": Field((n,)),
            "mu": Field((n,)),
            "alpha_mu": Field((n,), corrected=True),
            "r_octaves": Field((n,)),
            "rate": Field((n, _RATE_SIZE), corrected=True),
            "back": Field((n, _RATE_SIZE), corrected=True),
            "sigma": Field((n,)),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        def whole(key: str) -> Tensor:
            return developer[key] + auditor[key]

        own, theirs = ([m[f"now {i}"] - m[f"before {i}"] for i in range(len(self.masks))] for m in (developer, auditor))
        moved = [a + b for a, b in zip(own, theirs, strict=True)]
        coarse = [mask_squares(*it).sum() for it in zip(own, theirs, self.shifts or (0,) * len(own), strict=True)]
        made = {"squares": torch.stack([(rho * rho).sum() for rho in moved]), "alpha_mu": whole("alpha") * whole("mu")}
        made["coarse"] = torch.stack(coarse)
        below = (torch.arange(self.window.high_size) < 2).long()
        r, index = whole("r_norm"), whole("r_octaves")
        growth = _growth_table(self.learning_rate, self.beta)[0]
        made["growth"] = _rotated(growth, logical_shift(r, self.window.low_shift))
        made["below"] = _rotated(below, logical_shift(r, self.window.high_shift))
        made["rate"] = _rotated(_RATES, logical_shift(index, _RATE_SHIFT))
        made["back"] = _rotated(_BACK, logical_shift(index, _RATE_SHIFT))
        return {key: value - auditor[key] for key, value in made.items()}


def _rotated(table: Tensor, by: Tensor) -> Tensor:
    """The table moved to the right, once for each entry of `by`: [n, size]."""
    return table[(torch.arange(len(table)) - by[:, None]) % len(table)]


def squared_move(now: Tensor, before: Tensor, mask: Tensor, mask_before: Tensor, party: int) -> Tensor:
    """This party's share of |W(t) - W(t-1)|^2 less |rho|^2, step 1, [].

    Args:
        now, before: the opened c(t) and c(t-1). mask, mask_before: this party's shares of R(t) and R(t-1).
    """
    public = now - before
    left = 2 * (mask - mask_before)
    return (public * (left + public if party == DEVELOPER else left)).sum()


def next_rates(
    rounds: Rounds,
    masks: RateMasks,
    material: Material,
    moves: Sequence[Tensor] | None,
    scales: Sequence[int],
    octaves: Tensor,
) -> InRounds[tuple[Tensor, Tensor]]:
    """Steps 2 to 5.

    Args:
        moves: of each layer, what `squared_move` gives; None in the first step, where E stays as it is.
        scales: fractional bits of each layer's W.
        octaves: share of E, [layers].

    Returns:
        s - sigma, opened, RATE_BITS, and this party's share of the new E, [layers] each.
    """
    window, first, row = masks.window, rounds.party == DEVELOPER, torch.arange(len(octaves))
    norm = torch.zeros_like(octaves)
    if moves is not None:
        norm = (torch.stack(list(moves)) + material["squares"]) << torch.tensor([window.bits - 2 * b for b in scales])
    # step 2
    t = rounds.open(norm + material["r_norm"])
    yield
    # step 3
    growth = material["growth"][row, logical_shift(t.value, window.low_shift) % _LOW_SIZE]
    below = material["below"][row, logical_shift(t.value, window.high_shift)]
    a, b = rounds.open(growth - material["alpha"]), rounds.open(below - material["mu"])
    yield
    # step 4
    if moves is not None:
        octaves = octaves + a.value * material["mu"] + b.value * material["alpha"] + material["alpha_mu"]
        if first:
            octaves = octaves + a.value * b.value + _growth_table(masks.learning_rate, masks.beta)[1]
    index = rounds.open(octaves + material["r_octaves"])
    yield
    # step 5
    at = logical_shift(index.value, _RATE_SHIFT)
    factors = rounds.open(material["rate"][row, at] - material["sigma"])
    yield
    return factors.value, octaves + material["back"][row, at]


def first_octaves(layers: int, party: int) -> Tensor:
    """This party's share of the public E before the first step."""
    return torch.full((layers,), START_OCTAVES << OCTAVE_BITS if party == DEVELOPER else 0)
