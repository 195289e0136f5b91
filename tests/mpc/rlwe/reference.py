"""The scheme of mpc/rlwe in Python integers, as slow as it is plain. A polynomial is a list of N numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amint_mpc.mpc.rlwe.blocks import Cut, Name
from amint_mpc.mpc.rlwe.parameters import N, modulus, primes
from amint_mpc.mpc.rlwe.ring import Ring

T = 2**64


def times(a: Sequence[int], b: Sequence[int], q: int) -> list[int]:
    """a b mod x^N + 1 and q, by one product of large integers (Kronecker)."""
    width = (2 * q.bit_length() + N.bit_length()) // 8 + 1
    one, other = (int.from_bytes(b"".join((x % q).to_bytes(width, "little") for x in p), "little") for p in (a, b))
    raw = (one * other).to_bytes(2 * N * width, "little")
    found = [int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(2 * N)]
    return [(found[i] - found[i + N]) % q for i in range(N)]


def centred(x: int, q: int) -> int:
    """The number next to 0."""
    return (x + q // 2) % q - q // 2


def polynomials(cut: Cut, name: Name, matrix: Tensor) -> list[list[int]]:
    """Of a matrix, block by block: what blocks.py says, entry by entry."""
    (rows, columns), (height, width) = cut.shape(name), cut.block_shape(name)
    _, fw, hw = cut.block
    alone = cut.sizes.products == ("ar",)
    alpha, beta, gamma = (lambda i: hw * fw * i), (lambda j: j if alone else hw * j), (lambda k: fw * k if alone else k)
    at = {
        "a": lambda i, j: alpha(i) - beta(j),
        "r": lambda j, k: beta(j) + gamma(k),
        "s": lambda i, k: alpha(i) - gamma(k),
        "t": lambda i, k: gamma(k) - alpha(i),
    }[name]
    made = []
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            p = [0] * N
            for x in range(min(height, rows - top)):
                for y in range(min(width, columns - left)):
                    e, value = at(x, y), int(matrix[top + x, left + y])
                    p[e % N] += value if e >= 0 else -value
            made.append(p)
    return made


def coefficients(ring: Ring, residues: Sequence[Tensor]) -> list[int]:
    """A polynomial from its transforms mod the first primes, as numbers mod their product."""
    q, total = modulus(0, len(residues)), [0] * N
    for prime, values in enumerate(residues):
        plain = values.clone()
        ring.checked("rlwe_ntt", prime, plain, 1, 0)
        p = primes()[prime]
        weight = q // p * pow(q // p, -1, p)
        total = [(t + weight * (x % 2**32)) % q for t, x in zip(total, plain.tolist(), strict=True)]
    return total


def unchunked(chunked: Tensor, count: int) -> Tensor:
    """[count, N]."""
    return chunked.view(N // 64, count, 64).transpose(0, 1).reshape(count, N)


def random_words(*shape: int) -> Tensor:
    """int64."""
    return torch.randint(-(2**63), 2**63 - 1, shape, dtype=torch.int64)
