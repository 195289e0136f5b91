"""The rotated tables of the sigmoid and the bits that mask what is looked up (`SigmoidTables`).

Steps
    1. the auditor chooses with the bits of u_A, the index of its share of the mask, for each of the two tables. Both
       choose with the bits of the flip word.
    2. the developer holds the table, moved by its own index u_D. For each bit 2^b of u_A it is moved by 2^b places if
       the bit is set, as XOR shares: new = t xor bit (t xor moved t). The developer's shares are there at once, so all
       answers go in one message. With them go its answers for the bits in the ring, b_D + b_A - 2 b_D b_A, and its
       part of the products of the value's bits with the middle one.
    3. the auditor answers with its part of these products.
Sources: lookup by oblivious transfers moving the table bit by bit (Dessouky et al. 2017), factors.py.
Who learns what: nothing. Exchanges: 3. Bytes of a row: developer 11,506, auditor 116; 14 transfers in which the
developer chooses, 33 in which the auditor does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.transfers import Choice, Product
from amint_mpc.mpc.pair.factors import SharedBits
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols import sigmoid as tables
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables, mask_index

_LEVELS = ((tables.LOW_SIZE - 1).bit_length(), (tables.HIGH_SIZE - 1).bit_length())
_BITS = tables.VALUE_BITS + 2


def transfers(masks: SigmoidTables) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return tables.VALUE_BITS * masks.rows, (sum(_LEVELS) + _BITS) * masks.rows


def sigmoid(making: Making, name: str, masks: SigmoidTables) -> InRounds[None]:
    """All of it."""
    m, n, party = making.material[name], masks.rows, making.party
    # step 1
    turned = [
        _Rotated(making, table, mask_index(m["r"], shift, len(table)), levels)
        for table, shift, levels in zip(
            (tables.VALUES, tables.CLASSES), (tables.LOW_SHIFT, tables.HIGH_SHIFT), _LEVELS, strict=True
        )
    ]
    own = tables.unpack(m["flip"]).T  # [bits, n]
    values = SharedBits(making.transfers, own[: tables.VALUE_BITS].reshape(-1).to(torch.uint8))
    classes = SharedBits(making.transfers, own[tables.VALUE_BITS :].reshape(-1).to(torch.uint8), (AUDITOR,))
    yield
    # step 2
    for table in turned:
        table.move()
    one = torch.ones(2 * n, dtype=torch.int64)
    of_classes = classes.times(DEVELOPER, [one] if party == DEVELOPER else None, 1)
    in_ring = of_classes.share.reshape(2, n) if party == DEVELOPER else None
    both = None if in_ring is None else [one[:1].expand(tables.VALUE_BITS * n), in_ring[0].repeat(tables.VALUE_BITS)]
    of_values = values.times(DEVELOPER, both, 2)
    yield
    # step 3
    in_ring = of_classes.share.reshape(2, n)
    middle = in_ring[0].repeat(tables.VALUE_BITS)
    of_middle = values.times(AUDITOR, [middle] if party == AUDITOR else None, 1)
    yield
    bits, products = of_values.share
    m["bits"] = torch.cat([bits.reshape(-1, n), in_ring]).T.contiguous()
    m["products"] = (products + of_middle.share[0]).reshape(-1, n).T.contiguous()
    m["values"], m["classes"] = (table.share() for table in turned)


class _Rotated:
    """One of the tables: steps 1 and 2.

    Args:
        index: this party's, [n]. levels: how many bits it has.
    """

    def __init__(self, making: Making, table: Tensor, index: Tensor, levels: int) -> None:
        self._transfers, self._table, self._index, self._levels = making.transfers, table, index, levels
        self._choices: list[Choice] = []
        self._products: list[Product] = []
        self._share: Tensor | None = None
        self._own = making.party == DEVELOPER
        for b in range(levels):
            bits = None if self._own else self._bit(b).to(torch.uint8)
            self._choices.append(making.transfers.choose(AUDITOR, bits, len(index)))

    def move(self) -> None:
        """After the exchange of the choices."""
        size, dtype = len(self._table), self._table.dtype
        share = self._table[(torch.arange(size) - self._index[:, None]) % size] if self._own else None
        for b, choice in enumerate(self._choices):
            moving = None if share is None else share ^ share.roll(1 << b, dims=1)
            self._products.append(self._transfers.multiply(choice, moving, size, dtype, xor=True))
            if share is not None:
                share = share ^ self._products[-1].share
        self._share = share

    def share(self) -> Tensor:
        """[n, size], after one more exchange."""
        if self._share is None:
            share = torch.zeros(len(self._index), len(self._table), dtype=self._table.dtype)
            for b, product in enumerate(self._products):
                moving = (share ^ share.roll(1 << b, dims=1)).masked_fill_(self._bit(b)[:, None] == 0, 0)
                share = share ^ moving ^ product.share
            self._share = share
        return self._share

    def _bit(self, b: int) -> Tensor:
        return (self._index >> b) & 1
