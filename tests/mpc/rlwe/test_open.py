"""What a party that leaves the protocol can do here today (docs/two-party-protocol.md). Nothing detects it; when
something does, these tests fail, and the page has to say so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.rlwe import products
from amint_mpc.mpc.rlwe.blocks import Cut, Sizes
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.parameters import KEPT_BITS, N, modulus, primes
from tests.mpc.rlwe.reference import coefficients, random_words
from tests.mpc.rlwe.test_products import phase, roles

pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")

CUT = Cut(Sizes(64, 1, 128, ("ar",)), (64, 1, 128))
"""A block in which every coefficient of the answer is wanted."""
KEPT = len(KEPT_BITS)


def constant(value: int, prime: int) -> int:
    """Of a polynomial that is a number, all transformed values are this; below 2^31, as int32."""
    return value % primes()[prime]


def test_open_a_malicious_evaluator_has_the_key_in_the_encryptors_shares() -> None:
    """It answers with c0 = 0 and c1 = q' / 4: the share of coefficient i is 2^62 s_i, whatever was asked."""
    encryptor, _ = roles()
    encryptor.request(CUT, {"r": random_words(1, 128)})
    ring, parts = encryptor._ring, []
    for prime in range(KEPT):
        value = constant(modulus(0, KEPT) // 4, prime)
        zeros = torch.zeros(products._padded(N), dtype=torch.int32)
        parts += [ring.packed(zeros, prime), ring.packed(torch.full((N,), value, dtype=torch.int32), prime)]
    found = (encryptor.shares(CUT, torch.cat(parts))["ar"].reshape(-1) + 2**61) >> 62
    p = primes()[0]
    key = [x if x < 2 else x - p for x in coefficients(ring, [encryptor._key[0]])]
    assert found.tolist() == key


def test_open_a_malicious_encryptor_reads_bits_of_the_evaluators_matrix() -> None:
    """It sends an error of (q / 2^64) / 2^j instead of a small one: what its share leaves of an answer, of the size of
    a unit, is then (a mod 2^j) / 2^j, but for the flood, an eighth of a unit."""
    encryptor, evaluator = roles()
    request = with_error(encryptor.request(CUT, {"r": torch.zeros(1, 128, dtype=torch.int64)}), j := 11, encryptor)
    a = random_words(64, 1)
    answer, _ = evaluator.answer(CUT, {"a": a}, request)
    ring, start, c0s, c1s = encryptor._ring, 0, [], []
    for prime in range(KEPT):
        c0, start = ring.unpacked(answer, start, (N,), prime)
        c1, start = ring.unpacked(answer, start, (N,), prime)
        c0s.append([x % 2**32 for x in c0.tolist()])
        c1s.append(c1)
    q = modulus(0, KEPT)
    weights = [q // p * pow(q // p, -1, p) for p in primes()[:KEPT]]
    c0 = [sum(map(int.__mul__, weights, each)) % q for each in zip(*c0s, strict=True)]
    seen = phase(encryptor, c0, coefficients(ring, c1s), KEPT)
    for row, value in enumerate(a[:, 0].tolist()):
        found = (seen[128 * row] << 64) % q / q  # of a unit, q' / 2^64
        apart = (found - value % 2**j / 2**j + 0.5) % 1 - 0.5
        assert abs(apart) < 0.15


def with_error(request: Tensor, j: int, encryptor: products.Encryptor) -> Tensor:
    whole, ring, start = modulus(0, len(primes())), encryptor._ring, products.SEED_WORDS
    parts = [request[:start]]
    for prime, p in enumerate(primes()):
        c0, start = ring.unpacked(request, start, (N,), prime)
        changed = (c0.long() + constant(whole // 2 ** (64 + j), prime)) % p
        parts.append(ring.packed(changed.to(torch.int32), prime))
    return torch.cat(parts)
