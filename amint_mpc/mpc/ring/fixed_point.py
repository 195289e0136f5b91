"""Fixed point: how many fractional bits each value has.

The scales are chosen so that no large product needs a truncation: a product's scale is the sum of its factors'. How
far each value is exact (the limits that a step tests lie well within, see `amint_mpc.mpc.dense.ranges`):

    features X         X_BITS        8    |x| <= FEATURE_LIMIT = 8, so that they fit one exact float64 limb
    weights W1         W1_BITS      30
    hidden Y = X W1    Y_BITS       38    |y| < SIGN_LIMIT = 2048
    weights w2         W2_BITS      14
    logits z = h w2    Z_BITS       52    |z| < Z_LIMIT = 496 (the sigmoid is read at z * 4)
    error g = p - y    G_BITS       14
    dY = g s w2        DY_BITS      28
    dX = dY W1^T       DX_BITS      58    |dx| < DX_LIMIT = 32, before division by the number of rows
    scaled dY          UPDATE_BITS  22    learning rate included; X^T of it has the scale of W1
    dw2                DW2_BITS     52    |sum_i g_i h_ij| < DW2_LIMIT = 1024, over a block of rows
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.limits import FEATURE_LIMIT

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

SIGN_LIMIT = 2048.0
"""Of the protocol that reads the sign of Y."""
Z_LIMIT = 496.0
"""Of the sigmoid."""
DX_LIMIT = 2.0 ** (63 - DX_BITS)
"""Of a dX: beyond it the developer sees it less a multiple of the ring."""
DW2_LIMIT = 2.0 ** (62 - DW2_BITS)
"""Of a dw2, which is truncated: beyond it an update of w2 is garbage."""


def check_features(x: Tensor) -> None:
    """Refuse features that lie outside of +-FEATURE_LIMIT.

    Raises:
        ProtocolError: with what to do about it.
    """
    if x.numel() == 0 or bool(x.abs().max() <= FEATURE_LIMIT):  # NaN is the largest of all
        return
    if not bool(x.isfinite().all()):
        raise ProtocolError(
            f"a feature lies outside [-{FEATURE_LIMIT:g}, {FEATURE_LIMIT:g}]: it is not finite, training diverged",
            "Lower training.learning_rate",
        )
    raise ProtocolError(
        f"a feature lies outside [-{FEATURE_LIMIT:g}, {FEATURE_LIMIT:g}], where the head is exact",
        "Standardise and clip the features",
    )


def encode(x: Tensor, bits: int) -> Tensor:
    """Nearest fixed-point number with `bits` fractional bits, as int64."""
    return (x.double() * 2.0**bits).round_().long()


def decode(x: Tensor, bits: int) -> Tensor:
    """float64 value of a ring element; the inverse of `encode` on its range."""
    return x.to(torch.float64, copy=True).div_(2.0**bits)
