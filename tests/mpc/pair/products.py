"""`MatrixProducts` by a third party that both trust: the test itself, in whose one process both are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair.matrices import MatrixProducts
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.ring.products import matmul
from amint_mpc.mpc.rlwe.blocks import Cut, Name

Matrices = dict[Name, Tensor]
Table = list[list[tuple[Matrices, Matrices]]]


class TrustedProducts(MatrixProducts):
    """Insecure: both put their matrices on a table. Nothing but a uniform word crosses the link.

    Args:
        table: the same at both parties.
    """

    def __init__(self, rounds: Rounds, table: Table) -> None:
        self._rounds, self.link, self._table, self._place = rounds, "lan", table, 0

    @classmethod
    def both(cls) -> Callable[[Rounds, bytes, str], MatrixProducts]:
        """For the two makers of a test: the objects with the same last byte of their secrets share a table."""
        tables: dict[int, Table] = {byte: [[], []] for byte in range(256)}
        return lambda rounds, secret, _: cls(rounds, tables[secret[-1]])

    def set_up(self) -> InRounds[None]:
        """See `MatrixProducts.set_up`."""
        yield

    def words_below(self, bits: int, shape: tuple[int, ...]) -> Tensor:
        """0: what is made has to be exact."""
        return torch.zeros(shape, dtype=torch.int64)

    def multiply(self, cut: Cut, matrices: dict[Name, Tensor]) -> InRounds[dict[Name, Tensor]]:
        """See `MatrixProducts.multiply`."""
        party, place = self._rounds.party, self._place
        self._place += 1
        shares = {name: torch.randint(-(2**63), 2**63 - 1, cut.shape(name)) for name in cut.sizes.products}
        self._table[party].append(({name: matrix.clone() for name, matrix in matrices.items()}, shares))
        for sender in (AUDITOR, DEVELOPER):
            word = torch.randint(-(2**63), 2**63 - 1, (1,)) if sender == party else None
            self._rounds.hand_over(sender, word, (1,), torch.int64)
            yield
        (developer, _), (auditor, shares) = (self._table[p][place] for p in (DEVELOPER, AUDITOR))
        made: dict[Name, Tensor] = {}
        for name in cut.sizes.products:
            if name == "ar":
                whole = matmul(developer["a"], auditor["r"])
            elif name == "at":
                whole = matmul(developer["a"].T, auditor["t"])
            else:
                whole = matmul(developer["s"], auditor["r"].T) + matmul(auditor["s"], developer["r"].T)
            made[name] = shares[name] if party == AUDITOR else whole - shares[name]
        return made
