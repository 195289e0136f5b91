"""A secret number times a tensor, s x or s (x >> f), where both are opened under masks.

Source: Beaver 1991 with one mask a value (Turbospeedz, Ben-Efraim, Nielsen and Omri 2019). The masks are those under
which other protocols open s and x anyway (`MaskRef`).

Steps
    1. e = s - sigma, for a scalar s, and d = x - S are open.
    2. s x = e d + e S + sigma d + sigma S; the dealer's shares of sigma S complete it.
    With a truncation (opened_truncation.py) c = x + 2^62 + r is open in place of d. x >> f is a public number less q,
    plus a public number times m: the dealer's shares of sigma q and sigma m complete its product with s in the same
    way.
Who learns what: e and d, or c, all uniform.
Exact: in the ring; x >> f as in opened_truncation.py. The scale is the sum of the scales of s and of x or x >> f.
Rounds: none beyond those that open e and d or c. Dealer: 8 bytes an entry of x; 16 beside those of the truncation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Material
from amint_mpc.mpc.protocols import opened_truncation
from amint_mpc.mpc.protocols.opened_truncation import OpenedTruncationMasks
from amint_mpc.mpc.ring.products import logical_shift


@dataclass(frozen=True)
class ScalingMasks:
    """Shares of sigma S.

    Args:
        shape: of x.
        factor, entry: where sigma stands in the plan, and which of its entries it is.
        mask: where S stands in the plan; None: a mask of its own, "s".
    """

    shape: tuple[int, ...]
    factor: MaskRef
    entry: int
    mask: MaskRef | None = None

    @property
    def links(self) -> Mapping[str, MaskRef]:
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


@dataclass(frozen=True)
class ScaledTruncationMasks:
    """What a truncation needs, and shares of sigma q and sigma m.

    Args:
        shape, bits: of the truncation.
        factor, entry: as in `ScalingMasks`.
    """

    shape: tuple[int, ...]
    bits: int
    factor: MaskRef
    entry: int

    @property
    def links(self) -> Mapping[str, MaskRef]:
        return {"sigma": self.factor}

    @property
    def _truncation(self) -> OpenedTruncationMasks:
        return OpenedTruncationMasks(self.shape, self.bits)

    @property
    def fields(self) -> Mapping[str, Field]:
        product = Field(self.shape, corrected=True)
        return {**self._truncation.fields, "sigma_q": product, "sigma_m": product}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        made = self._truncation.corrections(developer, auditor)
        sigma, r = (developer["sigma"] + auditor["sigma"])[self.entry], developer["r"] + auditor["r"]
        made["sigma_q"] = sigma * logical_shift(r, self.bits) - auditor["sigma_q"]
        made["sigma_m"] = sigma * (r < 0) - auditor["sigma_m"]
        return made


def scaled_truncation(
    factor: Tensor, sigma: Tensor, opened: Tensor, material: Material, bits: int, party: int
) -> Tensor:
    """This party's share of s (x >> bits).

    Args:
        factor, sigma: as in `scaled`. opened: c, posted as `opened_truncation.mask` says.
    """
    public = logical_shift(opened, bits) - (1 << (62 - bits))
    wraps = (~(opened >> 63) & 1) << (64 - bits)
    of_sigma = sigma * public - material["sigma_q"] + wraps * material["sigma_m"]
    return of_sigma.add_(opened_truncation.finish(opened, material, bits, party).mul_(factor))
