"""The masks of the linear layer (`LinearMasks`): products of matrices, of which each party has one.

    ar = A R_A        at = A^T T        sr = S_D R_A^T + S_A R_D^T, of which the top bits count

The auditor sends R_A, and where they are wanted S_A and T, encrypted; the developer answers (matrices.py).
The columns of A that stand for public constants are set to 0: X - A shows a constant there, which is public anyway.
Who learns what: nothing. Exchanges: 2. Bytes: `request_words` and `answer_words` of mpc/rlwe/products.py, four a word.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation
from amint_mpc.mpc.correlations.checking import Stretch
from amint_mpc.mpc.correlations.generic import Product
from amint_mpc.mpc.pair import triples
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.linear import LinearMasks, TableMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes, best_cut


def cut_of(masks: LinearMasks, link: str) -> Cut:
    """How the matrices of a step are cut."""
    products: tuple[Name, ...] = ("ar",)
    if masks.training:
        products = ("ar", "at") if masks.standing is not None else ("ar", "sr", "at")
    return best_cut(Sizes(masks.rows, masks.features, masks.outputs, products), link)


def linear(making: Making, name: str, masks: LinearMasks) -> InRounds[None]:
    """All of it. The masks of a table: see `table`."""
    m, f, developer = making.material[name], masks.features, making.party == DEVELOPER
    cut = cut_of(masks, making.products.link)
    matrices: dict[Name, Tensor] = {"r": m["r"][:f].contiguous()}
    if developer:
        matrices["a"] = _mask_of_x(making, masks, m)[:, :f].contiguous()
    if "sr" in cut.sizes.products:
        matrices["s"] = m["s"]
    elif developer:
        del matrices["r"]
    if masks.training and not developer:
        matrices["t"] = m["t"]
    shares = yield from making.products.multiply(cut, matrices)
    m["ar"] = shares["ar"]
    if masks.training:
        m["at"] = torch.cat([shares["at"], torch.zeros(masks.constants, masks.outputs, dtype=torch.int64)])
    if "sr" in shares:
        m["sr"] = masks.fields["sr"].cut(shares["sr"]) if developer else shares["sr"]


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
        cuts = [cut for each in part.plan(0).values() for cut in _cuts(each, link)] if part.used else []
        total += part.used * sum(map(_distance, cuts))
    if total > parameters.DISTANCE:
        raise UsageError(
            "the run is too long for the masks that two parties make: its ciphertexts could say something of the masks",
            "Train for fewer epochs or on fewer images, or set security.correlations to dealer",
        )


def _cuts(each: Correlation, link: str) -> list[Cut]:
    if isinstance(each, LinearMasks):
        return [cut_of(each, link)]
    return triples.cuts(each, link) if isinstance(each, Product) else []


def _distance(cut: Cut) -> float:
    found = 0.0
    for name in cut.sizes.products:
        rows, columns = cut.block_shape(name)
        found += parameters.distance(cut.terms(name), cut.polynomials(name) * rows * columns, cut.sizes.kept(name))
    return found
