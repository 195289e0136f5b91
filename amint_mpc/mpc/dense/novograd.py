"""NovoGrad as an optimizer of the secure head: a step of secret length for each of its two layers.

    exchange 1, 2  w1 and w2 are opened under masks: how far they moved in the last step
             3-6   beside the layers: the rates s1 and s2 from that (protocols/novograd.py), then opened under masks
             3-4   that both moves are no longer than the rates can be made from (protocols/ranges.py): their squares
                   below a fourth of `Window.norm_limit`, at most half of it. That the square of w1's, rounded, cannot
                   wrap around to a small number follows from sums of it with random signs (protocols/signed_sums.py),
                   which are limited, too; those of weights in their ranges (ranges.py) cannot
             9     beside dY - S: dw2 under truncation masks, db2 under a mask; so s2 dw2 and s2 db2 are there
             10    s1 dY and s2 dw2 under truncation masks; beside them the input gradient
             11    s1 dY - T, to the developer alone
One exchange more than plain gradient descent, and as many rounds. b2 moves with the rate of w2, and is not in its norm:
of a single number the normalised gradient would be a sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.limits import MAX_BETA, MAX_STEP, MIN_BETA, MIN_STEP, SIGNED_SUMS_LIMIT, blocks
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, Slot
from amint_mpc.mpc.dense.descent import DY
from amint_mpc.mpc.dense.ranges import window_of
from amint_mpc.mpc.dense.step import LINEAR, W1_MASK, W2_MASK, TrainingStep, Updates
from amint_mpc.mpc.protocols import novograd, opened_truncation, ranges
from amint_mpc.mpc.protocols.novograd import RATE_BITS, RateMasks
from amint_mpc.mpc.protocols.ranges import SUMS, Checks, RangeMasks, Windows
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened, side_by_side
from amint_mpc.mpc.protocols.scale import ScaledTruncationMasks, ScalingMasks, scaled, scaled_truncation
from amint_mpc.mpc.protocols.signed_sums import COLUMN, WHOLE, signed_sums
from amint_mpc.mpc.protocols.squares import value_squares
from amint_mpc.mpc.protocols.truncate import TruncationMasks, truncated
from amint_mpc.mpc.ring import fixed_point as fp

OUTPUT_BITS = 20  # of dw2 before it is multiplied
STEP_BITS = OUTPUT_BITS + RATE_BITS  # of s2 dw2
MOVE_BITS = 15  # of w1, at most, where the square of a move is tested
WEIGHT_BITS = (fp.W1_BITS, fp.W2_BITS)

RATES = Slot("rates", RateMasks)
MOVES = Slot("moves in range", RangeMasks)
SCALE_DY = Slot("scale dy", ScalingMasks)
SCALE_DW2 = Slot("scale dw2", ScaledTruncationMasks)
SCALE_DB2 = Slot("scale db2", ScalingMasks)
W2_STEP = Slot("step of w2", TruncationMasks)
FACTORS = RATES.mask("sigma")


@dataclass(frozen=True)
class NovoGrad:
    """Each layer's step is the gradient over the square root of its second moment (protocols/novograd.py).

    Args:
        learning_rate: length of a layer's step when the gradient is as long as usual.
        beta2: how much of the second moment stays from step to step.

    Raises:
        UsageError: outside MIN_STEP <= learning_rate <= MAX_STEP or MIN_BETA <= beta2 <= MAX_BETA.
    """

    learning_rate: float
    beta2: float

    def __post_init__(self) -> None:
        if not MIN_STEP <= self.learning_rate <= MAX_STEP:
            raise UsageError(
                f"the secure head applies NovoGrad with a learning rate from {MIN_STEP:g} to {MAX_STEP:g}, "
                f"not {self.learning_rate:g}",
                "Set head.learning_rate to something like 0.03: with novograd it is the length of a layer's step",
            )
        if not MIN_BETA <= self.beta2 <= MAX_BETA:
            raise UsageError(
                f"the secure head applies NovoGrad with a beta2 from {MIN_BETA:g} to {MAX_BETA:g}, not {self.beta2:g}",
                "Set head.beta2 to something like 0.95",
            )

    def masks(self, rows: int, inputs: int, hidden: int, number: int) -> dict[str, Correlation]:
        """See `Optimizer.masks`."""
        beta, shifts = novograd.beta(self.beta2, number), self._shifts(inputs, hidden)
        return {
            RATES.name: RateMasks(self.learning_rate, beta, (W1_MASK, W2_MASK), shifts),
            MOVES.name: RangeMasks((SUMS + len(shifts),), self._windows(shifts)),
            SCALE_DY.name: ScalingMasks((rows, hidden), FACTORS, 0, LINEAR.mask("s")),
            SCALE_DW2.name: ScaledTruncationMasks((blocks(rows), hidden), fp.DW2_BITS - OUTPUT_BITS, FACTORS, 1),
            SCALE_DB2.name: ScalingMasks((), FACTORS, 1),
            DY.name: TruncationMasks((rows, hidden), fp.DY_BITS + RATE_BITS - fp.UPDATE_BITS),
            W2_STEP.name: TruncationMasks((blocks(rows), hidden), STEP_BITS - fp.W2_BITS),
        }

    @property
    def _sums_limit(self) -> float:
        """Of sums of w1's move with random signs: about eight times the longest move."""
        return 2.0 ** math.floor(3 + math.log2(novograd.Window(self.learning_rate).norm_limit) / 2)

    def _shifts(self, inputs: int, hidden: int) -> tuple[int, int]:
        """How the moves of w1 and w2 are rounded before they are squared.

        Raises:
            UsageError: so roughly that a step could look shorter than it is, or sums of one go around the ring.
        """
        limit = novograd.Window(self.learning_rate).norm_limit
        longest = 2 * WHOLE * self._sums_limit  # twice: each number is rounded
        w1_bits = min(MOVE_BITS, math.floor(65 - fp.W1_BITS - math.log2(longest**2 + limit)))
        rounding = 2 * 2.0**-w1_bits * (inputs * hidden) ** 0.5
        room = 2.0 ** min(33, window_of(self._sums_limit, 0) + 32) - 3 * self._sums_limit
        if (
            not (limit / 2) ** 0.5 + rounding < limit**0.5
            or 2 * hidden * inputs**0.5 * COLUMN * SIGNED_SUMS_LIMIT >= room
        ):
            raise UsageError(
                "steps of NovoGrad are too short for a head of so many weights", "Raise head.learning_rate"
            )
        return fp.W1_BITS - w1_bits, 0

    def _windows(self, shifts: tuple[int, int]) -> Windows:
        """Of the sums, and of the squares, each with the ring filled from above."""
        limit = round(math.log2(novograd.Window(self.learning_rate).norm_limit)) - 2
        squares = ((1, 2 * (bits - s) + max(0, s - 1) + limit) for bits, s in zip(WEIGHT_BITS, shifts, strict=True))
        return (SUMS, window_of(self._sums_limit, fp.W1_BITS)), *squares

    def reach(self, rows: int) -> float:
        """See `Optimizer.reach`: s is at most 1."""
        return rows

    def updates(self) -> Updates:
        """See `Optimizer.updates`."""
        return NovoGradUpdates()


class NovoGradUpdates:
    """See `Updates`. 16 bytes a weight are remembered."""

    def __init__(self) -> None:
        self.octaves: Tensor | None = None  # share, of both rates
        self._before: list[tuple[Tensor, Tensor]] = []  # of each layer: its opened W - R, and the share of R
        self._rates: Concurrent[Tensor]

    def begin(self, step: TrainingStep, w1: Tensor) -> None:
        """See `Updates.begin`."""
        self._rates = step.rounds.start(self._next_rates(step))

    def _next_rates(self, step: TrainingStep) -> InRounds[Tensor]:
        """s1 and s2 under the masks sigma, [2]. Exchanges 1 to 6."""
        yield  # w1 - R
        yield  # w2 - rho
        party, moves, octaves = step.rounds.party, None, self.octaves
        lengths = torch.zeros(SUMS + 2, dtype=torch.int64)
        now = [(step.w1.value, step.mask(W1_MASK)), (step.w2.value, step.mask(W2_MASK))]
        if self._before:
            moves = [
                novograd.squared_move(opened, opened_before, mask, mask_before, party)
                for (opened, mask), (opened_before, mask_before) in zip(now, self._before, strict=True)
            ]
            lengths = torch.cat([_sums(now[0], self._before[0], party), _coarse_squares(step, now, self._before)])
        self._before = [(opened, mask.clone()) for opened, mask in now]  # no view of all masks of the step
        if octaves is None:
            octaves = novograd.first_octaves(len(now), party)
        following = novograd.next_rates(step.rounds, *step.dealt(RATES), moves, WEIGHT_BITS, octaves)
        (rates, self.octaves), _ = yield from side_by_side(following, _watch_moves(step, lengths))
        return rates

    def scale_rows(self, step: TrainingStep, dy: Tensor, d: Opened) -> InRounds[Tensor]:
        """See `Updates.scale_rows`: dY is multiplied once dY - S is open, which is the added round."""
        yield
        _, material = step.dealt(SCALE_DY)
        rows = scaled(*self._rate(step, 0), d.value, step.mask(LINEAR.mask("s")), material, step.rounds.party)
        return (yield from truncated(step.rounds, *step.dealt(DY), rows))

    def scale_output(self, step: TrainingStep, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Updates.scale_output`."""
        rounds, party = step.rounds, step.rounds.party
        (masks, of_dw2), (_, of_db2) = step.dealt(SCALE_DW2), step.dealt(SCALE_DB2)
        c, d = rounds.open(opened_truncation.mask(dw2, of_dw2, party)), rounds.open(g.sum() - of_db2["s"])
        yield
        factor, sigma = self._rate(step, 1)
        moved = scaled_truncation(factor, sigma, c.value, of_dw2, masks.bits, party)
        of_b2 = scaled(factor, sigma, d.value, of_db2["s"], of_db2, party)
        of_w2 = yield from truncated(rounds, *step.dealt(W2_STEP), moved)
        return of_w2.sum(dim=0), of_b2 << (fp.Z_BITS - fp.G_BITS - RATE_BITS)

    def _rate(self, step: TrainingStep, layer: int) -> tuple[Tensor, Tensor]:
        """s - sigma of a layer, and this party's share of sigma."""
        return self._rates.result[layer], step.mask(FACTORS)[layer]

    def drift(self, step: TrainingStep) -> Tensor | None:
        """See `Updates.drift`."""
        return None


def _sums(now: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], party: int) -> Tensor:
    """This party's share of sums of w1's move. Args: as `_coarse_squares`."""
    (c, mask), (c_before, mask_before) = now, before
    public = c - c_before if party == DEVELOPER else 0
    return signed_sums(mask - mask_before + public, c, b"moves")


def _coarse_squares(
    step: TrainingStep, now: Sequence[tuple[Tensor, Tensor]], before: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """This party's share of the squares of both moves, rounded, with the ring filled from above, [2].

    Args:
        now, before: of each layer: its opened W - R, and the share of R.
    """
    masks, material = step.dealt(RATES)
    found = []
    for (c, mask), (c_before, mask_before), shift in zip(now, before, masks.shifts, strict=True):
        squares = value_squares(c - c_before, mask - mask_before, shift, 1, step.rounds.party)
        found.append(squares.sum())
    return (torch.stack(found) + material["coarse"]) << torch.tensor([max(0, shift - 1) for shift in masks.shifts])


def _watch_moves(step: TrainingStep, lengths: Tensor) -> InRounds[None]:
    """The test in exchanges 3 and 4. lengths: share of the sums, and of the squares.

    Raises:
        ProtocolError: a step was too long; the same at both parties.
    """
    (masks, material), tests = step.dealt(MOVES), Checks(step.rounds)
    if step.rounds.party == DEVELOPER:
        assert not isinstance(masks.window, int)
        lengths[:SUMS] += 1 << masks.window[0][1] - 1  # so that none within the limit is negative
    opened = step.rounds.open(lengths + material["r"])
    yield
    found = ranges.excess(masks, material, opened.value, 0, step.rounds.party)
    tests.post("a step of NovoGrad", found, opened.value)
    yield
    tests.settle()
