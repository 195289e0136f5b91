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

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc.correlations.base import Correlation, MaskRef
from amint_mpc.mpc.dense.step import Step
from amint_mpc.mpc.protocols import novograd, truncate
from amint_mpc.mpc.protocols.novograd import RATE_BITS, RateMasks
from amint_mpc.mpc.protocols.rounds import InRounds, Opened
from amint_mpc.mpc.protocols.scale import ScaledTruncationMasks, ScalingMasks, scaled, scaled_truncation
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from amint_mpc.mpc.ring import fixed_point as fp

MIN_RATE, MAX_RATE = 2.0**-8, 2.0**-2
MIN_BETA, MAX_BETA = 0.5, 0.99
OUTPUT_BITS = 20  # of dw2 before it is multiplied
WEIGHT_MASKS = {"w1": MaskRef("linear", "r"), "w2": MaskRef("relu", "rho")}
FACTORS = MaskRef("rates", "sigma")
WEIGHT_BITS = [fp.W1_BITS, fp.W2_BITS]
STEP_BITS = OUTPUT_BITS + RATE_BITS  # of s2 dw2
ROWS_LIMIT = 2.0 ** (62 - fp.DY_BITS - RATE_BITS)
"""|s1 dY| stays below: it is truncated."""


@dataclass(frozen=True)
class NovoGrad:
    """Each layer's step is the gradient over the square root of its second moment (protocols/novograd.py).

    Args:
        learning_rate: length of a layer's step when the gradient is as long as usual.
        beta2: how much of the second moment stays from step to step.

    State: the opened w1 - R and w2 - rho of the step before and this party's shares of R and rho then, 16 bytes a
    weight; shares of the octaves of both rates.

    Raises:
        UsageError: outside 2^-8 <= learning_rate <= 1/4 or 0.5 <= beta2 <= 0.99. With shorter steps the rounding of
            the weights would show in their length; longer ones leave no room for the square.
    """

    learning_rate: float
    beta2: float

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.learning_rate <= MAX_RATE:
            raise UsageError(
                f"the secure head applies NovoGrad with a learning rate from {MIN_RATE:g} to {MAX_RATE:g}, "
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
            "rates": RateMasks(self.learning_rate, beta, tuple(WEIGHT_MASKS.values())),
            "scale dy": ScalingMasks((rows, hidden), FACTORS, 0, MaskRef("linear", "s")),
            "scale dw2": ScaledTruncationMasks((hidden,), fp.DW2_BITS - OUTPUT_BITS, FACTORS, 1),
            "scale db2": ScalingMasks((), FACTORS, 1),
            "dy": TruncationMasks((rows, hidden), fp.DY_BITS + RATE_BITS - fp.UPDATE_BITS),
            "step of w2": TruncationMasks((hidden,), STEP_BITS - fp.W2_BITS),
        }

    def begin(self, step: Step, weights: Mapping[str, Tensor]) -> None:
        """See `Optimizer.begin`."""
        step.start("rates", self._rates(step))

    def _rates(self, step: Step) -> InRounds[Opened]:
        """s1 and s2 under the masks sigma, [2]."""
        while not WEIGHT_MASKS.keys() <= step.opened.keys():
            yield
        party, masks, first = step.rounds.party, step.plan["rates"], "octaves" not in step.state
        assert isinstance(masks, RateMasks)
        moves = []
        for name, at in WEIGHT_MASKS.items():
            now, mask = step.opened[name].value, step.material[at.name][at.key]
            if not first:
                before, mask_before = step.state[name], step.state[f"mask of {name}"]
                moves.append(novograd.squared_move(now, before, mask, mask_before, party))
            step.state[name], step.state[f"mask of {name}"] = now, mask.clone()  # no view of all masks of the step
        octaves = novograd.first_octaves(len(WEIGHT_MASKS), party) if first else step.state["octaves"]
        factors, step.state["octaves"] = yield from novograd.next_rates(
            step.rounds, masks, step.material["rates"], None if first else moves, WEIGHT_BITS, octaves
        )
        return factors

    def scale_rows(self, step: Step, dy: Tensor, opened: Opened) -> InRounds[Tensor]:
        """See `Optimizer.scale_rows`: dY is multiplied once dY - S is open, which is the added round."""
        yield
        material, mask = step.material["scale dy"], step.material["linear"]["s"]
        rows = scaled(*self._rate(step, 0), opened.value, mask, material, step.rounds.party)
        return (yield from step.truncated("dy", rows))

    def scale_output(self, step: Step, dw2: Tensor, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
        """See `Optimizer.scale_output`."""
        party, material, mask = step.rounds.party, step.material["scale dw2"], step.material["scale db2"]["s"]
        c, d = step.rounds.open(truncate.mask(dw2, material, party)), step.rounds.open(g.sum() - mask)
        yield
        factor, sigma = self._rate(step, 1)
        moved = scaled_truncation(factor, sigma, c.value, material, fp.DW2_BITS - OUTPUT_BITS, party)
        of_b2 = scaled(factor, sigma, d.value, mask, step.material["scale db2"], party)
        return (yield from step.truncated("step of w2", moved)), of_b2 << (fp.Z_BITS - fp.G_BITS - RATE_BITS)

    def _rate(self, step: Step, layer: int) -> tuple[Tensor, Tensor]:
        """s - sigma of a layer, and this party's share of sigma."""
        return step.result("rates").value[layer], step.material["rates"]["sigma"][layer]

    def drift(self, step: Step) -> Mapping[str, Tensor]:
        """See `Optimizer.drift`."""
        return {}
