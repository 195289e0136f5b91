"""The functions in C compute what numpy computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.mpc.ot import native
from amint_mpc.mpc.ot.pads import Pads, blocks_of

pytestmark = pytest.mark.skipif(not native.USED, reason="the library was not built")
DTYPES = [np.int64, np.int32, np.int16, np.uint8]


def both_ways(monkeypatch: pytest.MonkeyPatch, compute: Any) -> tuple[Any, Any]:
    in_c = compute()
    with monkeypatch.context() as patch:
        patch.setattr(native, "_library", None)
        return in_c, compute()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("words", [4, 8, 28])
def test_fold_and_turn(words: int, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "PLAIN", plain)
    draw = np.random.default_rng(words)
    leaves = draw.integers(0, 2**64, (16, words), dtype=np.uint64)
    correction = draw.integers(0, 2**64, words, dtype=np.uint64)
    columns = draw.integers(0, 2**64, (128, words), dtype=np.uint64)

    def compute() -> list[Any]:
        results = []
        for delta in range(16):
            found, total = np.empty((4, words), dtype=np.uint64), np.empty(words, dtype=np.uint64)
            native.fold(leaves, correction, delta, found, total)
            results += [found, total]
        rows = np.empty((64 * words, 2), dtype=np.uint64)
        native.turn(columns, rows)
        return [*results, rows]

    for one, other in zip(*both_ways(monkeypatch, compute), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("count", "width"), [(1, 1), (13, 1), (70_001, 1), (9, 5), (3, 40_000)])
@pytest.mark.parametrize("xor", [False, True])
def test_pads(dtype: Any, count: int, width: int, xor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(count)
    rows, delta = draw.integers(0, 2**64, (count, 2), dtype=np.uint64), draw.integers(0, 2**64, 2, dtype=np.uint64)
    flips, bits = draw.integers(0, 256, count // 8 + 1, dtype=np.uint8), draw.integers(0, 2, count, dtype=np.uint8)
    values = draw.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (count, width), dtype=dtype)
    pads = Pads(bytes(16))

    def compute() -> tuple[Any, ...]:
        share, payload = pads.send(rows, flips, delta, 2**40, 7, values, xor)
        return share, payload, pads.take(rows, bits, 2**40, 7, payload, xor)

    for one, other in zip(*both_ways(monkeypatch, compute), strict=True):
        assert one.dtype == dtype
        assert np.array_equal(one, other)


def test_a_pad_is_the_hash_of_its_row_and_number() -> None:
    """Block by block from the definition."""
    cipher = Cipher(algorithms.AES(bytes(range(16))), modes.ECB()).encryptor()

    def permute(x: int) -> int:
        return int.from_bytes(cipher.update(x.to_bytes(16, "little")), "little")

    rows = np.random.default_rng(4).integers(0, 2**64, (5, 2), dtype=np.uint64)
    payload, first, start = np.zeros((5, 5), dtype=np.int64), 2**33 + 1, 3
    shares = Pads(bytes(range(16))).take(rows, np.zeros(5, dtype=np.uint8), first, start, payload, True)
    blocks = blocks_of(payload)
    assert blocks == 3
    for number, (row, share) in enumerate(zip(rows, shares, strict=True)):
        hidden = permute(int(row[0]) | int(row[1]) << 64)
        pad = [permute(hidden ^ (first + number) ^ (start + block) << 64) ^ hidden for block in range(blocks)]
        assert b"".join(block.to_bytes(16, "little") for block in pad)[:40] == share.tobytes()
