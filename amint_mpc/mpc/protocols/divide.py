"""Division of a shared value of limited size by a public whole number: as a truncation, for any divisor.

The steps are those of truncate.py, which finds out whether the shares s0 and s1 of x' = x + o wrap around 2^64. With
o = d (2^62 // d) and 2^64 = q d + p,

    x / d  =  s0 // d + s1 // d - q wrap - o / d  +  e

where e = ((s0 mod d) + (s1 mod d) - p wrap) / d lies in (-1, 2). The developer adds 1, which is nearer to its mean.

Who learns what: each party a masked bit of the other one's share, uniform.
Exact: for |x| < 2^62 - d the result differs from x / d by less than 2. Outside it is garbage.
Rounds: 1. Bytes for n entries, each party: n / 8; dealer 8 n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols import truncate

MAX_DIVISOR = 2**32


@dataclass(frozen=True)
class DivisionMasks:
    """What one division of a tensor needs.

    Args:
        shape: of the tensor.
        divisor: d, 3 to 2^32 (a power of two: see truncate.py, which is cheaper).
    """

    shape: tuple[int, ...]
    divisor: int

    def __post_init__(self) -> None:
        if not 3 <= self.divisor <= MAX_DIVISOR:
            raise ValueError(f"a divisor is 3 to {MAX_DIVISOR}, not {self.divisor}")

    @property
    def fields(self) -> Mapping[str, Field]:
        return truncate.wrap_fields(self.shape, torch.int64)

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        return {"product": truncate.bits_of_both(developer, auditor, self.shape) - auditor["product"]}


def masked_signs(x: Tensor, material: Material, divisor: int, party: int) -> Tensor:
    """What this party sends, packed bits. x: its share, int64."""
    return truncate.masked_signs(x, material, party, _offset(divisor))


def finish(x: Tensor, sent: tuple[Tensor, Tensor], material: Material, divisor: int, party: int) -> Tensor:
    """This party's share of x / divisor.

    Args:
        x: share, int64. sent: masked signs of the developer, and of the auditor.
        divisor: as in the `DivisionMasks` that the material is from.
    """
    share = truncate.shifted(x, party, _offset(divisor))
    result = unsigned_quotient(share, divisor)
    result -= truncate.wraps(share, sent, material, party) * (2**64 // divisor)
    return result.add_(1 - 2**62 // divisor) if party == DEVELOPER else result


def _offset(divisor: int) -> int:
    return divisor * (2**62 // divisor)


def unsigned_quotient(x: Tensor, divisor: int) -> Tensor:
    """x // divisor with x read as an unsigned 64-bit number (torch has no unsigned division)."""
    quotient = x.contiguous().numpy().view(np.uint64) // np.uint64(divisor)
    return torch.from_numpy(np.asarray(quotient).view(np.int64)).reshape(x.shape)
