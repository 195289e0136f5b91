"""Which correlations the two parties can make, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amint_mpc.mpc.correlations.base import Correlation
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Product, Selection, SharedBit, Square
from amint_mpc.mpc.pair import bits, linear, ranges, relu, sigmoid, squares, triples, truncate
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.divide import DivisionMasks
from amint_mpc.mpc.protocols.linear import LinearMasks, TableMasks
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.squares import SquaresMasks
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from amint_mpc.mpc.rlwe.blocks import Cut


@dataclass(frozen=True)
class Kind:
    """How one kind of correlation is made.

    Args:
        make: (what is on its way, the correlation's name in the plan, the correlation): puts this party's shares of
            what is corrected, and of the fields of `made`, into `Making.material`.
        transfers: in how many transfers the developer and the auditor choose.
        cuts: (the correlation, the link): of the products of matrices that it takes.
        made: the fields that `make` replaces: not known to other kinds before it tells (`Making.tell`).
    """

    make: Callable[[Making, str, Any], InRounds[None]]
    transfers: Callable[[Any], tuple[int, int]]
    made: tuple[str, ...] = ()
    cuts: Callable[[Any, str], list[Cut]] = lambda *_: []


KINDS: Mapping[type[Correlation], Kind] = {
    LinearMasks: Kind(linear.linear, lambda _: (0, 0), cuts=linear.cuts),
    TableMasks: Kind(linear.table, lambda _: (0, 0)),
    ReluMasks: Kind(relu.relu, relu.transfers, ("r",), relu.cuts),
    RangeMasks: Kind(ranges.ranges, ranges.transfers, ("r",)),
    SquaresMasks: Kind(squares.squares, squares.transfers),
    SigmoidTables: Kind(sigmoid.sigmoid, sigmoid.transfers),
    TruncationMasks: Kind(truncate.truncation, truncate.transfers),
    DivisionMasks: Kind(truncate.truncation, truncate.transfers),
    Product: Kind(triples.product, triples.transfers, cuts=triples.cuts),
    Square: Kind(triples.squared, triples.square_transfers),
    AndTriple: Kind(bits.and_triple, bits.and_transfers),
    AndOfParts: Kind(bits.and_of_parts, bits.parts_transfers),
    Selection: Kind(bits.selection, bits.selection_transfers),
    SharedBit: Kind(bits.shared_bit, bits.bit_transfers),
}
