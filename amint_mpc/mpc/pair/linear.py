"""The masks of the linear layer (`LinearMasks`): products of matrices, of which each party has one.

    ar = A R_A        at = A^T T        sr = S_D R_A^T + S_A R_D^T, of which the top bits count

The auditor sends R_A, and where they are wanted S_A and T, encrypted; the developer answers (matrices.py).
The columns of A that stand for public constants are set to 0: X - A shows a constant there, which is public anyway.
Who learns what: nothing. Exchanges: 2. Bytes: `request_words` and `answer_words` of mpc/rlwe/products.py, four a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.checking import Stretch
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.linear import LinearMasks, TableMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes, best_cut


def cuts_of(masks: LinearMasks, link: str) -> dict[Name, Cut]:
    """How matrices are cut: on "lan" for all products together; on "wan" for each by itself, as that can be packed, and
    sr is S_D R_A^T + (R_D S_A^T)^T, named sr and rs."""
    n, f, h, sr = masks.rows, masks.features, masks.outputs, masks.training and masks.standing is None
    if link == "lan":
        products: tuple[Name, ...] = ("ar", "sr", "at") if sr else ("ar", "at") if masks.training else ("ar",)
        return {"ar": best_cut(Sizes(n, f, h, products))}
    sizes: dict[Name, Sizes] = {"ar": Sizes(n, f, h, ("ar",))}
    if masks.training:
        sizes["at"] = Sizes(f, n, h, ("ar",))
    if sr:
        sizes |= {"sr": Sizes(n, h, f, ("ar",), ("ar",)), "rs": Sizes(f, h, n, ("ar",), ("ar",))}
    return {key: best_cut(size, link) for key, size in sizes.items()}


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
        m["sr"] = masks.fields["sr"].cut(shares["sr"]) if developer else shares["sr"]


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


def check_distance(stretches: Iterable[Stretch], link: str) -> None:
    """That the noise of all answers of a run says nothing (mpc/rlwe/parameters.py).

    Raises:
        UsageError: the run is too long.
    """
    total = 0.0
    for part in stretches:
        layers = [each for each in part.plan(0).values() if isinstance(each, LinearMasks)] if part.used else []
        total += part.used * sum(_distance(cut) for masks in layers for cut in cuts_of(masks, link).values())
    if total > parameters.DISTANCE:
        raise UsageError(
            "the run is too long for the masks that two parties make: its ciphertexts could say something of the masks",
            "Train for fewer epochs or on fewer images, or set security.correlations to dealer",
        )


def _distance(cut: Cut) -> float:
    found = 0.0
    for name in cut.sizes.products:
        rows, columns = cut.block_shape(name)
        found += parameters.distance(
            cut.terms(name), cut.polynomials(name) * rows * columns, cut.sizes.kept(name), cut.levels
        )
    return found
