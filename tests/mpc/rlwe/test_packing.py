"""Packed answers: exact, as noisy as said, and what a peer's keys are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ring.products import matmul
from amint_mpc.mpc.rlwe import parameters, products
from amint_mpc.mpc.rlwe.blocks import Cut, Sizes, best_cut
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.packing import turns
from amint_mpc.mpc.rlwe.parameters import DIGITS, GALOIS_KEYS, KEPT, N, modulus, primes
from amint_mpc.mpc.rlwe.products import Encryptor, Evaluator, answer_words, public_key_words, request_words
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring
from tests.mpc.rlwe.reference import centred, coefficients, random_words
from tests.mpc.rlwe.test_products import is_flooded, phase, residuals, rings

pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")
COUNT, Q = len(primes()), modulus(0, len(primes()))


def roles(kernel: str | None = None) -> tuple[Encryptor, Evaluator]:
    ring = Ring(kernel)
    encryptor = Encryptor(ring, SecretStream(bytes([1] * 32), "encryptor"))
    keys = encryptor.public_keys(packed=True)
    assert keys.numel() == public_key_words(packed=True)
    return encryptor, Evaluator(ring, SecretStream(bytes([2] * 32), "evaluator"), keys, packed=True)


def apart(n: int, f: int, h: int) -> list[Cut]:
    """The cuts of a step's products on a slow link."""
    sizes = [(n, f, h), (f, n, h), (n, h, f), (f, h, n)]
    return [best_cut(Sizes(*it, ("ar",)), "wan") for it in sizes]


def off(encryptor: Encryptor, evaluator: Evaluator, cut: Cut) -> int:
    """How far the shares of a product are from it."""
    sizes = cut.sizes
    a, r = random_words(sizes.rows, sizes.inputs), random_words(sizes.inputs, sizes.outputs)
    request = encryptor.request(cut, {"r": r})
    answer, own = evaluator.answer(cut, {"a": a}, request)
    assert (request.numel(), answer.numel()) == (request_words(cut), answer_words(cut))
    return int((own["ar"] + encryptor.shares(cut, answer)["ar"] - matmul(a, r)).abs().max())


CUTS = [
    ((1, 1, 1), (1, 2, 1), 1),
    ((5, 7, 3), (1, 8, 4), 3),
    ((11, 40, 9), (2, 16, 8), 2),
    ((70, 130, 20), (1, 64, 16), 6),
    ((9, 64, 200), (1, 64, 128), 4),
]


@pytest.mark.parametrize("kernel", rings())
def test_shares_of_packed_products_add_up(kernel: str) -> None:
    encryptor, evaluator = roles(kernel)
    for shape, block, levels in CUTS:
        assert off(encryptor, evaluator, Cut(Sizes(*shape, ("ar",)), block, levels)) == 0


def test_with_a_key_of_another_automorphism_they_do_not() -> None:
    encryptor, evaluator = roles()
    assert evaluator._packing is not None
    evaluator._packing._keys = evaluator._packing._keys.roll(1, dims=0)
    assert off(encryptor, evaluator, Cut(Sizes(5, 7, 3, ("ar",)), (1, 8, 4), 3)) != 0


def turned(x: list[int], g: int) -> list[int]:
    """x(X^g)."""
    out = [0] * N
    for e, value in enumerate(x):
        at = e * g % (2 * N)
        out[at % N] += value if at < N else -value
    return out


def test_transformed_polynomials_turn_as_the_reference_says() -> None:
    ring = Ring()
    for prime in (0, COUNT - 1):
        x = torch.randint(0, primes()[prime], (N,), dtype=torch.int32)
        for j, turn in enumerate(turns(ring).long()):
            found = x.clone()
            ring.checked("rlwe_ntt", prime, found, 0, 0)
            found = found[turn].contiguous()
            ring.checked("rlwe_ntt", prime, found, 1, 0)
            assert [y % primes()[prime] for y in turned(x.tolist(), 1 + N // 2**j)] == found.tolist()


def test_keys_are_encryptions_of_the_turned_key() -> None:
    """c0 + a s = e + P g(s), with P 1 mod the two primes of a digit and 0 mod the others, and a small e."""
    encryptor, evaluator = roles()
    assert evaluator._packing is not None
    secret = [centred(x, Q) for x in coefficients(encryptor._ring, list(encryptor._key))]
    errors = []
    for j, digit in ((0, 1), (GALOIS_KEYS - 1, DIGITS - 1)):
        c0, c1 = (coefficients(encryptor._ring, list(part)) for part in evaluator._packing._keys[j, digit])
        mine = math.prod(primes()[2 * digit : 2 * digit + 2])
        weight = Q // mine * pow(Q // mine, -1, mine)
        found, wanted = phase(encryptor, c0, c1, COUNT), turned(secret, 1 + N // 2**j)
        errors += [centred(x - weight * y, Q) for x, y in zip(found, wanted, strict=True)]
    assert max(map(abs, errors)) <= 21
    assert math.isclose(np.var(errors), parameters.ERROR_VARIANCE, rel_tol=0.1)


def ciphertexts(ring: Ring, count: int) -> tuple[Tensor, list[tuple[list[int], list[int]]]]:
    """Uniform ones, [count, primes, 2, N], and as numbers mod q."""
    made = torch.stack([torch.randint(0, p, (count, 2, N), dtype=torch.int32) for p in primes()], dim=1)
    numbers = [(coefficients(ring, list(it[:, 0])), coefficients(ring, list(it[:, 1]))) for it in made]
    return made, numbers


@pytest.mark.parametrize("kernel", rings())
def test_packed_ciphertexts_are_what_the_reference_says(kernel: str) -> None:
    """Three of four, whose wanted coefficients stand at multiples of 8: 4 times these, moved by 2 i, with an error as
    large as `parameters.noise` says."""
    encryptor, evaluator = roles(kernel)
    assert evaluator._packing is not None
    k, levels = 3, 2
    made, numbers = ciphertexts(encryptor._ring, 3)
    packed = evaluator._packing._packed(made, k, levels)
    c0, c1 = (coefficients(encryptor._ring, list(packed[:, part])) for part in range(2))
    found, step = phase(encryptor, c0, c1, COUNT), 1 << k
    errors = []
    for i, each in enumerate(numbers):
        wanted = phase(encryptor, *each, COUNT)[::step]
        got = found[i << (k - levels) :: step]
        errors += [centred(x - (y << levels), Q) for x, y in zip(got, wanted, strict=True)]
    rms = math.sqrt(sum(x * x for x in errors) / len(errors))
    assert 0.7 < rms / parameters.noise(0, levels) < 1.3


def test_packing_counts_in_the_distance() -> None:
    assert parameters.noise(64, 6) > 1.1 * parameters.noise(64)
    assert parameters.distance(64, 1, 6) > 1.1 * parameters.distance(64, 1)


def test_a_million_steps_of_the_large_head_say_nothing() -> None:
    """2^-40 over the whole run."""
    cuts = apart(128, 768, 128)
    counts = [cut.polynomials("ar") * len(cut.places("ar")) for cut in cuts]
    each = zip(cuts, counts, strict=True)
    a_step = sum(parameters.distance(it.terms("ar"), n, it.levels) for it, n in each)
    assert 10**6 * a_step <= parameters.DISTANCE


@pytest.mark.parametrize("scale", [0, 2**62])
def test_packed_answers_are_flooded(scale: int) -> None:
    cut = Cut(Sizes(32, 24, 32, ("ar",)), (2, 32, 32), 4)
    encryptor, evaluator = roles()
    a, r = torch.full((32, 24), scale, dtype=torch.int64), random_words(24, 32)
    answer, own = evaluator.answer(cut, {"a": a}, encryptor.request(cut, {"r": r}))
    assert is_flooded(residuals(encryptor, cut, answer, own, {"ar": matmul(a, r)}, "ar"))


# ------------------------------------------------------------------------------------ what rounding says


def correlation(monkeypatch: pytest.MonkeyPatch, cut: Cut) -> float:
    """Of what the encryptor sees beside its share with the fraction of q' mask / 2^64: with next to no flood, and with
    the key 1, which makes all other noise small."""
    monkeypatch.setattr(products, "FLOOD_BITS", 0)
    sizes, ring = cut.sizes, Ring()
    encryptor = Encryptor(ring, SecretStream(bytes([3] * 32), "encryptor"))
    encryptor._key = torch.ones_like(encryptor._key)
    evaluator = Evaluator(ring, SecretStream(bytes([4] * 32), "evaluator"), encryptor.public_keys(True), packed=True)
    a, r = random_words(sizes.rows, sizes.inputs), random_words(sizes.inputs, sizes.outputs)
    answer, own = evaluator.answer(cut, {"a": a}, encryptor.request(cut, {"r": r}))
    seen = residuals(encryptor, cut, answer, own, {"ar": matmul(a, r)}, "ar")
    q = modulus(0, KEPT)
    (height, width), mask = cut.block_shape("ar"), (-own["ar"]).tolist()
    order = [
        (top + i, left + j)
        for top in range(0, sizes.rows, height)
        for left in range(0, sizes.outputs, width)
        for i in range(min(height, sizes.rows - top))
        for j in range(min(width, sizes.outputs - left))
    ]
    fractions = [q * (mask[i][j] % 2**64) % 2**64 / 2**64 for i, j in order]
    return float(np.corrcoef(seen, fractions)[0, 1])


ROUNDED = [Cut(Sizes(64, 8, 32, ("ar",)), (8, 8, 32)), Cut(Sizes(64, 8, 32, ("ar",)), (8, 8, 32), 2)]


@pytest.mark.parametrize("cut", ROUNDED)
def test_what_is_rounded_says_nothing_of_the_mask(monkeypatch: pytest.MonkeyPatch, cut: Cut) -> None:
    assert abs(correlation(monkeypatch, cut)) < 0.1  # 4.5 standard deviations


@pytest.mark.parametrize("cut", ROUNDED)
def test_a_mask_that_is_rounded_by_itself_fails_that_test(monkeypatch: pytest.MonkeyPatch, cut: Cut) -> None:
    """It joins as a multiple of the dropped primes: as if after they were dropped."""
    call, kept = Ring.call, modulus(0, KEPT)

    def rounded(self: Ring, name: str, *arguments: object) -> int:
        if name != "rlwe_mask":
            return call(self, name, *arguments)
        prime, masks, *_, out = arguments
        assert isinstance(prime, int)
        assert isinstance(masks, Tensor)
        assert isinstance(out, Tensor)
        p = primes()[prime]
        found = [kept * (x % 2**64) // 2**64 * (Q // kept) % p for x in masks.reshape(-1).tolist()]
        out[:] = torch.tensor(found, dtype=torch.int32)
        return 0

    monkeypatch.setattr(Ring, "call", rounded)
    assert abs(correlation(monkeypatch, cut)) > 0.2


# ------------------------------------------------------------------------------------ blocks; what a peer could send


@pytest.mark.parametrize(("inputs", "hidden", "most"), [(192, 64, 4), (768, 128, 16)])
def test_a_step_has_few_bytes_on_a_slow_link_and_takes_no_longer_than_they_do(
    inputs: int, hidden: int, most: float
) -> None:
    transforms, size = (sum(part) for part in zip(*(cut.cost for cut in apart(128, inputs, hidden)), strict=True))
    assert size < most * 1e6
    assert transforms * 0.01 < size / 1e6 * 80
    together = Sizes(128, inputs, hidden)
    assert size < 0.25 * best_cut(together, "lan").cost[1]
    assert best_cut(together, "lan").levels == best_cut(Sizes(128, inputs, hidden, ("ar",)), "lan").levels == 0


@pytest.mark.parametrize("cut", apart(128, 191, 64))
def test_a_cut_costs_as_many_bytes_as_it_sends(cut: Cut) -> None:
    sent = 4 * (request_words(cut) + answer_words(cut))
    assert 0 <= sent - cut.cost[1] <= 4 * SEED_WORDS + 8 * 4 * 3


@pytest.mark.parametrize(("shape", "block", "levels"), CUTS)
def test_merges_are_counted(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], block: tuple[int, int, int], levels: int
) -> None:
    cut, calls, call = Cut(Sizes(*shape, ("ar",)), block, levels), 0, Ring.call

    def counted(self: Ring, name: str, *arguments: object) -> int:
        nonlocal calls
        calls += name == "rlwe_merge"
        return call(self, name, *arguments)

    encryptor, evaluator = roles()
    monkeypatch.setattr(Ring, "call", counted)
    off(encryptor, evaluator, cut)
    assert calls == cut.merges


def test_without_keys_for_it_nothing_is_packed() -> None:
    ring, cut = Ring(), Cut(Sizes(5, 7, 3, ("ar",)), (1, 8, 4), 3)
    encryptor = Encryptor(ring, SecretStream(bytes([1] * 32), "encryptor"))
    evaluator = Evaluator(ring, SecretStream(bytes([2] * 32), "evaluator"), encryptor.public_keys())
    with pytest.raises(ValueError, match="keys"):
        evaluator.answer(cut, {"a": random_words(5, 7)}, encryptor.request(cut, {"r": random_words(7, 3)}))


def test_keys_out_of_range_are_refused() -> None:
    ring = Ring()
    keys = Encryptor(ring, SecretStream(bytes([1] * 32), "encryptor")).public_keys(packed=True)
    keys[-1] = -1
    with pytest.raises(ProtocolError, match="out of range"):
        Evaluator(ring, SecretStream(bytes([2] * 32), "evaluator"), keys, packed=True)
