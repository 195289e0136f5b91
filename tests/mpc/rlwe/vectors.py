"""Test vectors of the masks of two parties: `python -m tests.mpc.rlwe.vectors` writes docs/two-party-vectors.json.

What the program gives (`by_program`); test_vectors.py computes the same in plain Python.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ot.extension import TREES, UNIT, ExtensionChooser, ExtensionSender
from amint_mpc.mpc.ot.pads import Pads
from amint_mpc.mpc.ot.punctured import LEAVES
from amint_mpc.mpc.rlwe import parameters, products
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes
from amint_mpc.mpc.rlwe.parameters import KEPT, N, primes, roots
from amint_mpc.mpc.rlwe.products import Encryptor, Evaluator
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring, layout_of

FILE = Path(__file__).parents[3] / "docs" / "two-party-vectors.json"
SHOWN = 4
LABEL = "products of matrices"
ENCRYPTOR, EVALUATOR = bytes(range(32)), bytes(range(32, 64))
PUBLIC_SEEDS = bytes(range(64, 96)), bytes(range(96, 128))
"""Of the public keys, and of the request."""
WORDS = [0, 2**64 - 1, 0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA]
CUT = Cut(Sizes(2, 3, 2, ("ar",)), (2, 4, 2))
PACKED = Cut(Sizes(3, 4, 2), (2, 2, 2))
MISSING = [(5 * tree + 3) % LEAVES for tree in range(TREES)]
TREE_KEYS = [[bytes([tree, leaf] * 8) for leaf in range(LEAVES)] for tree in range(TREES)]
PAD_KEY = bytes(range(16))
PAD_ROW, PAD_FIRST, PAD_START = (0x0123456789ABCDEF, 0xFEDCBA9876543210), 5, 3


def matrices() -> tuple[Tensor, Tensor]:
    """A [2, 3] and R [3, 2]."""
    a = torch.tensor([[1, -2, 3], [2**62, -(2**63), 7]], dtype=torch.int64)
    return a, torch.tensor([[1, 2], [-3, 2**40], [2**63 - 1, -5]], dtype=torch.int64)


def polynomial() -> list[int]:
    """What is transformed."""
    return [i**3 + 1 for i in range(N)]


def numbered(cut: Cut, name: Name) -> Tensor:
    """A matrix whose entries are 1, 2, 3, ..."""
    rows, columns = cut.shape(name)
    return torch.arange(1, rows * columns + 1).reshape(rows, columns)


def digest(numbers: Iterable[int], size: int = 4) -> str:
    """SHA-256 of numbers, little endian, of so many bytes each."""
    return hashlib.sha256(b"".join(number.to_bytes(size, "little") for number in numbers)).hexdigest()


def residues(tensor: Tensor) -> list[int]:
    return [value % 2**32 for value in tensor.reshape(-1).tolist()]


def shown(numbers: list[int], size: int = 4) -> dict[str, Any]:
    return {"first": numbers[:SHOWN], "sha256": digest(numbers, size)}


def by_program(kernel: str | None = None) -> dict[str, Any]:
    """All vectors. kernel: as of `Ring`."""
    ring = Ring(kernel)
    return {
        "parameters": of_parameters(),
        "transforms": [shown(_transformed(ring, prime)) for prime in range(len(primes()))],
        "samples": {"words": WORDS, **_samples()},
        "uniform": shown(residues(ring.uniform(PUBLIC_SEEDS[0], "keys", 1, 1))),
        "packing": {name: _packed(ring, name) for name in (*PACKED.sizes.plain, "t")},
        "places": {name: PACKED.places(name).tolist() for name in PACKED.sizes.products},
        "encryption": _encryption(ring),
        "extension": _extension(),
        "pad": _pad(),
    }


def of_parameters() -> dict[str, Any]:
    return {
        "n": N,
        "primes": list(primes()),
        "roots": list(roots()),
        "kept bits": list(parameters.KEPT_BITS),
        "dropped bits": list(parameters.DROPPED_BITS),
        "plaintext bits": parameters.PLAINTEXT_BITS,
        "public keys": parameters.PUBLIC_KEYS,
        "flood bits": parameters.FLOOD_BITS,
    }


def _transformed(ring: Ring, prime: int) -> list[int]:
    x = torch.tensor([c % primes()[prime] for c in polynomial()], dtype=torch.int32)
    ring.checked("rlwe_ntt", prime, x, 0, 0)
    return residues(x)


class _Given:
    """A stream that gives certain words."""

    position = 0

    def draw(self, step: int, specs: list[tuple[torch.dtype, tuple[int, ...]]]) -> list[Tensor]:
        words = np.resize(np.array(WORDS, dtype=np.uint64), specs[0][1])
        return [torch.from_numpy(words.view(np.int64))]


def _samples() -> dict[str, list[int]]:
    ring, given = Ring(), _Given()
    return {kind: ring.small(given, kind, 1)[0, : len(WORDS)].tolist() for kind in ("errors", "ternary")}  # type: ignore[arg-type]


def _packed(ring: Ring, name: Name) -> list[list[list[int]]]:
    """[exponent, coefficient] of each polynomial of a matrix."""
    matrix, count = numbered(PACKED, name), PACKED.polynomials(name)
    chunked = torch.empty(count * N, dtype=torch.int32)
    layout = layout_of(PACKED, name, matrix)
    ring.checked("rlwe_encode", 0, ctypes.addressof(layout), chunked)
    found = []
    for values in chunked.view(N // 64, count, 64).transpose(0, 1).reshape(count, N):
        plain = values.contiguous()
        ring.checked("rlwe_ntt", 0, plain, 1, 0)
        centred = [(x + primes()[0] // 2) % primes()[0] - primes()[0] // 2 for x in residues(plain)]
        found.append([[at, value] for at, value in enumerate(centred) if value])
    return found


def _encryption(ring: Ring) -> dict[str, Any]:
    a, r = matrices()
    with mock.patch.object(products.os, "urandom", side_effect=PUBLIC_SEEDS):
        encryptor = Encryptor(ring, SecretStream(ENCRYPTOR, LABEL))
        evaluator = Evaluator(ring, SecretStream(EVALUATOR, LABEL), encryptor.public_keys())
        request = encryptor.request(CUT, {"r": r})
    answer, own = evaluator.answer(CUT, {"a": a}, request)
    c0, c1 = answer_numbers(ring, answer)
    return {
        "c0 of the request": [digest(numbers) for numbers in _request_numbers(ring, request)],
        "c0 of the answer": [shown(numbers) for numbers in c0],
        "c1 of the answer": [digest(numbers) for numbers in c1],
        "share of the encryptor": _words(encryptor.shares(CUT, answer)["ar"]),
        "share of the evaluator": _words(own["ar"]),
    }


def _words(tensor: Tensor) -> list[str]:
    return [f"{value % 2**64:016x}" for value in tensor.reshape(-1).tolist()]


def _request_numbers(ring: Ring, request: Tensor) -> list[list[int]]:
    start, found = SEED_WORDS, []
    for prime in range(len(primes())):
        c0, start = ring.unpacked(request, start, (N,), prime)
        found.append(residues(c0))
    return found


def answer_numbers(ring: Ring, answer: Tensor) -> tuple[list[list[int]], list[list[int]]]:
    """c0 at the wanted places and c1, of each kept prime; of an answer of one polynomial."""
    start, c0s, c1s, many = 0, [], [], len(CUT.places("ar"))
    for prime in range(KEPT):
        c0, start = ring.unpacked(answer, start, (products._padded(many),), prime)
        c1, start = ring.unpacked(answer, start, (N,), prime)
        c0s.append(residues(c0[:many]))
        c1s.append(residues(c1))
    return c0s, c1s


def _extension() -> dict[str, Any]:
    without = [
        [b"" if x == leaf else key for x, key in enumerate(keys)] for leaf, keys in zip(MISSING, TREE_KEYS, strict=True)
    ]
    chooser, sender = ExtensionChooser(TREE_KEYS), ExtensionSender(MISSING, without)
    t, q = np.empty((UNIT, 2), dtype=np.uint64), np.empty((UNIT, 2), dtype=np.uint64)
    bits = np.empty(UNIT, dtype=np.uint8)
    message = chooser.extend(t, bits)
    sender.extend(q, message)
    return of_extension(
        bits.tolist(),
        numbers(t),
        numbers(q),
        np.unpackbits(message, axis=1, bitorder="little").tolist(),
        numbers(sender.delta[None])[0],
    )


def of_extension(
    bits: list[int], t: list[int], q: list[int], corrections: list[list[int]], delta: int
) -> dict[str, Any]:
    return {
        "transfers": len(bits),
        "delta": f"{delta:032x}",
        "bits": digest(bits, 1),
        "rows of the chooser": {"first": f"{t[0]:032x}", "sha256": digest(t, 16)},
        "rows of the sender": {"first": f"{q[0]:032x}", "sha256": digest(q, 16)},
        "corrections": digest((bit for row in corrections for bit in row), 1),
    }


def numbers(rows: np.ndarray[Any, np.dtype[np.uint64]]) -> list[int]:
    """Rows of 128 bits."""
    return [int(low) | int(high) << 64 for low, high in rows]


def _pad() -> str:
    """Of one row, 24 bytes."""
    row, zero = np.array([PAD_ROW], dtype=np.uint64), np.zeros(1, dtype=np.uint8)
    payload = np.zeros((1, 3), dtype=np.int64)
    return Pads(PAD_KEY).take(row, zero, PAD_FIRST, PAD_START, payload, True).tobytes().hex()


def text(vectors: Mapping[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(by_program()), encoding="utf-8")
