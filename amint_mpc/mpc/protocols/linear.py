"""Linear layer whose input one party knows: Y = X W, dX = dY W^T and the update X^T dY', each value masked once.

X [n, f] is the developer's plaintext, W [f, h] and dY [n, h] are additively shared. Sources: Beaver triples in the
form where every value is opened under one mask and only products of masks are dealt (Turbospeedz, Ben-Efraim,
Nielsen and Omri 2019; ABY2.0, Patra et al. 2021, section 3); the one-sided products follow from X being known.

Steps
    1. open c = W - R; the developer sends X - A.
       Y:   developer X (c + R0) + [A R1]_0,  auditor (X - A) R1 + [A R1]_1.
    2. open d = dY - S.
       dX:  developer (d + S0)(c + R0)^T + [M]_0,  auditor d R1^T + S1 (c + R1)^T + [M]_1,
            with M = S0 R1^T + S1 R0^T from the dealer.
    3. the auditor sends the top 32 bits of its share of dX; the developer alone has dX.
    4. the auditor sends its share of dY' less T.
       X^T dY':  developer X^T (dY' - T) + [A^T T]_0,  auditor (X - A)^T T + [A^T T]_1.
Who learns what: both see c and d, the auditor X - A, the developer dY' - T, all uniform; the developer learns dX,
rounded.
A column of ones that carries a bias is part of X, but its gradient, dY b^T, would say more of the head than the
gradient with respect to the developer's own features: dX leaves such columns out, so its width f' is less than f.
Exact: Y, X^T dY' in the ring; dX to one unit of its top 32 bits. The dealer sends [M]_0 down to those bits, too.
Rounds: 1, 1, 1 and 1 (steps 3 and 4 share theirs).
Bytes: developer 8 (f h + n f + n h), auditor 8 (f h + 2 n h) + 4 n f', dealer 8 (n h + f h) + 4 n f'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols.rounds import Opened, Rounds
from amint_mpc.mpc.ring.products import matmul, small_matmul

REVEALED_BITS = 32
"""Of the 64 bits of each entry of dX, the top ones that are opened to the developer."""


@dataclass(frozen=True)
class LinearMasks:
    """Masks A, R (and S, T for training) and the shares of their products.

    Args:
        rows, inputs, outputs: n, f, h.
        constants: how many of the inputs, the last ones, are public constants without a gradient.
    """

    rows: int
    inputs: int
    outputs: int
    training: bool = True
    constants: int = 0

    @property
    def features(self) -> int:
        """f', the inputs that have a gradient."""
        return self.inputs - self.constants

    @property
    def fields(self) -> Mapping[str, Field]:
        n, f, h = self.rows, self.inputs, self.outputs
        fields = {
            "a": Field((n, f), holders=(DEVELOPER,)),
            "r": Field((f, h)),
            "ar": Field((n, h), corrected=True),
        }
        if self.training:
            fields |= {
                "s": Field((n, h)),
                "t": Field((n, h), holders=(AUDITOR,)),
                "sr": Field((n, self.features), corrected=True, sent=torch.int32),
                "at": Field((f, h), corrected=True),
            }
        return fields

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        made = {"ar": matmul(developer["a"], auditor["r"]).sub_(auditor["ar"])}
        if self.training:
            mine, theirs = developer["r"][: self.features].T, auditor["r"][: self.features].T
            cross = matmul(auditor["s"], mine, onto=matmul(developer["s"], theirs))
            made["sr"] = cross.sub_(auditor["sr"])
            made["at"] = matmul(developer["a"].T, auditor["t"]).sub_(auditor["at"])
        return made


def top_bits(x: Tensor) -> Tensor:
    """The REVEALED_BITS top bits of ring elements, rounded down, as int32."""
    return (x >> (64 - REVEALED_BITS)).to(torch.int32)


class Linear:
    """One step of the layer, at one party.

    Args:
        masks: the sizes. material: this party's part of them for this step.
    """

    def __init__(self, rounds: Rounds, masks: LinearMasks, material: Material) -> None:
        self._rounds, self._masks, self._m = rounds, masks, material
        self._x: Tensor | None = None

    @property
    def _developer(self) -> bool:
        return self._rounds.party == DEVELOPER

    def post(self, x: Tensor | None, w: Tensor) -> Opened:
        """Step 1. x: [n, f] int64, |x| <= ring.SMALL_LIMIT, at the developer; None at the auditor. w: share.

        Returns c = W - R.
        """
        self._c = self._rounds.open(w - self._m["r"])
        masked = None
        if self._developer:
            if x is None:
                raise ValueError("the developer brings the input of the layer")
            self._x = x
            masked = x - self._m["a"]
        self._masked_x = self._rounds.hand_over(DEVELOPER, masked, (self._masks.rows, self._masks.inputs), torch.int64)
        return self._c

    def product(self) -> Tensor:
        """Share of Y = X W, [n, h]."""
        if self._x is not None:
            self._half_masked = self._c.value + self._m["r"]  # W - R1
            return small_matmul(self._x, self._half_masked, onto=self._m["ar"])
        if self._masks.training:
            self._rounds.meanwhile(self._begin_input_gradient)
        return matmul(self._masked_x.value, self._m["r"], onto=self._m["ar"])

    def _begin_input_gradient(self) -> None:
        """What the auditor's share of dX does not need d for."""
        c, r = self._c.value[: self._masks.features], self._m["r"][: self._masks.features]
        self._dx = matmul(self._m["s"], (c + r).T, onto=self._m["sr"])

    def post_gradient(self, dy: Tensor) -> Opened:
        """Step 2. dy: share of dY, [n, h]. Returns d = dY - S."""
        self._d = self._rounds.open(dy - self._m["s"])
        return self._d

    def post_input_gradient(self) -> Opened:
        """Step 3: after the exchange the developer may ask `input_gradient`."""
        d, m, features, top = self._d.value, self._m, self._masks.features, None
        if self._developer:
            self._dx = matmul(d + m["s"], self._half_masked[:features].T)
        else:
            top = top_bits(matmul(d, m["r"][:features].T, onto=self._dx))
        self._top = self._rounds.hand_over(AUDITOR, top, (self._masks.rows, features), torch.int32)
        return self._top

    def input_gradient(self) -> Tensor:
        """dX [n, f'] at the developer, as int64 with 32 fewer fractional bits; error at most one unit.

        Three parts, each rounded down, are less than three units too low; one unit more puts them in the middle.
        """
        total = top_bits(self._dx).add_(self._m["sr"]).add_(self._top.value).add_(1)  # int32 sums wrap, as they should
        return total.long()

    def post_update(self, scaled: Tensor) -> None:
        """Step 4. scaled: share of dY', [n, h]."""
        self._scaled = scaled
        masked = None if self._developer else scaled - self._m["t"]
        self._e = self._rounds.hand_over(AUDITOR, masked, (self._masks.rows, self._masks.outputs), torch.int64)

    def update(self) -> Tensor:
        """Share of X^T dY', [f, h]."""
        if self._x is not None:
            return small_matmul(self._x.T, self._scaled + self._e.value, onto=self._m["at"])
        return matmul(self._masked_x.value.T, self._m["t"], onto=self._m["at"])


__all__ = ["Linear", "LinearMasks"]
