"""A secret number times a tensor, s x, where both are opened under masks.

Source: Beaver 1991 with one mask a value (Turbospeedz, Ben-Efraim, Nielsen and Omri 2019). The masks are those under
which other protocols open s and x anyway (`Link`).

Steps
    1. e = s - sigma, for a scalar s, and d = x - S are open.
    2. s x = e d + e S + sigma d + sigma S; the dealer's shares of sigma S complete it.
Who learns what: e and d, both uniform.
Exact: in the ring; its scale is the sum of the scales of s and x.
Rounds: none beyond those that open e and d. Dealer: 8 bytes an entry of x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.mpc.correlations.base import DEVELOPER, Field, Link, Material


@dataclass(frozen=True)
class ScalingMasks:
    """Shares of sigma S.

    Args:
        shape: of x.
        factor, entry: where sigma stands in the plan, and which of its entries it is.
        mask: where S stands in the plan; None: a mask of its own, "s".
    """

    shape: tuple[int, ...]
    factor: Link
    entry: int
    mask: Link | None = None

    @property
    def links(self) -> Mapping[str, Link]:
        return {"sigma": self.factor} | ({} if self.mask is None else {"s": self.mask})

    @property
    def fields(self) -> Mapping[str, Field]:
        own = {"s": Field(self.shape)} if self.mask is None else {}
        return own | {"product": Field(self.shape, corrected=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        sigma = (developer["sigma"] + auditor["sigma"])[self.entry]
        return {"product": sigma * (developer["s"] + auditor["s"]) - auditor["product"]}


def scaled(factor: Tensor, sigma: Tensor, opened: Tensor, mask: Tensor, material: Material, party: int) -> Tensor:
    """This party's share of s x.

    Args:
        factor: e, []. sigma: this party's share of it, []. opened: d. mask: this party's share of S, shaped like d.
    """
    left = opened + mask if party == DEVELOPER else mask
    return factor * left + sigma * opened + material["product"]
