"""The masks of a range test (`RangeMasks`): hi = hi(r) and hi^2 + hi, where neither knows r.

Steps
    1. r is a mask by digits that end where the window ends (digits.py), so that hi = hi_D + hi_A without a carry: the
       mask of the ReLU, whose top digit begins there, or one of its own.
    2. the auditor chooses with the bits of hi_A, the developer answers with hi_D (factors.py): hi^2 + hi is each
       party's own hi_P^2 + hi_P and 2 hi_D hi_A.
hi belongs to r, or where there is a carry into the lowest digit to r - 2^(window - 20): a value counts as up to
2^(window - 20) units larger than it is.
Who learns what: nothing. Exchanges: 2 after the ReLU's third, or 3. Bytes of an entry of 16 (32) bits: developer 22
(84), auditor 2 (4), and 15 (31) transfers in which the auditor chooses; with a mask of its own the five digits beside.
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


def ranges(making: Making, name: str, masks: RangeMasks) -> InRounds[None]:
    """All of it."""
    m = making.material[name]
    if masks.mask is None:
        high: Tensor | None = masks.high(m["r"])
        # step 1, and of step 2 what needs nothing of it
        by_digits = Digits(making, m["r"].reshape(-1), _window(masks) - digits.DIGIT * DIGITS, DIGITS)
        square = _Square(making, masks, high)
        yield
        by_digits.move()
        square.answer(high)
        yield
        by_digits.carry()
        yield
        m["r"] = by_digits.mask.reshape(masks.shape)
    else:
        if masks.window != ABOVE_BIT:
            raise ValueError(f"a window of a mask of the ReLU begins at bit {ABOVE_BIT}, where its top digit does")
        above = replace(masks.mask, key=ABOVE)
        # step 2
        high = yield from making.ask(above, AUDITOR)
        square = _Square(making, masks, high)
        yield
        high = yield from making.ask(above, DEVELOPER)
        square.answer(high)
        yield
    m["high"], m["squared"] = square.shares()


class _Square:
    """hi^2 + hi, step 2. Args: high: hi_A at the auditor; at the developer it does not count."""

    def __init__(self, making: Making, masks: RangeMasks, high: Tensor | None) -> None:
        self._masks, self._party, self._own = masks, making.party, high
        self._count = torch.Size(masks.shape).numel()
        own = high.reshape(-1) if high is not None and self._party == AUDITOR else None
        self._factors = Factors(making.transfers, AUDITOR, own, self._count, _bits(masks))

    def answer(self, high: Tensor | None) -> None:
        """Args: high: hi_D at the developer; at the auditor it does not count."""
        values = None
        if self._party == DEVELOPER and high is not None:
            self._own, values = high, high.reshape(-1, 1)
        self._product = self._factors.times(values, 1)

    def shares(self) -> tuple[Tensor, Tensor]:
        """Of hi, and of hi^2 + hi."""
        assert self._own is not None
        high = self._own.reshape(self._masks.shape)
        squared = self._product.share.reshape(self._masks.shape).mul_(2).add_(high * high).add_(high)
        return self._masks.lifted(high), self._masks.lifted(squared)


def _bits(masks: RangeMasks) -> int:
    """Modulo which power of two hi_D hi_A counts: twice it goes into a word."""
    return 8 * masks.word.itemsize - 1


def _window(masks: RangeMasks) -> int | Tensor:
    if isinstance(masks.window, int):
        return masks.window
    return torch.tensor([window for count, window in masks.window for _ in range(count)])
