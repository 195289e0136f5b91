"""What each party sees of a product by RLWE says nothing of the other one's matrices; variants that do are found.

A view is the message with all that the receiver knows: the encryptor has its key. That numbers "look uniform" is a chi
squared test of sixteen equal parts of [0, p), and is told beside what would show: the matrices are zeros, or the same
twice. The flood has its own tests (test_products.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.stats import chi2  # type: ignore[import-untyped]
from torch import Tensor

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.rlwe import products
from amint_mpc.mpc.rlwe.blocks import Cut, Sizes
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.parameters import KEPT_BITS, PUBLIC_KEYS, N, primes
from amint_mpc.mpc.rlwe.products import Encryptor, Evaluator
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring, seed_bytes
from tests.mpc.rlwe.reference import coefficients, random_words, unchunked

pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")

CUT = Cut(Sizes(32, 20, 64, ("ar",)), (1, 32, 64))
"""One polynomial for R, 32 answers: each public key serves twice, with two u."""


@pytest.fixture(autouse=True)
def _same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public seeds, one after another, so that a test passes always or never."""
    numbers: Iterator[int] = iter(range(256))
    monkeypatch.setattr(products.os, "urandom", lambda size: bytes([next(numbers)]) * size)


def roles(ring: Ring) -> tuple[Encryptor, Evaluator]:
    encryptor = Encryptor(ring, SecretStream(bytes([1] * 32), "encryptor"))
    return encryptor, Evaluator(ring, SecretStream(bytes([2] * 32), "evaluator"), encryptor.public_keys())


def looks_uniform(values: Tensor, p: int) -> bool:
    """For at least some hundred numbers below p."""
    found = values.reshape(-1).numpy().astype(np.int64)
    counts = np.bincount(found * 16 // p, minlength=16)
    expected = len(found) / 16
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 15)) > 1e-6


# ------------------------------------------------------------------------------------ the evaluator's view


def requests(r: Tensor) -> tuple[Encryptor, list[tuple[list[Tensor], list[Tensor]]]]:
    """Two requests about the same matrix, (c0, a) mod each prime."""
    encryptor, _ = roles(Ring())
    ring, found = encryptor._ring, []
    for _ in range(2):
        request, start, c0s, uniform = encryptor.request(CUT, {"r": r}), SEED_WORDS, [], []
        seed = seed_bytes(request)
        for prime in range(len(primes())):
            c0, start = ring.unpacked(request, start, (N,), prime)
            c0s.append(unchunked(c0, 1)[0])
            uniform.append(ring.uniform(seed, "r", prime, 1)[0])
        found.append((c0s, uniform))
    return encryptor, found


def told_by_requests() -> list[str]:
    """What shows of a matrix of zeros and of the key, mod the first prime."""
    encryptor, ((first, a), (second, _)) = requests(torch.zeros(20, 64, dtype=torch.int64))
    ring, p = encryptor._ring, primes()[0]
    inverses = torch.tensor([pow(-x, -1, p) if x else 0 for x in a[0].tolist()])
    solved = (first[0].long() * inverses % p).to(torch.int32)  # c0 / -a: the key, if there is no error
    ring.checked("rlwe_ntt", 0, solved, 1, 0)
    difference = ((first[0].long() - second[0].long()) % p).to(torch.int32)
    ring.checked("rlwe_ntt", 0, difference, 1, 0)
    seen = {"c0": first[0], "the key": solved, "the difference of two": difference}
    return [name for name, values in seen.items() if not looks_uniform(values, p)]


def test_the_evaluator_sees_uniform_numbers() -> None:
    assert told_by_requests() == []


def test_without_errors_the_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Ring.small
    monkeypatch.setattr(
        Ring, "small", lambda ring, random, kind, count: small(ring, random, kind, count) * (kind != "errors")
    )
    assert "the key" in told_by_requests()


def test_a_seed_that_serves_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask used twice: the difference of two requests is that of what they hide."""
    monkeypatch.setattr(products.os, "urandom", lambda size: bytes(size))
    assert told_by_requests() == ["the difference of two"]


# ------------------------------------------------------------------------------------ the encryptor's view


def told_by_answers(a: Tensor) -> list[str]:
    """What shows of a matrix of which all rows are the same, in two answers to one request.

    c1 is compared over the answers: with one public key and two u, with two public keys and one u, of both answers.
    """
    encryptor, evaluator = roles(Ring())
    ring, p = encryptor._ring, primes()[0]
    request = encryptor.request(CUT, {"r": torch.zeros(20, 64, dtype=torch.int64)})
    c1s, shares = [], []
    for _ in range(2):
        answer, _ = evaluator.answer(CUT, {"a": a}, request)
        c0, start = ring.unpacked(answer, 0, (products._padded(CUT.polynomials("ar") * 64),), 0)
        c1, _ = ring.unpacked(answer, start, (CUT.polynomials("ar"), N), 0)
        c1s.append(c1.long())
        shares.append(encryptor.shares(CUT, answer)["ar"])
    first, second = c1s
    seen = {
        "c0": c0,
        "c1": first,
        "one key, two u": first[:PUBLIC_KEYS] - first[PUBLIC_KEYS:],
        "two keys, one u": first[1:PUBLIC_KEYS] - first[: PUBLIC_KEYS - 1],
        "two answers": first - second,
    }
    told = [name for name, values in seen.items() if not looks_uniform((values % p).to(torch.int32), p)]
    ones = np.unpackbits((shares[0] - shares[1]).numpy().view(np.uint8)).mean()
    return told + ["the shares"] * (not 0.48 < ones < 0.52)


@pytest.mark.parametrize("value", [0, 1, -(2**63)])
def test_the_encryptor_sees_uniform_numbers(value: int) -> None:
    assert told_by_answers(torch.full((32, 20), value, dtype=torch.int64)) == []


Draw = Callable[[Ring, SecretStream, str, int], Tensor]


def broken_u(change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    small: Draw = Ring.small

    def changed(ring: Ring, random: SecretStream, kind: str, count: int) -> Tensor:
        drawn = small(ring, random, kind, count)
        return change(drawn) if kind == "ternary" and count > 1 else drawn

    monkeypatch.setattr(Ring, "small", changed)


def test_without_u_the_matrix_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_u(torch.zeros_like, monkeypatch)
    assert {"c1", "one key, two u", "two keys, one u", "two answers"} <= set(
        told_by_answers(torch.zeros(32, 20, dtype=torch.int64))
    )


def test_a_u_that_serves_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_u(lambda u: u[:1].expand_as(u).contiguous(), monkeypatch)
    assert told_by_answers(random_words(1, 20).expand(32, 20).contiguous()) == ["one key, two u"]


def test_masks_that_serve_twice_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the evaluator draws is the same in both answers."""
    monkeypatch.setattr(SecretStream, "position", property(lambda stream: 0))
    monkeypatch.setattr(SecretStream, "reveal", lambda stream, step: bytes(range(32)))
    found = told_by_answers(random_words(1, 20).expand(32, 20).contiguous())
    assert {"two answers", "the shares"} <= set(found)


def test_coefficients_that_nobody_wants_are_not_sent() -> None:
    """They are products of the evaluator's matrix that the encryptor may not know."""
    encryptor, evaluator = roles(Ring())
    answer, _ = evaluator.answer(CUT, {"a": random_words(32, 20)}, encryptor.request(CUT, {"r": random_words(20, 64)}))
    sent = CUT.polynomials("ar") * (N + 64) * sum(KEPT_BITS)
    assert answer.numel() * 32 == sent


def test_the_key_is_ternary_and_balanced() -> None:
    ring = Ring()
    key = coefficients(ring, list(Encryptor(ring, SecretStream(bytes([3] * 32), "encryptor"))._key))
    counts = np.unique(key, return_counts=True)[1]
    assert len(counts) == 3
    assert float(chi2.sf(((counts - N / 3) ** 2 / (N / 3)).sum(), 2)) > 1e-4
