"""Triples of an operation that is linear in both operands (`Product`), and squares (`Square`).

With a and b each in two parts, a b = a_D b_D + a_A b_A + a_D b_A + a_A b_D; the last two are the work of two parties.

Entry by entry: each chooses with the bits of its part of a, and is answered with b (factors.py). A square has one such
term, twice: the auditor chooses.
Matrices and convolutions: products of matrices S R^T (matrix_forms.py) under encryption (matrices.py), exact ones.

Who learns what: nothing. Exchanges: 2. Bytes of an entry: 650, and 128 transfers; of a square 340, and 63; of matrices
as mpc/rlwe/blocks.py says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.generic import Product, Square
from amint_mpc.mpc.pair.factors import PARTIES, Factors
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.pair.matrices import cross_cut
from amint_mpc.mpc.pair.matrix_forms import form_of
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds
from amint_mpc.mpc.rlwe.blocks import Cut

_SQUARE_WIDTH = 63  # its term counts twice


def transfers(triple: Product) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    each = 64 * math.prod(triple.fields["c"].shape) if triple.operation == "mul" else 0
    return each, each


def product(making: Making, name: str, triple: Product) -> InRounds[None]:
    """All of it."""
    m = making.material[name]
    cross = _entries(making, m["a"], m["b"], triple) if triple.operation == "mul" else _matrices(making, m, triple)
    m["c"] = (yield from cross) + triple.apply(m["a"], m["b"])


def _entries(making: Making, a: Tensor, b: Tensor, triple: Product) -> InRounds[Tensor]:
    shape = triple.fields["c"].shape
    own_a, own_b = (part.expand(shape).reshape(-1) for part in (a, b))
    terms = [Factors(making.transfers, p, own_a if p == making.party else None, len(own_a)) for p in PARTIES]
    yield
    products = [t.times(None if p == making.party else own_b[:, None], 1) for p, t in zip(PARTIES, terms, strict=True)]
    yield
    return sum((each.share for each in products), torch.zeros(len(own_a), 1, dtype=torch.int64)).reshape(shape)


def _matrices(making: Making, m: dict[str, Tensor], triple: Product) -> InRounds[Tensor]:
    form = form_of(triple)
    running = [Concurrent(making.products.cross(s, r)) for s, r in form.pairs(m["a"], m["b"])]
    while not all(one.ended for one in running):
        yield
        for one in running:
            one.advance()
    return form.join([one.result for one in running])


def cuts(triple: Product, link: str) -> list[Cut]:
    """How its matrices are cut."""
    if triple.operation == "mul":
        return []
    zeros = (torch.zeros(shape, dtype=torch.int64) for shape in (triple.left, triple.right))
    pairs = form_of(triple).pairs(*zeros)
    return [cross_cut(len(s), len(r), s.shape[1], link) for s, r in pairs]


def square_transfers(square: Square) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return 0, _SQUARE_WIDTH * math.prod(square.shape)


def squared(making: Making, name: str, square: Square) -> InRounds[None]:
    """All of it."""
    m, auditor = making.material[name], making.party == AUDITOR
    r = m["r"].reshape(-1)
    factors = Factors(making.transfers, AUDITOR, r if auditor else None, len(r), _SQUARE_WIDTH)
    yield
    term = factors.times(r[:, None] if making.party == DEVELOPER else None, 1)
    yield
    m["r2"] = term.share[:, 0].mul(2).add_(r * r).reshape(square.shape)
