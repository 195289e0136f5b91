"""Masks of whose digits the two parties have shares, though neither knows a digit.

Steps
    1. each party P draws words x_P: l_P the bits below `low`, u_P,k its K digits of 4 bits, v_P what is above. The
       auditor chooses with the bits of its digits.
    2. the developer holds a one-hot vector of 32 bits for u_D,k. For each bit 2^b of u_A,k it is moved by 2^b places
       if the bit is set, as XOR shares: new = w xor bit (w xor moved w). The developer's shares are there at once, so
       all four answers go in one message. Now both share the one-hot vector of u_D,k + u_A,k: its halves folded onto
       each other say the digit d_k modulo 16, and the XOR of the upper half is the carry c_k (shares of a bit).
       The developer chooses with its shares of the carries.
    3. the auditor answers: c = c_D + c_A - 2 c_D c_A in the ring.
The mask is r = x_D + x_A - sum_k 16^(k+1) 2^low c_k. It is uniform also for one who knows x_D or x_A, for then each
word of the other one gives another r. But for a carry out of l_D + l_A its digits are d_k, and what is above them is
v_D + v_A: so the shares of the one-hot vectors and of `above` belong to r, or with such a carry to r - 2^low.

Sources: the one-hot vector that is moved bit by bit is the lookup by oblivious transfers of Dessouky et al. 2017
("Pushing the communication barrier in secure computation using lookup tables"); digits of 4 bits: CrypTFlow2 (Rathee et
al. 2020); the carry's way to the ring: ABY (Demmler et al. 2015).
Who learns what: nothing; choices and answers are uniform.
Exchanges: 3; the auditor knows its share of r after 2. Bytes of a digit: developer 16, auditor 2 to 8; 1 transfer in
which the developer chooses, 4 in which the auditor does (mpc/ot says what these cost).
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.transfers import Choice, Product
from amint_mpc.mpc.pair.making import Making

DIGIT = 4


def transfers(count: int, digits: int) -> tuple[int, int]:
    """In which the developer and the auditor choose, for `count` masks."""
    return digits * count, digits * DIGIT * count


class Digits:
    """Masks by digits, on their way. Its steps are called by whoever yields between them.

    Args:
        x: this party's words, [count] int64.
        low: below which bit there are no digits; of each mask, where it is a tensor.
        digits: K.
    """

    def __init__(self, making: Making, x: Tensor, low: int | Tensor, digits: int) -> None:
        self._transfers, self._party = making.transfers, making.party
        self._x, self._low, self._digits = x, low, digits
        shifts = DIGIT * torch.arange(digits, dtype=torch.int32)[:, None]
        window = ((x >> low) & ((1 << DIGIT * digits) - 1)).to(torch.int32)
        self._own = ((window >> shifts) & 15).reshape(-1)  # the digits, the lowest of all masks first
        self._one_hot = torch.empty(0, dtype=torch.int32)
        self._moves: list[Product] = []
        self._carried: list[tuple[Product, int]] = []
        auditors = [None] * DIGIT if self._party == DEVELOPER else [self._bit(b).to(torch.uint8) for b in range(DIGIT)]
        self._choices: list[Choice] = [self._transfers.choose(AUDITOR, bits, self._own.numel()) for bits in auditors]
        self._carry_choices: list[tuple[Choice, int, torch.dtype]] = []

    def move(self) -> None:
        """Step 2, after the exchange of the choices. At the developer `one_hot` is there."""
        one = torch.ones((), dtype=torch.int32)
        vector = one << self._own if self._party == DEVELOPER else None
        for b, choice in enumerate(self._choices):
            moving = None if vector is None else vector ^ (vector << (1 << b))
            values = None if moving is None else moving[:, None]
            product = self._transfers.multiply(choice, values, 1, torch.int32, xor=True)
            if vector is None:
                self._moves.append(product)
            else:
                vector = vector ^ product.share[:, 0]
        if vector is not None:
            self._fold(vector)
        carries, count, start = self._carries if vector is not None else None, len(self._x), 0
        for dtype, digits in self._widths():
            part = None if carries is None else carries[start * count : (start + digits) * count]
            choice = self._transfers.choose(DEVELOPER, part, digits * count)
            self._carry_choices.append((choice, digits, dtype))
            start += digits

    def carry(self) -> None:
        """Step 3, after the next exchange. At the auditor `one_hot`, `mask` and `above` are there, at the developer the
        last two after one more exchange."""
        if self._party == AUDITOR:
            vector = torch.zeros_like(self._own)
            for b, product in enumerate(self._moves):
                moving = vector ^ (vector << (1 << b))
                vector = vector ^ moving.masked_fill_(self._bit(b) == 0, 0) ^ product.share[:, 0]
            self._fold(vector)
        count, start = len(self._x), 0
        for choice, digits, dtype in self._carry_choices:
            values = None
            if self._party == AUDITOR:
                values = self._carries[start * count : (start + digits) * count, None].to(dtype)
            self._carried.append((self._transfers.multiply(choice, values, 1, dtype), digits))
            start += digits

    @property
    def one_hot(self) -> Tensor:
        """XOR shares of the one-hot vectors of the digits, [K, count] int32, 16 bits of each."""
        return self._one_hot.reshape(self._digits, -1)

    @property
    def mask(self) -> Tensor:
        """This party's share of r, [count]."""
        r = self._x
        for k, carry in enumerate(self._carry_shares()):
            r = r - (carry << (self._low + DIGIT * (k + 1)))
        return r

    def above(self, bit: int) -> Tensor:
        """This party's share of the bits of r, or of r - 2^low, from `bit` on, where the top digit begins: right modulo
        2^16, without a carry from below."""
        (*_, top) = self._carry_shares()
        return (self._x >> bit) - (top << DIGIT)

    def _bit(self, b: int) -> Tensor:
        return (self._own >> b) & 1

    def _fold(self, vector: Tensor) -> None:
        upper = (vector >> 16) & 0xFFFF
        self._one_hot = (vector & 0xFFFF) ^ upper
        for shift in (8, 4, 2, 1):
            upper = upper ^ (upper >> shift)
        self._carries = (upper & 1).to(torch.uint8)

    def _widths(self) -> list[tuple[torch.dtype, int]]:
        """As what c_D c_A travels for so many digits: it counts modulo 2^(63 - low - 4 (k + 1)), at least 2^12."""
        low = self._low if isinstance(self._low, int) else int(self._low.min())
        needed = [max(63 - low - DIGIT * (k + 1), 12) for k in range(self._digits)]
        words = [torch.int64 if bits > 32 else torch.int32 if bits > 16 else torch.int16 for bits in needed]
        return [(dtype, len(list(alike))) for dtype, alike in groupby(words)]

    def _carry_shares(self) -> list[Tensor]:
        """[count] int64 for each digit, right modulo what it needs."""
        products = torch.cat([product.share[:, 0].long() for product, _ in self._carried])
        shares = self._carries.long().sub_(products, alpha=2).reshape(self._digits, -1)
        return list(shares)
