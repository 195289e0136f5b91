"""Division of a shared value by a public whole number: truncation by one opening, for any divisor.

The idea is that of truncate.py (Escudero et al. 2020, section 5) with d in place of 2^f. With o = d * (2^62 // d),
x' = x + o in [0, 2^63), c = x' + r mod 2^64 opened, and u = 1 if c wrapped around (msb(r) = 1 and msb(c) = 0):

    x' = c - r + 2^64 u,   so   x / d  =  c // d - r // d + u (2^64 // d) - o / d  +  e

where e = ((c mod d) - (r mod d) + u (2^64 mod d)) / d lies in (-1, 2).

Guarantees
    exact: for |x| < 2^62 - d the result differs from x / d by less than 2. Outside it is garbage.
    hiding: c is the only value opened, and it is uniform.

Cost: one round; 8 bytes an element from each party; 16 bytes an element from the dealer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material

MAX_DIVISOR = 2**32


@dataclass(frozen=True)
class DivisionMasks:
    """What one division of a tensor needs.

    Args:
        shape: of the tensor.
        divisor: d, 3 to 2^32 (a power of two: see truncate.py, which is cheaper).
    """

    shape: tuple[int, ...]
    divisor: int

    def __post_init__(self) -> None:
        if not 3 <= self.divisor <= MAX_DIVISOR:
            raise ValueError(f"a divisor is 3 to {MAX_DIVISOR}, not {self.divisor}")

    @property
    def fields(self) -> Mapping[str, Field]:
        """r; q = r // divisor, r taken as unsigned; m = msb(r)."""
        return {
            "r": Field(self.shape),
            "q": Field(self.shape, corrected=True),
            "m": Field(self.shape, corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        return {"q": unsigned_quotient(r, self.divisor) - auditor["q"], "m": (r < 0).long() - auditor["m"]}


def mask(x: Tensor, material: Material, divisor: int, party: int) -> Tensor:
    """This party's share of c = x + o + r, to be opened."""
    masked = x + material["r"]
    return masked.add_(divisor * (2**62 // divisor)) if party == DEVELOPER else masked


def finish(opened: Tensor, material: Material, divisor: int, party: int) -> Tensor:
    """This party's share of x / divisor.

    Args:
        opened: c.
        divisor: as in the `DivisionMasks` that the material is from.
    """
    wrapped = (material["m"] * (2**64 // divisor)).bitwise_and_(~(opened >> 63))  # only where msb(c) = 0
    share = wrapped.sub_(material["q"])
    if party == DEVELOPER:
        share.add_(unsigned_quotient(opened, divisor)).sub_(2**62 // divisor)
    return share


def unsigned_quotient(x: Tensor, divisor: int) -> Tensor:
    """x // divisor with x read as an unsigned 64-bit number (torch has no unsigned division)."""
    quotient = x.contiguous().numpy().view(np.uint64) // np.uint64(divisor)
    return torch.from_numpy(np.asarray(quotient).view(np.int64)).reshape(x.shape)
