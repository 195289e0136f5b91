"""The head's formula as the two parties compute it, in JAX. SPU turns every operation into a protocol on shares.

    X w1 + b1, ReLU, z, sigmoid, dY and the small updates   `forward_backward`, ring of 2^64
    dX = dY w1^T, and dW1 = X^T dY                           `cross`, ring of 2^32, what no party can compute alone
    w1 - rate dW1                                            `scaled` and `moved`, ring of 2^64

Public: shapes, targets, the learning rate. Secret: everything else. The developer's features enter as its own input,
which is known to one party and needs half of a product of shared values.

Why two rings: nine tenths of a step written in one ring are its large products, and of those most is packing the
ciphertexts that carry the results. In the ring of 2^32 ciphertexts are half as long and need no packing. dX and dW1
have the room: shares modulo 2^64 become shares modulo 2^32 by dropping bits, above and below, each party alone; a
carry that gets lost falls on 2^32 and vanishes, and what remains is an error of one unit of the last place. For the way
back a share is multiplied by 2^32, after which what it lacks is a multiple of 2^64, and truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

FRACTION_BITS = 22
"""Fractional bits of every value; a product has twice as many before its truncation."""
SIGMOID_LIMIT = 10.0
"""Logits beyond are taken for this: exp() needs room in the ring; sigmoid(10) is 0.99995."""

PARAMETERS = ("w1", "b1", "w2", "b2")


def forward_backward(targets: Sequence[float], numerator: int, shift: int) -> Callable[..., Any]:
    """One step of gradient descent on the sum over rows of the binary cross-entropy, at rate numerator / 2^shift.

    Args:
        targets: [n] of 0 and 1.

    Returns:
        f(x [n, f], w1 [f, h], b1 [h], w2 [h], b2 []) -> b1, w2, b2 after the step, and dY [n, h].
    """
    import jax.numpy as jnp

    y = jnp.asarray(targets, jnp.float32)

    rate = numerator * 2.0**-shift

    def step(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        hidden = x @ w1 + b1
        on = hidden > 0
        h = jnp.where(on, hidden, 0.0)
        v = jnp.where(on, w2, 0.0)  # d z / d hidden
        z = jnp.sum(h * w2, axis=1) + b2
        g = sigmoid(z) - y
        dy = g[:, None] * v
        return b1 - rate * dy.sum(0), w2 - rate * (h * g[:, None]).sum(0), b2 - rate * g.sum(), dy

    return step


def scaled(slope: Any, factor: Any) -> Any:
    """A program of its own for each factor, for the compiler would join several: too small for fixed point."""
    return slope * factor


def moved(weight: Any, slope: Any, factor: Any) -> Any:
    """weight - slope * factor."""
    return weight - slope * factor


def factors(numerator: int, shift: int) -> tuple[float, float, float]:
    """What 2^32 dW1, as integers of 2^-(X_BITS + DY_BITS), is multiplied by in turn to become rate * dW1.

    The first factor is the smallest of all, for nothing else leaves the product within the ring.
    """
    return 2.0**-FRACTION_BITS, numerator * 2.0**-shift, 2.0 ** -(32 + X_BITS + DY_BITS - 2 * FRACTION_BITS)


def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z)). exp(x) is (1 + u + u^2 / 2)^128 at u = x / 128, within x^3 / 98304 of it, relatively.

    SPU's own exponential has no square in it: it is off by x^2 / 512, always to the same side.
    """
    import jax.numpy as jnp

    u = jnp.clip(z, -SIGMOID_LIMIT, SIGMOID_LIMIT) * (-1 / 128)
    power = 1 + u + u * u * 0.5
    for _ in range(7):
        power = power * power
    return 1 / (1 + power)


X_BITS, DY_BITS, W1_BITS = 8, 14, 12
"""Fractional bits in the ring of 2^32. The ring is full at |dX| < 32 and, on the way back, |dW1| < 256."""
DX_BITS = DY_BITS + W1_BITS


def cross(dy_t_auditor: Any, x_developer: Any) -> Any:
    """What neither party can compute alone of dW1^T = dY^T X: integers modulo 2^32, each known to one party."""
    return dy_t_auditor @ x_developer


def cross_both(
    dy_t_auditor: Any, x_developer: Any, dy_developer: Any, w1_auditor: Any, dy_auditor: Any, w1: Any
) -> Any:
    """The same of dX = dY w1^T, too; weights transposed, the last ones the developer's."""
    dx = dy_developer @ w1_auditor + dy_auditor @ w1
    return cross(dy_t_auditor, x_developer), dx


def score(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Logits [n] of features [n, f]."""
    import jax.numpy as jnp

    hidden = x @ w1 + b1
    return jnp.sum(jnp.where(hidden > 0, hidden, 0.0) * w2, axis=1) + b2
