"""Sums of squares of many shared values, from openings that take place anyway (`ranges` tests how large they are).

c = y + r or c = y - r is open. Each party rounds its own share of r down to a multiple of u = 2^shift units, so that
the sums of the squares of the masks alone have to be dealt, modulo 2^(65-shift). Each value counts as one that is less
than 2 u away from it. Source: opened values under a dealt mask (Turbospeedz, Ben-Efraim, Nielsen and Omri 2019).
Who learns what: nothing is opened. Rounds: none. Bytes: dealer 8 a sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.limits import blocks
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Material
from amint_mpc.mpc.protocols.relu import block_sums


@dataclass(frozen=True)
class SquaresMasks:
    """Sums of the squares of the masks of w2 [h], and of Y [n, h] for each row and for each unit of a block of rows.

    Args:
        rows, hidden: n, h.
        w2, y: where the masks stand in the plan.
        w2_shift, y_shift: how they are rounded.
    """

    rows: int
    hidden: int
    w2: MaskRef
    y: MaskRef
    w2_shift: int
    y_shift: int

    @property
    def links(self) -> Mapping[str, MaskRef]:
        return {"w2 r": self.w2, "y r": self.y}

    @property
    def fields(self) -> Mapping[str, Field]:
        shapes = {"w2": (1,), "rows": (self.rows,), "units": (blocks(self.rows), self.hidden)}
        return {key: Field(shape, corrected=True) for key, shape in shapes.items()}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        of_w2 = mask_squares(developer["w2 r"], auditor["w2 r"], self.w2_shift)
        of_y = mask_squares(developer["y r"], auditor["y r"], self.y_shift)
        made = {"w2": of_w2.sum()[None], "rows": of_y.sum(dim=1), "units": block_sums(of_y)}
        return {key: value - auditor[key] for key, value in made.items()}


def mask_squares(developer: Tensor, auditor: Tensor, shift: int) -> Tensor:
    """The dealer's: squares of the coarse masks of both, entry by entry. u = 2^shift units."""
    own = (developer >> shift) + (auditor >> shift)
    return own * own


def value_squares(opened: Tensor, mask: Tensor, shift: int, sign: int, party: int) -> Tensor:
    """This party's share of the squares of coarse values less those of their masks, entry by entry.

    Right modulo 2^(65-shift); with the dealt squares it is the square of an integer less than 2 from y / 2^shift.

    Args:
        opened: c. mask: this party's share of r. sign: y = c + r (1) or y = c - r (-1).
    """
    public = opened >> shift
    if sign > 0 and shift:
        public.add_(1)  # three numbers are rounded down
    share = (mask >> shift).mul_(2 * sign)
    if party == DEVELOPER:
        share.add_(public)
    return share.mul_(public)
