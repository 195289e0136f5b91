"""Fixed point: how many fractional bits each value has, and the ranges in which the head's protocols are exact.

The scales are chosen so that no large product needs a truncation: a product's scale is the sum of its factors'.

    features X         8    |x| <= 8, so that they fit one exact float64 limb
    weights W1         30
    hidden Y = X W1    38   |y| < 128
    weights w2         14
    logits z = h w2    52   |z| < 496 (the sigmoid is read at z * 4, scale 54)
    error g = p - y    14
    dY = g s w2        28
    dX = dY W1^T       58   |dx| < 32, before division by the number of rows
    scaled dY          22   learning rate included; X^T of it has the scale of W1
    dw2                52   |sum_i g_i h_ij| < 1024 / a, for a learning rate a / 2^k
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.ring.products import SMALL_LIMIT

X_BITS = 8
W1_BITS = 30
Y_BITS = X_BITS + W1_BITS
W2_BITS = 14
Z_BITS = Y_BITS + W2_BITS
G_BITS = 14
DY_BITS = G_BITS + W2_BITS
DX_BITS = DY_BITS + W1_BITS
UPDATE_BITS = W1_BITS - X_BITS
DW2_BITS = Y_BITS + G_BITS

X_LIMIT = SMALL_LIMIT / 2**X_BITS
Y_LIMIT = 128.0
Z_LIMIT = 496.0
DX_LIMIT = 2.0 ** (63 - DX_BITS)
DW2_LIMIT = 2.0 ** (62 - DW2_BITS)  # of a dw2, which is truncated: beyond it an update of w2 is garbage


def check_features(x: Tensor) -> None:
    """Refuse features that lie outside of +-X_LIMIT.

    Raises:
        ProtocolError: with what to do about it.
    """
    if x.numel() == 0 or bool(x.abs().max() <= X_LIMIT):  # NaN is the largest of all
        return
    if not bool(x.isfinite().all()):
        raise ProtocolError(
            f"a feature lies outside [-{X_LIMIT:g}, {X_LIMIT:g}]: it is not finite, training diverged",
            "Lower training.learning_rate",
        )
    raise ProtocolError(
        f"a feature lies outside [-{X_LIMIT:g}, {X_LIMIT:g}], where the head is exact",
        "Standardise and clip the features",
    )


def encode(x: Tensor, bits: int) -> Tensor:
    """Nearest fixed-point number with `bits` fractional bits, as int64."""
    return (x.double() * 2.0**bits).round_().long()


def decode(x: Tensor, bits: int) -> Tensor:
    """float64 value of a ring element; the inverse of `encode` on its range."""
    return x.to(torch.float64, copy=True).div_(2.0**bits)
