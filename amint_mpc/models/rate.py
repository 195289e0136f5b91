"""The learning rates and the momentum that the secure head can apply exactly; the plaintext head uses the very same."""

from __future__ import annotations

import math

from amint_mpc.errors import UsageError

_MANTISSA_BITS = 2
MAX_SHIFT = 24
"""The largest k that the truncations of the secure head have room for (`amint_mpc.mpc.dense.descent`)."""


def representable_rate(rate: float) -> tuple[int, int]:
    """The nearest a / 2^k with an a of 2 or 3, so that a product with it needs little room.

    Args:
        rate: step size for a sum over rows (learning rate over rows), 0 < rate < 1.

    Returns:
        (a, k); a / 2^k is within a fourth of the rate.
    """
    if not 0 < rate < 1:
        raise ValueError("the learning rate over the number of rows lies between 0 and 1")
    k = _MANTISSA_BITS - 1 - math.floor(math.log2(rate))
    a = round(rate * 2.0**k)
    return (a, k) if a < 2**_MANTISSA_BITS else (a // 2, k - 1)


def representable_momentum(momentum: float) -> tuple[int, int]:
    """The nearest a / 2^k with an odd a and k of at most 7.

    Args:
        momentum: 1/128 to 127/128.

    Returns:
        (a, k); a / 2^k is within 1/256 of the momentum.
    """
    if not 1 / 128 <= momentum <= 127 / 128:
        raise ValueError("momentum lies between 1/128 and 127/128")
    a, k = round(momentum * 128), 7
    while a % 2 == 0:
        a, k = a // 2, k - 1
    return a, k


def check_rate(learning_rate: float, batch: int) -> None:
    """Refuse a head.learning_rate that is too small for a batch of so many members.

    Raises:
        UsageError: with the smallest rate that is allowed.
    """
    if representable_rate(learning_rate / batch)[1] > MAX_SHIFT:
        least = batch * 2.0 ** (_MANTISSA_BITS - 1 - MAX_SHIFT)
        raise UsageError(
            f"head.learning_rate {learning_rate:g} is too small for the secure head with batches of {batch}",
            f"The smallest is {math.ceil(least * 1e9) / 1e9:g}: training.batch / 2^{MAX_SHIFT + 1 - _MANTISSA_BITS}",
        )
