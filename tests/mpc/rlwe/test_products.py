from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ring.native import KERNELS
from amint_mpc.mpc.ring.products import matmul
from amint_mpc.mpc.rlwe import parameters, products
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes, best_cut
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.parameters import KEPT, N, modulus, primes
from amint_mpc.mpc.rlwe.products import Encryptor, Evaluator, answer_words, public_key_words, request_words
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring, seed_bytes
from tests.mpc.rlwe.reference import T, centred, coefficients, polynomials, random_words, times, unchunked

pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")


def rings() -> list[str]:
    found = []
    for kernel in KERNELS if library() is not None else ():
        try:
            Ring(kernel)
        except RuntimeError:  # this processor has not those instructions
            continue
        found.append(kernel)
    return found


def roles(kernel: str | None = None, seed: int = 0) -> tuple[Encryptor, Evaluator]:
    ring = Ring(kernel)
    encryptor = Encryptor(ring, SecretStream(bytes([seed, 1] * 16), "encryptor"))
    keys = encryptor.public_keys()
    assert keys.numel() == public_key_words()
    return encryptor, Evaluator(ring, SecretStream(bytes([seed, 2] * 16), "evaluator"), keys)


def matrices(sizes: Sizes) -> dict[Name, Tensor]:
    n, f, h = sizes.rows, sizes.inputs, sizes.outputs
    return {"r": random_words(f, h), "s": random_words(n, h), "t": random_words(n, h)}


def plaintexts(sizes: Sizes) -> dict[Name, Tensor]:
    n, f, h = sizes.rows, sizes.inputs, sizes.outputs
    return {"a": random_words(n, f), "r": random_words(f, h), "s": random_words(n, h)}


@pytest.mark.parametrize("kernel", rings())
def test_a_transform_multiplies_polynomials_and_its_inverse_undoes_it(kernel: str) -> None:
    ring, generator = Ring(kernel), torch.Generator().manual_seed(1)
    for prime, p in enumerate(primes()):
        a, b = (torch.randint(0, p, (N,), generator=generator, dtype=torch.int32) for _ in range(2))
        one, other = a.clone(), b.clone()
        ring.checked("rlwe_ntt", prime, one, 0, 0)
        ring.checked("rlwe_ntt", prime, other, 0, 0)
        product = torch.tensor(
            [x * y % p for x, y in zip(one.tolist(), other.tolist(), strict=True)], dtype=torch.int32
        )
        whole, thinned = product.clone(), product.clone()
        ring.checked("rlwe_ntt", prime, whole, 1, 0)
        ring.checked("rlwe_ntt", prime, thinned, 1, 5)
        assert whole.tolist() == times(a.tolist(), b.tolist(), p)
        assert torch.equal(thinned[: N >> 5], whole[::32])
        ring.checked("rlwe_ntt", prime, one, 1, 0)
        assert torch.equal(one, a)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (40, 1, 70), (70, 40, 1)])
def test_the_sum_of_both_cross_products_can_be_exact(shape: tuple[int, int, int]) -> None:
    encryptor, evaluator = roles()
    sizes = Sizes(*shape, ("sr",))
    cut, secret, plain = best_cut(sizes), matrices(sizes), plaintexts(sizes)
    answer, own = evaluator.answer(cut, {"r": plain["r"], "s": plain["s"]}, encryptor.request(cut, secret))
    exact = matmul(plain["s"], secret["r"].T) + matmul(secret["s"], plain["r"].T)
    assert torch.equal(own["sr"] + encryptor.shares(cut, answer)["sr"], exact)


@pytest.mark.parametrize("kernel", rings())
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (3, 40, 9), (130, 33, 17)])
def test_shares_add_up_to_the_products(kernel: str, shape: tuple[int, int, int]) -> None:
    encryptor, evaluator = roles(kernel)
    for wanted in (("ar",), ("ar", "at"), ("ar", "sr", "at")):
        sizes = Sizes(*shape, wanted)  # type: ignore[arg-type]
        cut, secret, plain = best_cut(sizes), matrices(sizes), plaintexts(sizes)
        request = encryptor.request(cut, {name: secret[name] for name in sizes.encrypted})
        assert request.numel() == request_words(cut)
        given = plain if "sr" in wanted else {"a": plain["a"]}
        answer, own = evaluator.answer(cut, given, request)  # type: ignore[arg-type]
        assert answer.numel() == answer_words(cut)
        theirs = encryptor.shares(cut, answer)
        assert torch.equal(own["ar"] + theirs["ar"], matmul(plain["a"], secret["r"]))
        if "at" in wanted:
            assert torch.equal(own["at"] + theirs["at"], matmul(plain["a"].T, secret["t"]))
        if "sr" in wanted:
            exact = matmul(plain["s"], secret["r"].T) + matmul(secret["s"], plain["r"].T)
            off = (own["sr"] + theirs["sr"] - exact).abs().max()
            assert int(off) <= 2 ** (64 - 52 + parameters.FLOOD_BITS + 1)


def test_kernels_give_the_same_bits() -> None:
    found = []
    for kernel in rings():
        torch.manual_seed(3)
        sizes = Sizes(9, 20, 6)
        cut, secret, plain = best_cut(sizes), matrices(sizes), plaintexts(sizes)
        encryptor, evaluator = roles(kernel)
        seeds = iter(range(100))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(products.os, "urandom", lambda size, seeds=seeds: bytes([next(seeds)] * size))
            keys = encryptor.public_keys()
            evaluator = Evaluator(Ring(kernel), SecretStream(bytes(32), "evaluator"), keys)
            request = encryptor.request(cut, secret)
        found.append((request, evaluator.answer(cut, plain, request)[0]))
    for other in found[1:]:
        assert torch.equal(found[0][0], other[0])
        assert torch.equal(found[0][1], other[1])


# ------------------------------------------------------------------------------------ against Python integers


def opened_request(encryptor: Encryptor, cut: Cut, request: Tensor) -> dict[Name, list[tuple[list[int], list[int]]]]:
    """The ciphertexts of a request, (c0, c1) with numbers mod q."""
    ring, start = encryptor._ring, SEED_WORDS
    seed = seed_bytes(request)
    parts: dict[Name, list[tuple[Tensor, Tensor]]] = {name: [] for name in cut.sizes.encrypted}
    for prime in range(len(primes())):
        for name in cut.sizes.encrypted:
            count = cut.polynomials(name)
            c0, start = ring.unpacked(request, start, (count * N,), prime)
            parts[name].append((unchunked(c0, count), ring.uniform(seed, name, prime, count)))
    return {
        name: [
            (coefficients(ring, [c0[i] for c0, _ in of]), coefficients(ring, [c1[i] for _, c1 in of]))
            for i in range(cut.polynomials(name))
        ]
        for name, of in parts.items()
    }


def phase(encryptor: Encryptor, c0: list[int], c1: list[int], kept: int) -> list[int]:
    q = modulus(0, kept)
    key = coefficients(encryptor._ring, list(encryptor._key[:kept]))
    return [(x + y) % q for x, y in zip(c0, times(c1, key, q), strict=True)]


def test_ciphertexts_are_what_the_reference_says() -> None:
    """c0 + a s = e + floor(q m / 2^64), with a small e."""
    sizes = Sizes(3, 4, 2)
    cut, secret = best_cut(sizes), matrices(sizes)
    encryptor, _ = roles()
    ciphertexts = opened_request(encryptor, cut, encryptor.request(cut, secret))
    q, errors = modulus(0, len(primes())), []
    key = [centred(x, q) for x in coefficients(encryptor._ring, list(encryptor._key))]
    assert {*key} == {-1, 0, 1}
    for name in cut.sizes.encrypted:
        for (c0, c1), m in zip(ciphertexts[name], polynomials(cut, name, secret[name]), strict=True):
            found = phase(encryptor, c0, c1, len(primes()))
            errors += [centred(x - q * y // T, q) for x, y in zip(found, m, strict=True)]
    assert max(map(abs, errors)) <= 22
    assert math.isclose(np.var(errors), parameters.ERROR_VARIANCE, rel_tol=0.1)


def residuals(
    encryptor: Encryptor, cut: Cut, answer: Tensor, own: dict[Name, Tensor], exact: dict[Name, Tensor], name: Name
) -> list[int]:
    """What the encryptor sees of the wanted coefficients beside its share: the phase less q' share / 2^64."""
    ring, start, kept = encryptor._ring, 0, KEPT
    places, count = cut.places(name), cut.polynomials(name)
    assert cut.sizes.products == (name,)
    c0s, c1s = [], []
    for prime in range(kept):
        first, start = ring.unpacked(answer, start, (products._padded(count * len(places)),), prime)
        second, start = ring.unpacked(answer, start, (count * N,), prime)
        c0s.append(first[: count * len(places)].view(count, -1))
        c1s.append(second.view(count, N))
    q, found = modulus(0, kept), []
    theirs = (exact[name] - own[name]).tolist()
    (height, width), across = cut.block_shape(name), cut.across(name)
    for o in range(count):
        c1 = coefficients(ring, [c1[o] for c1 in c1s])
        masked = phase(encryptor, [0] * N, c1, kept)
        for i, place in enumerate(places.tolist()):
            row, column = o // across * height + i // width, o % across * width + i % width
            if row >= len(theirs) or column >= len(theirs[0]):
                continue
            c0 = 0
            for prime in range(kept):
                p = primes()[prime]
                c0 += int(c0s[prime][o, i]) % 2**32 * (q // p) * pow(q // p, -1, p)
            value = c0 + (masked[place] if place >= 0 else -masked[place + N])
            found.append(centred(value - q * (theirs[row][column] % T) // T, q))
    return found


def seen_by_the_encryptor(a: Tensor) -> list[int]:
    sizes = Sizes(len(a), a.shape[1], 32, ("ar",))
    cut = best_cut(sizes)
    encryptor, evaluator = roles()
    r = random_words(a.shape[1], 32)
    answer, own = evaluator.answer(cut, {"a": a}, encryptor.request(cut, {"r": r}))
    return residuals(encryptor, cut, answer, own, {"ar": matmul(a, r)}, "ar")


def is_flooded(seen: list[int]) -> bool:
    """Whether numbers look uniform in +-2^FLOOD_BITS: sixteen equal bins, chi squared with 15 degrees of freedom.
    Towards the ends, by what the rounding of c1 adds, there are fewer."""
    width = 2**parameters.FLOOD_BITS
    counts, _ = np.histogram(seen, bins=16, range=(-width + 256, width - 256))
    expected = len(seen) * (width - 256) / width / 16
    return bool(abs(np.mean(seen)) < 0.1 * width and ((counts - expected) ** 2 / expected).sum() < 45)


@pytest.mark.parametrize("scale", [0, 1, 2**62])
def test_noise_that_depends_on_the_evaluators_matrix_is_flooded(scale: int) -> None:
    a = torch.full((32, 24), scale, dtype=torch.int64)
    assert is_flooded(seen_by_the_encryptor(a))


def test_without_a_flood_that_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "FLOOD_BITS", 0)
    assert not is_flooded(seen_by_the_encryptor(torch.full((32, 24), 1, dtype=torch.int64)))


def test_the_noise_before_the_flood_is_as_estimated() -> None:
    """The mean square of the noise of a product at q, from its ciphertexts, against `parameters.noise`."""
    sizes = Sizes(4, 6, 4, ("ar",))
    cut = best_cut(sizes)
    encryptor, _ = roles()
    r, a = random_words(6, 4), random_words(4, 6)
    ((c0, c1),) = opened_request(encryptor, cut, encryptor.request(cut, {"r": r}))["r"]
    (poly,) = polynomials(cut, "a", a)
    q = modulus(0, len(primes()))
    whole = phase(encryptor, times(c0, poly, q), times(c1, poly, q), len(primes()))
    (message,) = polynomials(cut, "r", r)
    size = 2**200  # large enough for the integers of this product
    product = [centred(x, size) for x in times(poly, message, size)]
    off = [centred(x - q * m // T, q) for x, m in zip(whole, product, strict=True)]
    rms = math.sqrt(sum(x * x for x in off) / N)
    assert 0.5 < rms / parameters.noise(24) < 2


def test_masks_are_fresh_and_uniform() -> None:
    sizes = Sizes(40, 8, 64, ("ar",))
    cut, r, a = best_cut(sizes), random_words(8, 64), random_words(40, 8)
    encryptor, evaluator = roles()
    request = encryptor.request(cut, {"r": r})
    shares = [evaluator.answer(cut, {"a": a}, request)[1]["ar"] for _ in range(2)]
    assert not bool((shares[0] == shares[1]).any())
    for share in (*shares, shares[0] - shares[1]):
        ones = np.unpackbits(share.numpy().view(np.uint8)).mean()
        assert abs(ones - 0.5) < 0.01


# ------------------------------------------------------------------------------------ what a peer could send


def test_numbers_out_of_range_are_refused() -> None:
    sizes = Sizes(3, 4, 2)
    cut, secret, plain = best_cut(sizes), matrices(sizes), plaintexts(sizes)
    encryptor, evaluator = roles()
    request = encryptor.request(cut, secret)
    answer, _ = evaluator.answer(cut, plain, request)
    bad = request.clone()
    bad[SEED_WORDS + 5] = -1  # all bits: not below a prime
    with pytest.raises(ProtocolError, match="out of range"):
        evaluator.answer(cut, plain, bad)
    bad = answer.clone()
    bad[-7] = -1
    with pytest.raises(ProtocolError, match="out of range"):
        encryptor.shares(cut, bad)
    keys = encryptor.public_keys()
    keys[-1] = -1
    with pytest.raises(ProtocolError, match="out of range"):
        Evaluator(encryptor._ring, SecretStream(bytes(32), "other"), keys)


def test_secrets_have_no_repr() -> None:
    assert [repr(role) for role in roles()] == ["Encryptor()", "Evaluator()"]
