"""The numeric contract of the membership head: where the secure computation is exact, and which steps it can take.

Beyond these limits the secure head computes plausible garbage and cannot notice; its plaintext twin refuses whatever
leaves them, and features are clipped into theirs. Both take the very same steps, so rates and momentum are rounded
here. That the scales in the ring (`amint_mpc.mpc.ring.fixed_point`) leave room for all this is checked by a test.
"""

from __future__ import annotations

import math

from amint_mpc.errors import UsageError

# ------------------------------------------------------------------------------------------------ ranges of values

FEATURE_LIMIT = 8.0
"""|a feature| is at most this."""
HIDDEN_LIMIT = 128.0
"""|X w1 + b1| stays below."""
LOGIT_LIMIT = 64.0
"""|z| stays below; the secure heads are exact beyond it, too."""
GRADIENT_LIMIT = 32.0
"""|rows of the class * gradient of L_mint by the features| stays below."""
GRADIENT_WHOLE_BITS = 6
"""Of an opened gradient of the sum over rows: the bits, sign included, that GRADIENT_LIMIT needs before the point."""
W2_GRADIENT_LIMIT = 256.0
"""|sum over the rows of (sigmoid(z) - y) relu(Y)| stays below, for each hidden unit."""

# ------------------------------------------------------------------------------------------------ rates

NUMERATOR_BITS = 2
MAX_NUMERATOR = 2**NUMERATOR_BITS - 1
MAX_SHIFT = 24
"""A learning rate over rows is a / 2^k with a <= MAX_NUMERATOR and k <= MAX_SHIFT: truncations have no more room."""


def representable_rate(rate: float) -> tuple[int, int]:
    """The nearest a / 2^k with an a of 2 or 3, so that a product with it needs little room.

    Args:
        rate: step size for a sum over rows (learning rate over rows), 0 < rate < 1.

    Returns:
        (a, k); a / 2^k is within a fourth of the rate.
    """
    if not 0 < rate < 1:
        raise ValueError("the learning rate over the number of rows lies between 0 and 1")
    k = NUMERATOR_BITS - 1 - math.floor(math.log2(rate))
    a = round(rate * 2.0**k)
    return (a, k) if a <= MAX_NUMERATOR else (a // 2, k - 1)


def check_rate(learning_rate: float, batch: int) -> None:
    """Refuse a head.learning_rate that is too small for a batch of so many members.

    Raises:
        UsageError: with the smallest rate that is allowed.
    """
    if representable_rate(learning_rate / batch)[1] > MAX_SHIFT:
        least = batch * 2.0 ** (NUMERATOR_BITS - 1 - MAX_SHIFT)
        raise UsageError(
            f"head.learning_rate {learning_rate:g} is too small for the secure head with batches of {batch}",
            f"The smallest is {math.ceil(least * 1e9) / 1e9:g}: training.batch / 2^{MAX_SHIFT + 1 - NUMERATOR_BITS}",
        )


# ------------------------------------------------------------------------------------------------ momentum

MOMENTUM_BITS = 7
MIN_MOMENTUM = 1 / 2**MOMENTUM_BITS
MAX_MOMENTUM = 1 - MIN_MOMENTUM
MOMENTUM_RANGE = f"between 1/{2**MOMENTUM_BITS} and {2**MOMENTUM_BITS - 1}/{2**MOMENTUM_BITS}"
"""The same in words."""
B2_VELOCITY_LIMIT = 2.0**10
"""a |velocity of b2|, for momentum a / 2^k, stays below: it is truncated. w1 and w2 have a million times that room."""


def representable_momentum(momentum: float) -> tuple[int, int]:
    """The nearest a / 2^k with an odd a and k of at most MOMENTUM_BITS.

    Args:
        momentum: MIN_MOMENTUM to MAX_MOMENTUM.

    Returns:
        (a, k); a / 2^k is within half of MIN_MOMENTUM.
    """
    if not MIN_MOMENTUM <= momentum <= MAX_MOMENTUM:
        raise ValueError(f"momentum lies {MOMENTUM_RANGE}")
    a, k = round(momentum * 2**MOMENTUM_BITS), MOMENTUM_BITS
    while a % 2 == 0:
        a, k = a // 2, k - 1
    return a, k


# ------------------------------------------------------------------------------------------------ NovoGrad

MIN_STEP, MAX_STEP = 2.0**-8, 2.0**-2
"""Of its learning rate. The rounding of the weights would show in shorter steps; longer ones leave no room for the
square."""
MIN_BETA, MAX_BETA = 0.5, 0.99
MAX_OCTAVES = 40
"""A layer's rate s, for sums over rows, is kept as octaves -2 log2 s, between 0 and this."""
START_OCTAVES = 24
SEARCH = 8
SEARCH_BETA = 1 / 8
"""In the first SEARCH measured steps v forgets quickly: the octaves fall by 3 a step or rise by almost 4, from their
public start to where the gradient is."""
CLIP = 16
"""A step whose square is more than so many times the learning rate's counts as one of just as many."""
SQUARE_LIMIT, SQUARE_LIMIT_RATIO = 8.0, 2.0**13
"""|a layer's step|^2 stays below the first, and below the second times the learning rate squared."""
SCALED_ROWS_LIMIT = 16.0
"""|s1 dY| stays below: it is truncated."""
