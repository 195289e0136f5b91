"""How large a shared matrix W [f, h] is, from a few sums of all of it: S = a^T W b with random signs a and b.

c = W - R is open; the signs are from SHAKE-256 of it, so nobody knows them before. Each party makes its shares of the
sums without a message. Opened under masks and tested (`ranges`) they bound the matrix; sums of squares would do so more
closely, but need the product of two masks for each entry.

For vectors w_i of a Euclidean space and u = sum_i a_i w_i, with s^2 = sum_i |w_i|^2:
    |u| >= |w_i|  with probability 1/2 at least: of the two u that differ in a_i alone, one is as long as w_i.
    |u| >= s / 4  the same, if the w_i are numbers. Let all be below s / 4, else it follows from the first line. By
                  Berry and Esseen (with 0.56, Shevtsova 2010) P(|u| < s / 4) <= 0.198 + 2 * 0.56 / 4 < 1/2.
    |u| >= s / 6  the same, for any w_i. Let all be below s / 6, and l s^2 the largest eigenvalue of sum_i w_i w_i^T.
                  The variance of |u|^2 is at most 2 l s^4, so for l <= 0.472 it is Cantelli's inequality; for a larger
                  l the part of u along the eigenvector is a sum of numbers: P <= 0.192 + 2 * 0.56 * 0.243 < 1/2.
Once for a, once for b: with probability 1/4 at least |S| is as large as any one entry, as a fourth of any one column's
norm, and as 1/24 of the norm of W. SUMS sums miss each of these with probability (3/4)^SUMS < 2^-41.

Guarantees
    if |S| is let through up to three times a limit, and no S can go around the ring: |W_ij| < 3 limit, the norm of a
    column < COLUMN limit and that of W < WHOLE limit, but for a chance of 2^-41 each, however W was chosen before c.
Who learns what: nothing is opened here. Rounds, bytes: none.
"""

from __future__ import annotations

from torch import Tensor

from amint_mpc.mpc.protocols.ranges import SUMS, coins
from amint_mpc.mpc.ring.products import small_matmul

COLUMN, WHOLE = 12.0, 72.0
"""Times the limit of the sums: what the norm of a column, and that of the matrix, stay below."""


def signed_sums(w: Tensor, opened: Tensor, purpose: bytes) -> Tensor:
    """This party's share of the sums, [SUMS].

    Args:
        w: share of W, [f, h]. opened: c. purpose: for which signs are not used again.
    """
    f, h = w.shape
    signs = 1 - 2 * coins(b"amint-mpc signs " + purpose, opened, SUMS * (f + h)).long()
    left, right = signs[: SUMS * f].view(SUMS, f), signs[SUMS * f :].view(SUMS, h)
    return (small_matmul(left, w) * right).sum(dim=1)
