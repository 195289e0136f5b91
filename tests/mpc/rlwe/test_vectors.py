"""docs/two-party-vectors.json: the functions in C give it, on each instruction set, and so does plain Python."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ring.products import matmul
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.parameters import KEPT_BITS, N, modulus, primes
from tests.mpc.ot import reference as transfers
from tests.mpc.rlwe import slow, vectors
from tests.mpc.rlwe.reference import T, centred, polynomials
from tests.mpc.rlwe.test_products import rings
from tests.mpc.rlwe.vectors import CUT, PACKED, digest, numbered, shown

ALL: dict[str, Any] = json.loads(vectors.FILE.read_text(encoding="utf-8"))


@pytest.mark.skipif(library() is None, reason="the functions in C were not built")
@pytest.mark.parametrize("kernel", rings())
def test_the_program_gives_them(kernel: str) -> None:
    found = vectors.by_program(kernel)
    for name, value in ALL.items():
        assert found[name] == value, name
    assert vectors.text(found) == vectors.FILE.read_text(encoding="utf-8")


def test_parameters() -> None:
    assert ALL["parameters"] == vectors.of_parameters()


def test_transforms() -> None:
    for prime, expected in enumerate(ALL["transforms"]):
        values = slow.ntt(vectors.polynomial(), prime)
        assert shown(values) == expected
        p = primes()[prime]
        assert slow.inverse_ntt(values, prime) == [c % p for c in vectors.polynomial()]
        for at in (0, 1, 5000):  # by the definition
            x = pow(ALL["parameters"]["roots"][prime], 2 * slow.reversed_bits(at, 13) + 1, p)
            total = 0
            for c in reversed(vectors.polynomial()):
                total = (total * x + c) % p
            assert total == values[at]


def test_samples() -> None:
    words = ALL["samples"]["words"]
    assert [slow.error(word) for word in words] == ALL["samples"]["errors"]
    assert [slow.ternary(word) for word in words] == ALL["samples"]["ternary"]
    assert shown(slow.uniform(vectors.PUBLIC_SEEDS[0], "keys", 1)) == ALL["uniform"]


def test_packing() -> None:
    for name, expected in ALL["packing"].items():
        made = polynomials(PACKED, name, numbered(PACKED, name))
        assert [[[at, c] for at, c in enumerate(p) if c] for p in made] == expected


def test_places_are_where_the_products_stand() -> None:
    """Products of the packed polynomials, without any encryption."""
    (a, *_), (r, *_), (t, *_) = (polynomials(PACKED, name, numbered(PACKED, name)) for name in ("a", "r", "t"))
    q = 2**64 - 59
    for name, other in (("ar", r), ("at", t)):
        product = [centred(x, q) for x in slow.times(a, other, q)]
        found = [product[at] if at >= 0 else -product[at + N] for at in ALL["places"][name]]
        left = numbered(PACKED, "a")[:2, :2]
        right = numbered(PACKED, "r" if name == "ar" else "t")[:2, :2]
        assert found == (left @ right if name == "ar" else left.T @ right).reshape(-1).tolist()


def test_an_encryption_and_its_answer() -> None:
    expected, (a, r) = ALL["encryption"], vectors.matrices()
    stream, other = (SecretStream(seed, vectors.LABEL) for seed in (vectors.ENCRYPTOR, vectors.EVALUATOR))
    keys = slow.keys(stream, vectors.PUBLIC_SEEDS[0])
    (message,), (plain,) = polynomials(CUT, "r", r), polynomials(CUT, "a", a)
    ciphertext = slow.encrypted(keys, stream, vectors.PUBLIC_SEEDS[1], "r", message)
    every = range(len(primes()))
    assert [digest(slow.ntt(ciphertext[0], prime)) for prime in every] == expected["c0 of the request"]
    places = CUT.places("ar").tolist()
    c0, c1, masks = slow.answered(keys, other, ciphertext, plain, places)
    kept = every[: len(KEPT_BITS)]
    assert [shown([x % primes()[prime] for x in c0]) for prime in kept] == expected["c0 of the answer"]
    assert [digest(slow.ntt(c1, prime)) for prime in kept] == expected["c1 of the answer"]
    theirs = slow.decrypted(keys.secret, c0, c1, places)
    assert [f"{x:016x}" for x in theirs] == expected["share of the encryptor"]
    assert [f"{-x % T:016x}" for x in masks] == expected["share of the evaluator"]
    whole = [(x - mask) % T for x, mask in zip(theirs, masks, strict=True)]
    assert whole == [value % T for value in matmul(a, r).reshape(-1).tolist()]
    assert modulus(0, len(kept)).bit_length() == 76


def test_extension() -> None:
    found = transfers.transfers(vectors.TREE_KEYS, vectors.MISSING, 0, ALL["extension"]["transfers"])
    rows = found.bits, found.chooser_rows, found.sender_rows, found.corrections, found.delta
    assert vectors.of_extension(*rows) == ALL["extension"]
    for bit, t, q in zip(*rows[:3], strict=True):
        assert t == q ^ bit * found.delta


def test_pad() -> None:
    cipher = Cipher(algorithms.AES(vectors.PAD_KEY), modes.ECB()).encryptor()

    def permuted(x: int) -> int:
        return int.from_bytes(cipher.update(x.to_bytes(16, "little")), "little")

    hidden = permuted(vectors.PAD_ROW[0] | vectors.PAD_ROW[1] << 64)
    blocks = [permuted(hidden ^ vectors.PAD_FIRST ^ (vectors.PAD_START + k) << 64) ^ hidden for k in range(2)]
    assert b"".join(block.to_bytes(16, "little") for block in blocks)[:24].hex() == ALL["pad"]
