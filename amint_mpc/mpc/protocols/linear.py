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
    3. the auditor adds noise of its own to its share of dX, if it is given any, and sends the share's top `revealed`
       bits; the developer alone has dX.
    4. the auditor sends its share of dY' less T.
       X^T dY':  developer X^T (dY' - T) + [A^T T]_0,  auditor (X - A)^T T + [A^T T]_1.
Who learns what: both see c and d, the auditor X - A, the developer dY' - T, all uniform; the developer learns dX,
rounded and with the auditor's noise.
A column of ones that carries a bias is part of X, but its gradient, dY b^T, would say more of the head than the
gradient with respect to the developer's own features: dX leaves such columns out, so its width f' is less than f.
Exact: Y, X^T dY' in the ring. The dealer sends [M]_0 down to the revealed bits, too. With u = 2^(64 - revealed), what
is opened is floor(dX / u), at most one unit more or less. With half a unit added it is dX / u on average, whatever dX
is, with a standard deviation of half a unit, and never more than 1.5 units off: three uniform parts are rounded down.
X can stand: `share` opens X - A once, for a whole table of rows, and a step then takes public combinations of them
(`Combination`). X - A and the combinations of it say nothing more when they are used again, for A is; R, S and T are
fresh in every step. Such steps have no step 3, and none of their messages is about X.
Rounds: 1, 1, 1 and 1; step 4 begins when dY' is there, and shares its round with step 3 if that is at once.
Bytes: developer 8 (f h + n f + n h), auditor 8 (f h + 2 n h) + revealed / 8 n f', dealer 8 (n h + f h)
+ revealed / 8 n f'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Material, Slot
from amint_mpc.mpc.protocols.rounds import InRounds, Opened, Rounds, side_by_side
from amint_mpc.mpc.ring.products import matmul, small_matmul

SHARED_ROWS = 4096
"""Of a table, in one message at most."""

REVEALED = {32: torch.int32, 16: torch.int16}
"""How many of the 64 bits of each entry of dX can be opened to the developer, the top ones, and as what they travel."""

Noise = Callable[[tuple[int, ...]], Tensor]
"""The auditor's noise of a shape, as ring elements in the scale of dX."""


class Combination(Protocol):
    """Rows that are public linear combinations, with whole numbers, of those of a table. Frozen, part of a plan."""

    @property
    def rows(self) -> int:
        """How many."""

    def __call__(self, table: Tensor) -> Tensor:
        """[rows, f] int64, mod 2^64, of a table [N, f] int64."""


@dataclass(frozen=True)
class TableMasks:
    """The mask A of a table of rows that stands for many steps.

    Args:
        rows, inputs: N, f.
        constants: how many of the inputs, the last ones, are public constants.
    """

    rows: int
    inputs: int
    constants: int = 0

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"a": Field((self.rows, self.inputs), holders=(DEVELOPER,))}

    @property
    def kept(self) -> tuple[str, ...]:
        return ("a",)

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        return {}


TABLE = Slot("table", TableMasks)


@dataclass(frozen=True)
class LinearMasks:
    """Masks A, R (and S, T for training) and the shares of their products.

    Args:
        rows, inputs, outputs: n, f, h.
        constants: how many of the inputs, the last ones, are public constants without a gradient.
        standing: which combinations of the table's rows X is; None: X is shared in this step.
        revealed: how many top bits of dX are opened, one of REVEALED.
    """

    rows: int
    inputs: int
    outputs: int
    training: bool = True
    constants: int = 0
    standing: Combination | None = None
    revealed: int = 32

    @property
    def sent(self) -> torch.dtype:
        """Of the top bits of dX."""
        return REVEALED[self.revealed]

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
                "sr": Field((n, self.features), corrected=True, sent=self.sent),
                "at": Field((f, h), corrected=True),
            }
        if self.standing is not None:
            fields = {key: field for key, field in fields.items() if key not in ("a", "sr")}
        return fields

    @property
    def links(self) -> Mapping[str, MaskRef]:
        """The mask of the table, where X stands."""
        return {} if self.standing is None else {"a": replace(TABLE.mask("a"), kept=True)}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        a = developer["a"] if self.standing is None else self.standing(developer["a"])
        made = {"ar": matmul(a, auditor["r"]).sub_(auditor["ar"])}
        if self.training:
            made["at"] = matmul(a.T, auditor["t"]).sub_(auditor["at"])
        if self.training and self.standing is None:
            mine, theirs = developer["r"][: self.features].T, auditor["r"][: self.features].T
            cross = matmul(auditor["s"], mine, onto=matmul(developer["s"], theirs))
            made["sr"] = cross.sub_(auditor["sr"])
        return made


def share(rounds: Rounds, masks: TableMasks, material: Material, x: Tensor | None) -> InRounds[Tensor]:
    """Share a table of rows for many steps.

    Args:
        x: [N, f] int64 at the developer; None at the auditor.

    Returns:
        this party's part of the table: X at the developer, X - A at the auditor.
    """
    masked = None if x is None else x - material["a"]
    parts = []
    for start in range(0, masks.rows, SHARED_ROWS):
        rows = min(SHARED_ROWS, masks.rows - start)
        piece = None if masked is None else masked[start : start + rows]
        parts.append(rounds.hand_over(DEVELOPER, piece, (rows, masks.inputs), torch.int64))
        yield
    return torch.cat([part.value for part in parts]) if x is None else x


def top_bits(x: Tensor, revealed: int) -> Tensor:
    """So many top bits of ring elements, one of REVEALED, rounded down, as integers of that width."""
    return (x >> (64 - revealed)).to(REVEALED[revealed])


@dataclass(frozen=True, repr=False)
class Forward:
    """What a party has after step 1. Y = X W splits into X (W - R1) at the developer and (X - A) R1 at the auditor.

    Args:
        y: share of Y, [n, h].
        x, w: this party's factors: X and W - R1 at the developer, X - A and R1 at the auditor.
        begun: at the auditor, in training, S1 (c + R1)^T + [M]_1, which it computes while the other one does.
    """

    masks: LinearMasks
    material: Material
    y: Tensor
    x: Tensor
    w: Tensor
    begun: Opened | None = None


def forward(
    rounds: Rounds, masks: LinearMasks, material: Material, x: Tensor | None, w: Tensor, c: Opened | None = None
) -> InRounds[Forward]:
    """Step 1.

    Args:
        masks: the sizes. material: this party's part of them for this step.
        x: [n, f] int64, |x| <= products.SMALL_LIMIT, at the developer; None at the auditor. Where X stands, at both
            the combinations of what `share` gave.
        w: share, [f, h].
        c: where W - R is put, if another protocol goes on from it.
    """
    developer, stands = rounds.party == DEVELOPER, masks.standing is not None
    if (x is not None) != (developer or stands):
        raise ValueError("the developer, who knows X, brings the input of the layer")
    # step 1
    opened, handed = rounds.open(w - material["r"], c), Opened()
    if not stands:
        masked = x - material["a"] if x is not None else None
        handed = rounds.hand_over(DEVELOPER, masked, (masks.rows, masks.inputs), torch.int64)
    yield
    if x is not None and developer:
        right = opened.value + material["r"]  # W - R1
        return Forward(masks, material, small_matmul(x, right, onto=material["ar"]), x, right)
    left, r, begun = handed.value if x is None else x, material["r"], None
    if masks.training and not stands:
        c_left, r_left = opened.value[: masks.features], r[: masks.features]
        begun = rounds.meanwhile(lambda: matmul(material["s"], (c_left + r_left).T, onto=material["sr"]))
    return Forward(masks, material, matmul(left, r, onto=material["ar"]), left, r, begun)


def backward(
    rounds: Rounds,
    layer: Forward,
    dy: Tensor,
    scaling: Callable[[Opened], InRounds[Tensor]],
    open_gradient: bool,
    noise: Noise | None = None,
) -> InRounds[tuple[Tensor | None, Tensor]]:
    """Steps 2 to 4.

    Args:
        dy: share of dY, [n, h].
        scaling: makes the share of dY' [n, h], in rounds of its own beside steps 2 and 3; it is given d.
        open_gradient: whether the developer learns dX.
        noise: what the auditor adds to dX before it is opened; None at the developer, or for none.

    Returns:
        dX, see `input_gradient`, and this party's share of X^T dY', [f, h].
    """
    # step 2
    d = rounds.open(dy - layer.material["s"])
    update = weight_gradient(rounds, layer, scaling(d))
    if not open_gradient or layer.masks.standing is not None:
        return None, (yield from update)
    return (yield from side_by_side(input_gradient(rounds, layer, d, noise), update))


def input_gradient(rounds: Rounds, layer: Forward, d: Opened, noise: Noise | None = None) -> InRounds[Tensor | None]:
    """Step 3. dX + noise [n, f'] at the developer, with 64 - revealed fewer fractional bits; error at most one unit.

    Three parts, each rounded down, are less than three units too low; one unit more puts them in the middle.
    """
    yield
    # step 3
    m, masks = layer.material, layer.masks
    shape, revealed = (masks.rows, masks.features), masks.revealed
    w, own, top = layer.w[: masks.features].T, None, None
    if layer.begun is None:  # at the developer
        own = top_bits(matmul(d.value + m["s"], w), revealed).add_(m["sr"]).add_(1)
    else:
        exact = matmul(d.value, w, onto=layer.begun.value)
        top = top_bits(exact if noise is None else exact.add_(noise(shape)), revealed)
    theirs = rounds.hand_over(AUDITOR, top, shape, masks.sent)
    yield
    return None if own is None else own.add_(theirs.value).long()  # sums of this width wrap, as they should


def weight_gradient(rounds: Rounds, layer: Forward, scaling: InRounds[Tensor]) -> InRounds[Tensor]:
    """Step 4, once dY' is there. This party's share of X^T dY', [f, h]."""
    scaled = yield from scaling
    # step 4
    m, developer = layer.material, rounds.party == DEVELOPER
    masked = None if developer else scaled - m["t"]
    e = rounds.hand_over(AUDITOR, masked, (layer.masks.rows, layer.masks.outputs), torch.int64)
    yield
    if developer:
        return small_matmul(layer.x.T, scaled + e.value, onto=m["at"])
    return matmul(layer.x.T, m["t"], onto=m["at"])
