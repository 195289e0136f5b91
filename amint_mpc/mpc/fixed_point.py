"""Fixed point: how many fractional bits each value has, and the ranges in which the head's protocols are exact.

The scales are chosen so that no large product needs a truncation: a product's scale is the sum of its factors'.

    features X         8    |x| <= 8, so that they fit one exact float64 limb
    weights W1         30
    hidden Y = X W1    38   |y| < 128
    weights w2         14
    logits z = h w2    52   |z| < 496 (the sigmoid is read at z * 4, scale 54)
    error g = p - y    12
    dY = g s w2        26
    dX = dY W1^T       56   |dx| < 128, before division by the number of rows
    scaled dY          22   learning rate included; X^T of it has the scale of W1
    dw2                50   |sum_i g_i h_ij| < 4096 / a, for a learning rate a / 2^k
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.mpc.ring import SMALL_LIMIT

X_BITS = 8
W1_BITS = 30
Y_BITS = X_BITS + W1_BITS
W2_BITS = 14
Z_BITS = Y_BITS + W2_BITS
G_BITS = 12
DY_BITS = G_BITS + W2_BITS
DX_BITS = DY_BITS + W1_BITS
UPDATE_BITS = W1_BITS - X_BITS
DW2_BITS = Y_BITS + G_BITS

X_LIMIT = SMALL_LIMIT / 2**X_BITS
Y_LIMIT = 128.0
Z_LIMIT = 496.0
DX_LIMIT = 2.0 ** (63 - DX_BITS)
DW2_LIMIT = 2.0 ** (62 - DW2_BITS)  # of a dw2, which is truncated: beyond it an update of w2 is garbage


def encode(x: Tensor, bits: int) -> Tensor:
    """Nearest fixed-point number with `bits` fractional bits, as int64."""
    return (x.double() * 2.0**bits).round_().long()


def decode(x: Tensor, bits: int) -> Tensor:
    """float64 value of a ring element; the inverse of `encode` on its range."""
    return x.to(torch.float64, copy=True).div_(2.0**bits)
