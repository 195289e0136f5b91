"""Truncation of a shared value whose size is limited: one masked bit of each share tells whether the shares wrap.

Sources: a known sign makes wrapping cheap to find (SIRNN, Rathee et al. 2021, "MSB-to-wrap"; Cheetah, Huang et al.
2022); the product of two masked bits after Beaver 1991.

Steps
    1. x' = x + 2^62 lies in [0, 2^63) and is shared as s0 + s1, so the shares wrap around 2^64 exactly if the top bit
       of s0 or that of s1 is 1. The developer sends its one xor alpha, the auditor its own xor beta, random bits.
    2. with the two masked bits a, b and shares of alpha beta each party has its share of
       wrap = top(s0) + top(s1) - top(s0) top(s1), and with logical shifts

       x >> f  =  (s0 >> f) + (s1 >> f) + 1 - 2^(64-f) wrap - 2^(62-f)    - (0 or 1)

       where the last term is the carry of the low bits of the shares, which is left out.
Who learns what: the auditor a, the developer b, both uniform.
Exact: for -2^62 <= x < 2^62 the result is floor(x / 2^f) or that plus one; outside it is garbage. As far as the low
bits of the shares are uniform, it is x / 2^f + 2^-f on average.
Rounds: 1. Bytes for n entries, each party: n / 8; dealer 2, 4 or 8 n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.protocols.sign import pack, unpack
from amint_mpc.mpc.ring.products import logical_shift

OFFSET = 1 << 62
_MASKS = "alpha", "beta"


@dataclass(frozen=True)
class TruncationMasks:
    """What one truncation of a tensor needs.

    Args:
        shape: of the tensor.
        bits: f, how far it is shifted; 1 to 62.
    """

    shape: tuple[int, ...]
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 62:
            raise ValueError(f"a truncation drops 1 to 62 bits, not {self.bits}")

    @property
    def fields(self) -> Mapping[str, Field]:
        """alpha, beta; their product, as wide as its use needs: 2^(64-f) times it depends on its low f bits alone."""
        narrow = torch.int16 if self.bits <= 16 else torch.int32 if self.bits <= 32 else torch.int64
        return wrap_fields(self.shape, narrow)

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        return {"product": bits_of_both(developer, auditor, self.shape) - auditor["product"]}


def wrap_fields(shape: tuple[int, ...], product: torch.dtype) -> Mapping[str, Field]:
    """Of the masks that find out whether shares wrap. Args: product: as what alpha beta is shared."""
    return {
        "alpha": Field(_packed(shape), torch.uint8, holders=(DEVELOPER,)),
        "beta": Field(_packed(shape), torch.uint8, holders=(AUDITOR,)),
        "product": Field(shape, product, corrected=True),
    }


def bits_of_both(developer: Material, auditor: Material, shape: tuple[int, ...]) -> Tensor:
    """alpha beta of each entry, of the dtype of its shares."""
    return unpack(developer["alpha"] & auditor["beta"], shape).to(auditor["product"].dtype)


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a bit of each entry, eight to a byte."""
    return (-(-prod(shape) // 8),)


def masked_signs(x: Tensor, material: Material, party: int, offset: int = OFFSET) -> Tensor:
    """Step 1: what this party sends, packed bits. x: its share, int64. offset: x' less x."""
    return pack((shifted(x, party, offset) < 0).to(torch.uint8)) ^ material[_MASKS[party]]


def finish(x: Tensor, sent: tuple[Tensor, Tensor], masks: TruncationMasks, material: Material, party: int) -> Tensor:
    """Step 2. This party's share of x >> bits.

    Args:
        x: share, int64. sent: by the developer, and by the auditor, in step 1.
    """
    share = shifted(x, party)
    wrap = wraps(share, sent, material, party)
    result = logical_shift(share, masks.bits).sub_(wrap << (64 - masks.bits))
    return result.add_(1 - (1 << (62 - masks.bits))) if party == DEVELOPER else result


def wraps(share: Tensor, sent: tuple[Tensor, Tensor], material: Material, party: int) -> Tensor:
    """This party's share of 1 where the shares of x' wrap, as far as that of alpha beta is one. share: of x'."""
    a, b = (unpack(packed, tuple(share.shape)) for packed in sent)
    top = share < 0
    # top(s0) top(s1) = top(s0) b + a (top(s1) - b) + (1 - 2 a) (1 - 2 b) alpha beta
    wrap = (top & ~b).long() if party == DEVELOPER else (top & ~a).long() + (a & b)
    product = material["product"].long()
    return wrap.sub_(torch.where(a ^ b, -product, product))


def truncated(rounds: Rounds, masks: TruncationMasks, material: Material, x: Tensor) -> InRounds[Tensor]:
    """Both steps. x: share. Returns this party's share of x >> masks.bits."""
    own = masked_signs(x, material, rounds.party)
    sent = [
        rounds.hand_over(sender, own if rounds.party == sender else None, _packed(masks.shape), torch.uint8)
        for sender in (DEVELOPER, AUDITOR)
    ]
    yield
    return finish(x, (sent[0].value, sent[1].value), masks, material, rounds.party)


def shifted(x: Tensor, party: int, offset: int = OFFSET) -> Tensor:
    """This party's share of x'."""
    return x + offset if party == DEVELOPER else x
