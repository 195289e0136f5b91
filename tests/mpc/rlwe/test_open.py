"""What a party that leaves the protocol can do here today (docs/two-party-protocol.md). Nothing detects it; when
something does, these tests fail, and the page has to say so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.step import LINEAR
from amint_mpc.mpc.pair.linear import cut_of
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.rlwe import products
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.parameters import KEPT, N, modulus, primes
from amint_mpc.mpc.rlwe.products import Evaluator
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring
from tests.mpc.cases import head_party, head_plans, random_head
from tests.mpc.dense.test_head import batch, halves, reference, weights_at
from tests.mpc.parties import run_both
from tests.mpc.rlwe.reference import coefficients, random_words
from tests.mpc.rlwe.test_products import phase, roles
from tests.mpc.views import Given

pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")

CUT = Cut(Sizes(64, 1, 128, ("ar",)), (64, 1, 128))
"""A block in which every coefficient of the answer is wanted."""


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
    a unit, is then (a mod 2^j) / 2^j, but for the flood, a quarter of a unit."""
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
        assert abs(apart) < 0.4


def with_error(request: Tensor, j: int, encryptor: products.Encryptor) -> Tensor:
    whole, ring, start = modulus(0, len(primes())), encryptor._ring, SEED_WORDS
    parts = [request[:start]]
    for prime, p in enumerate(primes()):
        c0, start = ring.unpacked(request, start, (N,), prime)
        changed = (c0.long() + constant(whole // 2 ** (64 + j), prime)) % p
        parts.append(ring.packed(changed.to(torch.int32), prime))
    return torch.cat(parts)


ROWS, INPUTS, HIDDEN = 24, 10, 6


def test_open_a_malicious_evaluator_reads_the_key_in_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a whole step on masks that the two made: it adds q' / 8 to c1 of S R^T, and entries of the gradient are off by
    8 s_i. The program's own tests of ranges let that pass, and nobody else sees it."""
    honest = Evaluator.answer

    def lying(own: Evaluator, cut: Cut, matrices: Any, request: Tensor) -> tuple[Tensor, dict[Name, Tensor]]:
        answer, shares = honest(own, cut, matrices, request)
        return (off_by_the_key(own._ring, cut, answer) if "ar" in cut.sizes.products else answer), shares

    monkeypatch.setattr(Evaluator, "answer", lying)
    rate, x = GradientDescent(3, 7), batch(ROWS, INPUTS, 0)
    weights, masks = random_head(INPUTS, HIDDEN, 2)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 1, [], rate)
    keys: list[Tensor] = []

    def make(index: int, channel: Any, _: Any) -> list[dict[str, dict[str, Tensor]]]:
        maker = PairMaker(channel, index, bytes([index] * 32))
        maker.set_up()
        if index == AUDITOR:
            encryptor = maker._products[True]._encryptor
            assert encryptor is not None
            keys.append(encryptor._key[0])
        return [maker.make(number, plan) for number, plan in enumerate(plans)]

    material = run_both(make, [])
    party = head_party(weights, masks, [x], halves(ROWS), scored=[], rate=rate)
    results = run_both(lambda index, channel, _: party(index, channel, Given(material[index])), [])
    off = results[DEVELOPER][0][0] - reference(weights_at(0, results), x, halves(ROWS)).by_x
    linear = plans[0][LINEAR.name]
    assert isinstance(linear, LinearMasks)
    cut = cut_of(linear, "lan")
    p = primes()[0]
    key = torch.tensor([value if value < 2 else value - p for value in coefficients(Ring(), keys)])
    places = torch.from_numpy(cut.places("sr")).long().reshape(cut.block_shape("sr"))
    tiled = key[places].repeat(-(-ROWS // len(places)), -(-INPUTS // places.shape[1]))[:ROWS, :INPUTS]
    assert torch.equal((off / 8).round().long(), tiled)
    assert tiled.unique().tolist() == [-1, 0, 1]


def off_by_the_key(ring: Ring, cut: Cut, answer: Tensor) -> Tensor:
    start, parts = 0, []
    for name in cut.sizes.products:
        count, kept = cut.polynomials(name), KEPT
        for prime in range(kept):
            first = start
            _, start = ring.unpacked(answer, start, (products._padded(count * len(cut.places(name))),), prime)
            parts.append(answer[first:start])
            c1, start = ring.unpacked(answer, start, (count * N,), prime)
            if name == "sr":
                c1 = ((c1.long() + constant(modulus(0, kept) // 8, prime)) % primes()[prime]).to(torch.int32)
            parts.append(ring.packed(c1, prime))
    return torch.cat(parts)
