"""The head's formula as the two parties compute it, in JAX. SPU turns every operation into a protocol on shares.

Public: shapes, targets, the learning rate. Secret: everything else. The developer's features enter as its own input,
which is known to one party and needs half of a product of shared values.

The gradient by the features, dX = dY w1^T, is a product of two shared matrices that nothing else is computed from, and
it is opened at once. So it needs no more than 32 bits: its two cross products, each of one party's share of dY with
the other's of w1, are taken in the ring of 2^32, where SPU's ciphertexts are half as long and need no packing. Shares
modulo 2^64 become shares modulo 2^32 by dropping bits, above and below, each party alone: a lost carry falls on 2^32
and vanishes, what remains is an error of one unit of the last place.

Cost, measured (docs/benchmarks.md): nine tenths of a step are the large products, and of those in the ring of 2^64 most
is packing the ciphertexts that carry the results. The comparison of the ReLU is made once and used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

FRACTION_BITS = 22
"""Fractional bits of every value; a product has twice as many before its truncation."""
SIGMOID_LIMIT = 10.0
"""Logits beyond are taken for this: exp() needs room in the ring; sigmoid(10) is 0.99995."""

PARAMETERS = ("w1", "b1", "w2", "b2")


def train(targets: Sequence[float], numerator: int, shift: int, gradient: bool) -> Callable[..., Any]:
    """One step of gradient descent on the sum over rows of the binary cross-entropy, at rate numerator / 2^shift.

    Args:
        targets: [n] of 0 and 1.
        gradient: whether dY is wanted, too, for the gradient by the features.

    Returns:
        f(x [n, f], w1 [f, h], b1 [h], w2 [h], b2 []) -> the four weights after the step, and dY [n, h].
    """
    import jax.numpy as jnp

    y = jnp.asarray(targets, jnp.float32)

    def moved(weight: Any, slope: Any) -> Any:
        # two small factors: one of 2^-shift may have no bit left in fixed point
        return weight - (slope * (numerator * 2.0 ** -(shift // 2))) * 2.0 ** -(shift - shift // 2)

    def step(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        hidden = x @ w1 + b1
        on = hidden > 0
        h = jnp.where(on, hidden, 0.0)
        v = jnp.where(on, w2, 0.0)  # d z / d hidden
        z = jnp.sum(h * w2, axis=1) + b2
        g = sigmoid(z) - y
        dy = g[:, None] * v
        after = (
            moved(w1, x.T @ dy),
            moved(b1, dy.sum(0)),
            moved(w2, (h * g[:, None]).sum(0)),
            moved(b2, g.sum()),
        )
        return (*after, dy) if gradient else after

    return step


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


DY_BITS, W1_BITS = 14, 12
"""Fractional bits of dY and w1 in the gradient by the features; it has their sum, and |dX| < 32 fills the ring."""
DX_BITS = DY_BITS + W1_BITS


def cross(dy_developer: Any, w1_auditor: Any, dy_auditor: Any, w1_developer: Any) -> Any:
    """What neither party can compute alone of dX = dY w1^T: integers modulo 2^32, each known to one party."""
    return dy_developer @ w1_auditor + dy_auditor @ w1_developer


def score(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Logits [n] of features [n, f]."""
    import jax.numpy as jnp

    hidden = x @ w1 + b1
    return jnp.sum(jnp.where(hidden > 0, hidden, 0.0) * w2, axis=1) + b2
