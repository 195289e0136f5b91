"""SoftSpokenOT with k = 4 in plain Python, bit by bit, as the paper writes it. Slow; for small numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TREES, LEAVES = 32, 16


@dataclass
class Transfers:
    """Of n transfers. A row is a number whose bit 4 i + j is bit j of tree i."""

    bits: list[int]
    chooser_rows: list[int]
    sender_rows: list[int]
    corrections: list[list[int]]  # [TREES - 1][n]
    delta: int


def transfers(trees: list[list[bytes]], missing: list[int], start: int, count: int) -> Transfers:
    """Transfers start .. start + count.

    Args:
        trees: all leaf keys. missing: which leaf of each tree the sender lacks.
    """
    streams = [[_stream(key, start, count) for key in keys] for keys in trees]
    u = [[_xor(streams[i][x][n] for x in range(LEAVES)) for n in range(count)] for i in range(TREES)]
    corrections = [[u[i][n] ^ u[0][n] for n in range(count)] for i in range(1, TREES)]
    chooser, sender = [], []
    for n in range(count):
        t = q = 0
        for i, absent in enumerate(missing):
            v = _xor(x * streams[i][x][n] for x in range(LEAVES))
            w = _xor((x ^ absent) * streams[i][x][n] for x in range(LEAVES) if x != absent)
            w ^= absent * corrections[i - 1][n] if i else 0
            t |= v << 4 * i
            q |= w << 4 * i
        chooser.append(t)
        sender.append(q)
    return Transfers(u[0], chooser, sender, corrections, sum(leaf << 4 * i for i, leaf in enumerate(missing)))


def _stream(key: bytes, start: int, count: int) -> list[int]:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    bits: list[int] = []
    for block in range((start + count + 127) // 128):
        for byte in cipher.update(block.to_bytes(16, "big")):
            bits += [byte >> bit & 1 for bit in range(8)]
    return bits[start : start + count]


def _xor(values: Iterable[int]) -> int:
    total = 0
    for value in values:
        total ^= value
    return total
