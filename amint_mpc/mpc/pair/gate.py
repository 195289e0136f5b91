"""The products of masks that the wide gate of the comparison is evaluated on (protocols/sign.py), as XOR shares.

The masks are ten bits m_E, m_lt4, m_eq4, ..., m_lt0 an entry, XOR-shared as drawn. A product is one of a subset of
{E, eq4, eq3, eq2, eq1}, or of lt_k and a subset of those that stand before it.

Steps
    1. each party chooses with its shares of all of these bits but E.
    2. w holds the products of all subsets of {E}: two bits, the empty one first. With eq4, eq3, eq2 and eq1 one after
       another w doubles: w, then eq times w (`SharedBits.times_xor`), one exchange each.
    3. lt4 to lt0 times the first 2, 4, 8, 16 and 32 bits of w, all in one exchange.
The 94 bits are put in the order of `sign.mask_products`: products as numbers, the bit of E lowest, in ascending order.

Source: the multi-input gates of ABY2.0 (Patra et al. 2021), set up by GMW gates on words (factors.py).
Who learns what: nothing. Exchanges: 6. Bytes of an entry, each party: 14, and 9 transfers in which it chooses.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.pair.factors import SharedBits
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.rounds import InRounds

_EQUAL = ((2, torch.uint8), (4, torch.uint8), (6, torch.uint8), (8, torch.int16))
"""Bit number of eq4 to eq1 in a mask, and as what the products before it travel."""
_NARROW, _LT1, _LT0 = (1, 3, 5), 7, 9  # lt4, lt3 and lt2 fit a byte
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), axis=1, bitorder="little")[:, 0]


def transfers(count: int) -> int:
    """In which each party chooses, for `count` entries."""
    return (sign.INPUTS - 1) * count


def gate_words(making: Making, mask: Tensor) -> InRounds[Tensor]:
    """Shares of `sign.mask_products`, [n, h, WORDS] int32. mask: share, [n, h] int16."""
    own, count = mask.reshape(-1), mask.numel()

    def bit(number: int) -> Tensor:
        return ((own >> number) & 1).to(torch.uint8)

    # step 1
    equal = [SharedBits(making.transfers, bit(number)) for number, _ in _EQUAL]
    narrow = SharedBits(making.transfers, torch.cat([bit(number) for number in _NARROW]))
    lt1, lt0 = (SharedBits(making.transfers, bit(number)) for number in (_LT1, _LT0))
    # step 2
    w = (bit(0).to(torch.int32) << 1) | (1 if making.party == DEVELOPER else 0)
    yield
    for level, (bits, (_, dtype)) in enumerate(zip(equal, _EQUAL, strict=True)):
        width = 2 << level
        product = bits.times_xor(w.to(dtype))
        yield
        w |= (product.share.to(torch.int32) & ((1 << width) - 1)) << width
    # step 3
    low = w.to(torch.uint8)
    few = narrow.times_xor(torch.cat([low & 0b11, low & 0b1111, low]))
    more, all_of_them = lt1.times_xor(w.to(torch.int16)), lt0.times_xor(w)
    yield
    lt4, lt3, lt2 = few.share.long().reshape(3, count)
    first, last = more.share.long() & 0xFFFF, all_of_them.share.long() & 0xFFFFFFFF
    w = w.long()
    lower = (w & 3) | (lt4 & 3) << 2 | (w & 0xC) << 2 | (lt3 & 15) << 6 | (w & 0xF0) << 6 | lt2 << 14
    lower |= (w & 0xFF00) << 14 | first << 30 | (w & 0xFFFF0000) << 30 | last << 62
    words = torch.stack([lower.to(torch.int32), (lower >> 32).to(torch.int32), (last >> 2).to(torch.int32)], dim=1)
    ordered = _REVERSED[words.numpy().view(np.uint8)]  # the first product is the highest bit of a byte
    return torch.from_numpy(ordered).view(torch.int32).reshape(*mask.shape, sign.WORDS)
