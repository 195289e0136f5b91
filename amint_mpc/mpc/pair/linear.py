"""The masks of the linear layer (`LinearMasks`): products of matrices, of which each party has one.

    ar = A R_A        at = A^T T        sr = S_D R_A^T + S_A R_D^T

The auditor sends R_A, and where they are wanted S_A and T, encrypted; the developer answers (matrices.py). On a "wan"
each product is made by itself, its answers packed; R_A is sent twice, and sr comes in two parts.
The columns of A that stand for public constants are set to 0: X - A shows a constant there, which is public anyway.
To its share of sr the auditor adds a uniform number below one unit of what is opened of the gradient: the developer has
all bits of its own share, which a dealer would have cut off, and could tell the gradient more finely.
Exact: ar, at; sr but for that number. Who learns what: nothing. Exchanges: 2.
Bytes: `request_words` and `answer_words` of mpc/rlwe/products.py, four a word.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.linear import LinearMasks, TableMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes, best_cut


def cut_of(masks: LinearMasks, link: str) -> Cut:
    """How the matrices of a step are cut, for all products together."""
    products: tuple[Name, ...] = ("ar",)
    if masks.training:
        products = ("ar", "at") if masks.standing is not None else ("ar", "sr", "at")
    return best_cut(Sizes(masks.rows, masks.features, masks.outputs, products), link)


def cuts_of(masks: LinearMasks, link: str) -> dict[Name, Cut]:
    """How the products of a step are cut: on "lan" all together; on "wan" each by itself, as that can be packed, and sr
    is S_D R_A^T + (R_D S_A^T)^T, named sr and rs."""
    if link == "lan":
        return {"ar": cut_of(masks, link)}
    n, f, h = masks.rows, masks.features, masks.outputs
    shapes: dict[Name, tuple[int, int, int]] = {"ar": (n, f, h)}
    if masks.training:
        shapes["at"] = f, n, h
    if masks.training and masks.standing is None:
        shapes |= {"sr": (n, h, f), "rs": (f, h, n)}
    return {key: best_cut(Sizes(*shape, ("ar",)), link) for key, shape in shapes.items()}


def linear(making: Making, name: str, masks: LinearMasks) -> InRounds[None]:
    """All of it. The masks of a table: see `table`."""
    m, developer = making.material[name], making.party == DEVELOPER
    matrices: dict[Name, Tensor] = {"r": m["r"][: masks.features].contiguous()}
    if developer:
        matrices["a"] = _mask_of_x(making, masks, m)[:, : masks.features].contiguous()
    if masks.training:
        matrices["s"] = m["s"]
        if not developer:
            matrices["t"] = m["t"]
    cuts = cuts_of(masks, making.products.link)
    if making.products.link == "lan":
        shares = yield from making.products.multiply(cuts["ar"], matrices)
    else:
        factors = {key: _factor(key, matrices, developer) for key in cuts}
        shares = yield from making.products.multiply_each(cuts, factors)
        if "sr" in shares:
            shares["sr"] += shares["rs"].T
    m["ar"] = shares["ar"]
    if masks.training:
        m["at"] = torch.cat([shares["at"], torch.zeros(masks.constants, masks.outputs, dtype=torch.int64)])
    if "sr" in shares:
        below = 64 - masks.revealed  # bits that are not opened
        m["sr"] = (
            masks.fields["sr"].cut(shares["sr"])
            if developer
            else making.products.words_below(below, shares["sr"].shape).add_(shares["sr"])
        )


def _factor(key: Name, matrices: Mapping[Name, Tensor], developer: bool) -> Tensor:
    """This party's matrix of a product that is cut by itself: the left one the developer's, the right one the
    auditor's."""
    if key == "ar":
        return matrices["a" if developer else "r"]
    if key == "at":
        return matrices["a"].T if developer else matrices["t"]
    name: Name = "s" if (key == "sr") == developer else "r"
    return matrices[name] if developer else matrices[name].T


def table(making: Making, name: str, masks: TableMasks) -> InRounds[None]:
    """The mask of a table that stands for many steps (`TableMasks`): drawn, but for the columns of constants."""
    if making.party == DEVELOPER:
        making.material[name]["a"][:, masks.inputs - masks.constants :] = 0
    yield from ()


def _mask_of_x(making: Making, masks: LinearMasks, m: dict[str, Tensor]) -> Tensor:
    """A at the developer, whose columns of constants become 0."""
    if masks.standing is not None:
        at = masks.links["a"]
        return masks.standing(making.memory[DEVELOPER, at.name, at.key])
    m["a"][:, masks.features :] = 0
    return m["a"]


def cuts(masks: LinearMasks, link: str) -> list[Cut]:
    """All of them."""
    return list(cuts_of(masks, link).values())
