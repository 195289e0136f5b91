"""NovoGrad as an optimizer of the secure head: a step of secret length for each of its two layers.

    exchange 1, 2  w1 and w2 are opened under masks: how far they moved in the last step
             3-6   beside the layers: the rates s1 and s2 from that (protocols/novograd.py), then opened under masks
             8     beside dY - S: dw2 under truncation masks, db2 under a mask; so s2 dw2 and s2 db2 are there
             9     s1 dY and s2 dw2 under truncation masks; beside them the input gradient
             10    s1 dY - T, to the developer alone
One exchange and two rounds more than plain gradient descent. b2 moves with the rate of w2, and is not in its norm: of a
single number the normalised gradient would be a sign.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.limits import MAX_BETA, MAX_STEP, MIN_BETA, MIN_STEP, blocks
from amint_mpc.mpc.correlations.base import Correlation, Slot
from amint_mpc.mpc.dense.descent import DY
from amint_mpc.mpc.dense.ranges import DW2_IN_RANGE, dw2_masks
from amint_mpc.mpc.dense.step import LINEAR, W1_MASK, W2_MASK, TrainingStep, Updates
from amint_mpc.mpc.protocols import novograd, truncate
from amint_mpc.mpc.protocols.novograd import RATE_BITS, RateMasks
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened
from amint_mpc.mpc.protocols.scale import ScaledTruncationMasks, ScalingMasks, scaled, scaled_truncation
from amint_mpc.mpc.protocols.truncate import TruncationMasks, truncated
from amint_mpc.mpc.ring import fixed_point as fp

OUTPUT_BITS = 20  # of dw2 before it is multiplied
STEP_BITS = OUTPUT_BITS + RATE_BITS  # of s2 dw2
WEIGHT_BITS = (fp.W1_BITS, fp.W2_BITS)

RATES = Slot("rates", RateMasks)
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
        beta = novograd.beta(self.beta2, number)
        return {
            RATES.name: RateMasks(self.learning_rate, beta, (W1_MASK, W2_MASK)),
            SCALE_DY.name: ScalingMasks((rows, hidden), FACTORS, 0, LINEAR.mask("s")),
            SCALE_DW2.name: ScaledTruncationMasks((blocks(rows), hidden), fp.DW2_BITS - OUTPUT_BITS, FACTORS, 1),
            DW2_IN_RANGE.name: dw2_masks(rows, hidden, SCALE_DW2.mask("r")),
            SCALE_DB2.name: ScalingMasks((), FACTORS, 1),
            DY.name: TruncationMasks((rows, hidden), fp.DY_BITS + RATE_BITS - fp.UPDATE_BITS),
            W2_STEP.name: TruncationMasks((blocks(rows), hidden), STEP_BITS - fp.W2_BITS),
        }

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

    def begin(self, step: TrainingStep) -> None:
        """See `Updates.begin`."""
        self._rates = step.rounds.start(self._next_rates(step))

    def _next_rates(self, step: TrainingStep) -> InRounds[Tensor]:
        """s1 and s2 under the masks sigma, [2]. Exchanges 1 to 6."""
        yield  # w1 - R
        yield  # w2 - rho
        party, moves, octaves = step.rounds.party, None, self.octaves
        now = [(step.w1.value, step.mask(W1_MASK)), (step.w2.value, step.mask(W2_MASK))]
        if self._before:
            moves = [
                novograd.squared_move(opened, opened_before, mask, mask_before, party)
                for (opened, mask), (opened_before, mask_before) in zip(now, self._before, strict=True)
            ]
        self._before = [(opened, mask.clone()) for opened, mask in now]  # no view of all masks of the step
        if octaves is None:
            octaves = novograd.first_octaves(len(now), party)
        rates, self.octaves = yield from novograd.next_rates(
            step.rounds, *step.dealt(RATES), moves, WEIGHT_BITS, octaves
        )
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
        c, d = rounds.open(truncate.mask(dw2, of_dw2, party), step.dw2), rounds.open(g.sum() - of_db2["s"])
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
