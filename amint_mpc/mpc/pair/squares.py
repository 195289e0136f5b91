"""Sums of squares of masks (`SquaresMasks`).

Steps
    1. the auditor chooses with the bits of its rounded shares of the masks, of w2 and of Y.
    2. the developer answers with its own (factors.py). With d and a for both, (d + a)^2 = d^2 + a^2 + 2 d a.
    3. each sums up its shares.
Right modulo 2^(65-shift), as far as it counts; what is above is not the square's.
Who learns what: nothing. Exchanges: 2, after the ReLU's second. Bytes of an entry of Y with a shift of 36: developer
72, auditor 3.5, and 28 transfers in which the auditor chooses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskRef
from amint_mpc.mpc.pair.factors import Factors
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.relu import block_sums
from amint_mpc.mpc.protocols.rounds import InRounds, side_by_side
from amint_mpc.mpc.protocols.squares import SquaresMasks


def transfers(masks: SquaresMasks) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return 0, masks.hidden * (64 - masks.w2_shift) + masks.rows * masks.hidden * (64 - masks.y_shift)


def squares(making: Making, name: str, masks: SquaresMasks) -> InRounds[None]:
    """All of it."""
    of_w2, of_y = yield from side_by_side(
        _squares(making, masks.w2, masks.w2_shift, (masks.hidden,)),
        _squares(making, masks.y, masks.y_shift, (masks.rows, masks.hidden)),
    )
    # step 3
    made = {"w2": of_w2.sum()[None], "rows": of_y.sum(dim=1), "units": block_sums(of_y)}
    making.material[name].update(made)


def _squares(making: Making, mask: MaskRef, shift: int, shape: tuple[int, ...]) -> InRounds[Tensor]:
    """Steps 1 and 2 for one mask: share of the square of each entry."""
    count = torch.Size(shape).numel()
    auditors = yield from making.ask(mask, AUDITOR)
    own = None if auditors is None else auditors >> shift
    factors = Factors(making.transfers, AUDITOR, None if own is None else own.reshape(-1), count, 64 - shift)
    yield
    developers = yield from making.ask(mask, DEVELOPER)
    own = own if developers is None else developers >> shift
    assert own is not None
    product = factors.times(own.reshape(-1, 1) if making.party == DEVELOPER else None, 1)
    yield
    return product.share.reshape(shape).mul_(2).add_(own * own)
