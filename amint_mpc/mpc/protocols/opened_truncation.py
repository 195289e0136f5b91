"""Truncation of a shared value by opening it under a mask, so that a secret can be multiplied by the result (`scale`).

Escudero, Ghosh, Keller, Rachuri, Scholl: "Improved primitives for MPC over mixed arithmetic-binary circuits" (CRYPTO
2020), section 5, for the ring Z_2^64. Where no product follows, `truncate` needs less of the link.

1. The dealer shares r, q = r >> f (logical shift) and m = msb(r) for a uniform r that nobody knows.
2. Both open c = x + 2^62 + r. It is uniform, so nobody learns anything.
3. x' = x + 2^62 lies in [0, 2^63), so c wrapped around 2^64 exactly if msb(r) = 1 and msb(c) = 0. With u = 1 - msb(c):

       x >> f  =  (c >> f) - q + 2^(64-f) u m - 2^(62-f)    + (0 or 1)

   The error is one unit if the low f bits of c are below those of r, which happens with probability
   (x mod 2^f) / 2^f: the result is unbiased.

Guarantees
    exact: for -2^62 <= x < 2^62 the result is floor(x / 2^f) or that plus one. Outside it is garbage.
    hiding: c is the only value opened, and it is uniform.

Cost: one round; 8 bytes an element from each party; 8 + 2, 4 or 8 bytes an element from the dealer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.ring.products import logical_shift

OFFSET = 1 << 62


@dataclass(frozen=True)
class OpenedTruncationMasks:
    """What one truncation of a tensor needs.

    Args:
        shape: of the tensor.
        bits: f, how far it is shifted; 1 to 62.
    """

    shape: tuple[int, ...]
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 62:
            raise ValueError(f"a truncation drops 1 to 62 bits, not {self.bits}")

    @property
    def fields(self) -> Mapping[str, Field]:
        """r; q = r >> bits; m = msb(r), as wide as its use needs: 2^(64-f) m depends on m mod 2^f alone."""
        narrow = torch.int16 if self.bits <= 16 else torch.int32 if self.bits <= 32 else torch.int64
        return {
            "r": Field(self.shape),
            "q": Field(self.shape, corrected=True),
            "m": Field(self.shape, narrow, corrected=True),
        }

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        m = (r < 0).to(auditor["m"].dtype)
        return {"q": logical_shift(r, self.bits) - auditor["q"], "m": m - auditor["m"]}


def mask(x: Tensor, material: Material, party: int) -> Tensor:
    """This party's share of c = x + 2^62 + r, to be opened.

    Args:
        x: share, int64.
    """
    masked = x + material["r"]
    return masked.add_(OFFSET) if party == DEVELOPER else masked


def finish(opened: Tensor, material: Material, bits: int, party: int) -> Tensor:
    """This party's share of x >> bits.

    Args:
        opened: c.
        bits: as in the `OpenedTruncationMasks` that the material is from.
    """
    wrapped = (material["m"].long() << (64 - bits)).bitwise_and_(~(opened >> 63))  # only where msb(c) = 0
    share = wrapped.sub_(material["q"])
    if party == DEVELOPER:
        share.add_(logical_shift(opened, bits)).sub_(1 << (62 - bits))
    return share
