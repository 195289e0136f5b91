"""Products of secret bits and of secret numbers of the two parties, out of oblivious transfers.

`SharedBits`: bits b = b_D xor b_A times numbers that both have shares of. For the part x_P of one party, with Q the
other one, b x_P = b_P x_P + b_Q (1 - 2 b_P) x_P: one transfer in which Q chooses. Of XOR shares: b x = b_P x_P xor
b_Q x_P for each P (the GMW gate; Goldreich, Micali, Wigderson 1987; over additive shares Demmler, Schneider, Zohner
2015, ABY, section III).

`Factors`: numbers x of one party times numbers v of the other one, bit by bit (Gilboa 1999, "Two party RSA key
generation", section 4): x v = sum_k 2^k x_k v, where the one with x chooses with the bits x_k. The term of bit k
counts modulo 2^(width - k) alone and travels in the narrowest word that holds as much.

Steps
    1. who chooses sends its bits xor random ones (`Transfers.choose`).
    2. who does not answers with one word a bit under pads (`Transfers.multiply`), as often as wanted.
Who learns what: nothing; both messages are uniform. The shares that come out are, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.transfers import Choice, Product, Transfers

PARTIES = (DEVELOPER, AUDITOR)


class SharedBits:
    """Bits that both parties have XOR shares of, to multiply with.

    Args:
        own: this party's share, [count] uint8 of zeros and ones.
        choosers: the parties that choose with their share; both, unless the other one's part alone is multiplied.
    """

    def __init__(self, transfers: Transfers, own: Tensor, choosers: Sequence[int] = PARTIES) -> None:
        self._transfers, self._own, party = transfers, own, transfers.party
        self._choices = {q: transfers.choose(q, own if q == party else None, len(own)) for q in choosers}

    def times_xor(self, x: Tensor) -> XorProduct:
        """b x for XOR-shared words x, [count], of any dtype."""
        products = [
            self._transfers.multiply(choice, None if q == self._transfers.party else x[:, None], 1, x.dtype, xor=True)
            for q, choice in self._choices.items()
        ]
        return XorProduct(x.masked_fill(self._own == 0, 0), products)

    def times(
        self, holder: int, x: Sequence[Tensor] | None, words: int, dtype: torch.dtype = torch.int64
    ) -> PartProduct:
        """b x_P for the parts x_P that `holder` has of some shared numbers.

        Args:
            x: `words` tensors [count] at the holder; None at the other party.
        """
        kept = values = None
        if x is not None:
            stacked, zero = torch.stack(list(x)).to(dtype), self._own == 0
            kept = stacked.masked_fill(zero, 0)
            values = torch.where(zero, stacked, -stacked).T.contiguous()
        choice = self._choices[1 - holder]
        return PartProduct(self._transfers.multiply(choice, values, words, dtype), kept)


class XorProduct:
    """What `SharedBits.times_xor` gives: `share` [count] is there after the next exchange."""

    def __init__(self, kept: Tensor, products: Sequence[Product]) -> None:
        self._kept, self._products = kept, products

    @property
    def share(self) -> Tensor:
        total = self._kept
        for product in self._products:
            total = total ^ product.share[:, 0]
        return total


class PartProduct:
    """What `SharedBits.times` gives: `share` [words, count], at the holder at once, at the other party after the next
    exchange."""

    def __init__(self, product: Product, kept: Tensor | None) -> None:
        self._product, self._kept = product, kept

    @property
    def share(self) -> Tensor:
        share = self._product.share.T.contiguous()
        return share if self._kept is None else share + self._kept


def bit_groups(width: int) -> list[tuple[int, int, torch.dtype]]:
    """Bits of a factor whose terms travel in the same words, modulo 2^width: (first, behind the last, dtype)."""
    found, start = [], 0
    for narrower, dtype in ((32, torch.int64), (16, torch.int32), (8, torch.int16), (0, torch.uint8)):
        if width - narrower > start:
            found.append((start, width - narrower, dtype))
            start = width - narrower
    return found


class Factors:
    """Numbers of one party, with which numbers of the other one are multiplied, modulo 2^width.

    Args:
        chooser: the party with the numbers.
        x: [count] int64 at the chooser; None at the other party.
    """

    def __init__(self, transfers: Transfers, chooser: int, x: Tensor | None, count: int, width: int = 64) -> None:
        self._transfers, self._count = transfers, count
        self._groups: list[tuple[int, int, torch.dtype, Choice]] = []
        for start, stop, dtype in bit_groups(width):
            bits = None if x is None else _bits(x, start, stop)
            self._groups.append((start, stop, dtype, transfers.choose(chooser, bits, count * (stop - start))))

    def times(self, values: Tensor | None, words: int) -> NumberProduct:
        """x_i v_i for each i.

        Args:
            values: v, [count, words] int64 at the other party; None at the chooser.
        """
        products = []
        for start, stop, dtype, choice in self._groups:
            repeated = None
            if values is not None:
                shape = (stop - start, self._count, words)
                repeated = values.to(dtype)[None].expand(shape).reshape(-1, words)
            products.append((start, stop, self._transfers.multiply(choice, repeated, words, dtype)))
        return NumberProduct(products, self._count, words)


class NumberProduct:
    """What `Factors.times` gives: `share` [count, words] int64, right modulo 2^width; at the party with the values at
    once, at the chooser after the next exchange."""

    def __init__(self, products: Sequence[tuple[int, int, Product]], count: int, words: int) -> None:
        self._products, self._shape = products, (count, words)

    @property
    def share(self) -> Tensor:
        total = torch.zeros(self._shape, dtype=torch.int64)
        for start, stop, product in self._products:
            terms = product.share.reshape(stop - start, *self._shape)
            part = terms[-1].clone()
            for term in reversed(terms[:-1].unbind()):
                part.mul_(2).add_(term)
            total += part.long() << start
        return total


def _bits(x: Tensor, start: int, stop: int) -> Tensor:
    """[count] int64 -> [(stop - start) * count] uint8: bit by bit, from the lowest."""
    shifts = torch.arange(start, stop)[:, None]
    return ((x >> shifts) & 1).to(torch.uint8).reshape(-1)
