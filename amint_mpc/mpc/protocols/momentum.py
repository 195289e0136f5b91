"""Momentum from openings that take place anyway: mu (W(t) - W(t-1)) without a byte between the two parties.

mu = a / 2^k is public, a odd. Sources: Polyak 1964, "Some methods of speeding up the convergence of iteration methods"
(the heavy ball); truncation by one opening: Escudero et al. 2020, section 5 (truncate.py), here under a mask that
is there already.

Steps
    1. every step opens c(t) = W(t) - R(t) under a fresh R(t) (linear.py and relu.py, step 1). So both parties know
       c(t) - c(t-1) = V + r' with the velocity V = W(t) - W(t-1) and r' = R(t-1) - R(t), which nobody knows.
    2. a (c(t) - c(t-1)) = a V + a r' is a V under the mask a r', which is uniform because a is odd: as good as an
       opening for a truncation. The dealer remembers R(t-1) and deals (a r') >> k and msb(a r').
Who learns what: nothing is opened; the two dealt fields are uniform shares.
Exact: a V >> k, or that plus one unit (unbiased), while |a V| < 2^62 in units of W: |a V| < 2^(62 - W1_BITS) for w1.
Rounds: none. Bytes, each party: 0; dealer 10 f h for W [f, h] and k <= 16. State, each party: c(t-1), 8 f h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from amint_mpc.mpc.correlations.base import Field, MaskRef, Material
from amint_mpc.mpc.protocols import truncate
from amint_mpc.mpc.protocols.truncate import TruncationMasks


@dataclass(frozen=True)
class VelocityMasks:
    """What a V >> k of one tensor needs.

    Args:
        shape: of the weights.
        numerator, bits: a, odd, and k of mu = a / 2^k < 1.
        mask: where R stands in the plan.
    """

    shape: tuple[int, ...]
    numerator: int
    bits: int
    mask: MaskRef

    def __post_init__(self) -> None:
        if self.numerator % 2 == 0 or not 0 < self.numerator < 1 << self.bits:
            raise ValueError("mu is an odd number over a power of two, between 0 and 1")

    @property
    def links(self) -> Mapping[str, MaskRef]:
        return {"now": self.mask, "before": replace(self.mask, before=True)}

    @property
    def _truncation(self) -> TruncationMasks:
        return TruncationMasks(self.shape, self.bits)

    @property
    def fields(self) -> Mapping[str, Field]:
        """q = (a r') >> k, m = msb(a r')."""
        return {key: field for key, field in self._truncation.fields.items() if field.corrected}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        own, theirs = ({"r": self.numerator * (m["before"] - m["now"])} for m in (developer, auditor))
        return self._truncation.corrections(own, {**theirs, "q": auditor["q"], "m": auditor["m"]})


def decayed_velocity(masks: VelocityMasks, material: Material, now: Tensor, before: Tensor, party: int) -> Tensor:
    """This party's share of mu (W(t) - W(t-1)).

    Args:
        now, before: the opened c(t) and c(t-1).
    """
    opened = (now - before).mul_(masks.numerator).add_(truncate.OFFSET)
    return truncate.finish(opened, material, masks.bits, party)
