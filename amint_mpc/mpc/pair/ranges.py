"""The masks of a range test (`RangeMasks`): hi = hi(r) and hi^2 + hi, where neither knows r.

Steps
    1. r is a mask by digits that end where the window ends (digits.py), so that hi = hi_D + hi_A without a carry: the
       mask of the ReLU, whose top digit begins there, or one of its own.
    2. the auditor chooses with the bits of hi_A, the developer answers with hi_D (factors.py): hi^2 + hi is each
       party's own hi_P^2 + hi_P and 2 hi_D hi_A.
hi belongs to r, or where there is a carry into the lowest digit to r - 2^(window - 20): a value counts as up to
2^(window - 20) units larger than it is.
Who learns what: nothing. Exchanges: 2 after the mask's. Bytes an entry: auditor 2 or 4, developer 22 or 84, and 15 or 31
transfers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair import digits
from amint_mpc.mpc.pair.digits import Digits
from amint_mpc.mpc.pair.factors import Factors
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.pair.relu import ABOVE, ABOVE_BIT
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.rounds import InRounds

DIGITS = 5


def transfers(masks: RangeMasks) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    count = torch.Size(masks.shape).numel()
    developer, auditor = digits.transfers(count, DIGITS) if masks.mask is None else (0, 0)
    return developer, auditor + count * _bits(masks)


def _bits(masks: RangeMasks) -> int:
    """Modulo which power of two hi_D hi_A counts: twice it is added to a word."""
    return 8 * masks.word.itemsize - 1


def ranges(making: Making, name: str, masks: RangeMasks) -> InRounds[None]:
    """All of it."""
    m, party, count = making.material[name], making.party, torch.Size(masks.shape).numel()
    high: list[Tensor | None]
    if masks.mask is None:
        words = m["r"]
        window = masks.windows
        by_digits = Digits(making, words.reshape(-1), window - digits.DIGIT * DIGITS, DIGITS)
        both = masks.high(words)
        yield
        by_digits.move()
        own = masks.high(words)
    else:
        if masks.window != ABOVE_BIT:
            raise ValueError("the window of a mask of the ReLU ends where its top digit begins")
        at = replace(masks.mask, key=ABOVE)
        own = yield from making.ask(at, AUDITOR)
    factors = Factors(making.transfers, AUDITOR, own, count, _bits(masks))
