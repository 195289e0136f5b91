"""The numeric contract of the membership head: where the secure computation is exact, and which steps it can take.

Beyond its ranges a secure head would compute plausible garbage. So the dense one tests in every step that it is within
these limits (`amint_mpc.mpc.dense.ranges` says what follows from them) and ends the run with an error where it is not.
Its plaintext twin refuses whatever leaves them, and features are clipped into theirs. What is a little too large the
secure head may let through, a value up to three times, a square up to twice the limit: it is exact that far. A gradient
by the features alone has no such test: it is seen modulo 64.
Both take the very same steps, so rates and momentum are rounded here. That the scales in the ring
(`amint_mpc.mpc.ring.fixed_point`) leave room for all this is checked by a test.
"""

from __future__ import annotations

import math

from amint_mpc.errors import UsageError

# ------------------------------------------------------------------------------------------------ ranges of values

FEATURE_LIMIT = 8.0
"""|a feature| is at most this."""
TABLE_BITS = 5
"""Fractional bits of features that are shared once, for many steps."""
PARTS = 8
"""Such a step is on combinations of these rows, by whole numbers of such parts: so its rows have 8 fractional bits."""
HIDDEN_LIMIT = 128.0
"""|X w1 + b1| stays below."""
SQUARES_LIMIT = 2.0**15
"""The sum of the squares of X w1 + b1 stays below: over the units, for each image; over a block of rows, for each unit.
"""
SIGNED_SUMS_LIMIT = 2.0**9
"""|a sum of all of w1 and b1 with random signs| stays below."""
W1_SQUARES_LIMIT = 2.0**12
"""The sum of the squares of w1 and b1, in plaintext: such sums are then an eighth of that, as a rule."""
W2_SQUARES_LIMIT = 64.0
"""The sum of the squares of w2 stays below."""
BLOCK_ROWS = 128
"""A step of more rows takes them in blocks of at most so many, as even as can be: every second, every third row."""
LOGIT_LIMIT = 128.0
"""|z| stays below; the secure heads are exact beyond it, too."""
B2_LIMIT = 64.0
"""|b2| stays below."""
GRADIENT_LIMIT = 16.0
"""|rows of the class * gradient of L_mint by the features| stays below, as far as it can be seen: modulo 64."""
GRADIENT_WHOLE_BITS = 6
"""Of an opened gradient of the sum over rows: the bits before the point, sign included."""
MAPS_GRADIENT_LIMIT = 32.0
"""The same of the convolutional head."""
W2_GRADIENT_LIMIT = 256.0
"""|sum over a block of rows of (sigmoid(z) - y) relu(Y)| stays below, for each hidden unit."""
MAX_HIDDEN = 512
"""Hidden units of the secure head, at most: sums of more squares would not fit the ring."""


def blocks(rows: int) -> int:
    """How many blocks a step of so many rows has: block i is rows i, i + blocks, ..."""
    return -(-rows // BLOCK_ROWS)


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
SQUARE_LIMIT, SQUARE_LIMIT_RATIO = 2.0, 2.0**11
"""|a layer's step|^2 stays below the first, and below the second times the learning rate squared."""
SCALED_ROWS_LIMIT = 16.0
"""|s1 dY| is below, for s1 is at most 1 and w2 is limited: it is truncated."""
