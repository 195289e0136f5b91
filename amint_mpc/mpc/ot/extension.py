"""SoftSpokenOT with k = 4: random correlated transfers, as many as are wanted, from 32 punctured trees. Semi-honest.

1. Each leaf key x of a tree i is a stream r_x of bits (AES-128 in counter mode), a bit for each transfer. The chooser
   knows all 16 of a tree: u_i = xor of all r_x, and V_i = xor of x r_x, four bits for each transfer.
2. The sender lacks the leaf delta_i alone: W_i = xor of (x xor delta_i) r_x = V_i xor delta_i u_i.
3. The chooser's bits are b = u_0. It sends u_i xor u_0 for the other trees, and the sender adds delta_i times that to
   W_i.
4. Read by transfers, not by trees: the chooser has rows t of V, the sender rows q of W, 128 bits each, and
   t = q xor b delta, with the delta_i put together.

Source: Roy, "SoftSpokenOT: Quieter OT extension from small-field silent VOLE in the Minicrypt model", CRYPTO 2022,
with the repetition code and no check of consistency.
Who learns what: the sender sees u_i xor u_0, uniform, for each u_i has in it the stream of a leaf that the sender
lacks; that of tree 0 hides b. The chooser is sent nothing.
Exchanges: 1. Bytes: 31 / 8 a transfer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from amint_mpc.mpc.ot.native import LANES, fold, turn
from amint_mpc.mpc.ot.pool import Bytes, Words
from amint_mpc.mpc.ot.punctured import LEAVES, LEVELS

TREES = 32
SECURITY = TREES * LEVELS
UNIT = 128 * LANES
"""Transfers are made in multiples of so many."""

_CHUNK = 1 << 17  # transfers that are made at a time: 16 kB a leaf, so that a tree stays in the second cache
_BLOCK = 16


class ExtensionChooser:
    """The party that chooses, and knows all leaves.

    Args:
        trees: the 16 keys of each of TREES trees.
    """

    def __init__(self, trees: list[list[bytes]]) -> None:
        self._streams = [[_stream(key) for key in keys] for keys in trees]

    def extend(self, rows: Words, bits: Bytes) -> Bytes:
        """The next transfers.

        Args:
            rows: [n, 2], written: t of each transfer. n is a multiple of UNIT.
            bits: [n], written: b of each transfer.

        Returns:
            The message to the sender, `message_shape(n)`.
        """
        sums = np.empty((TREES, len(rows) // 64), dtype=np.uint64)
        for start, some in _chunks(rows):
            words = slice(start // 64, start // 64 + len(some) // 64)
            columns = np.empty((TREES, LEVELS, len(some) // 64), dtype=np.uint64)
            for tree, leaves in enumerate(_leaves(self._streams, len(some))):
                fold(leaves, None, 0, columns[tree], sums[tree, words])
            turn(columns.reshape(SECURITY, -1), some)
        bits[:] = np.unpackbits(sums[0].view(np.uint8), bitorder="little")
        sums[1:] ^= sums[0]
        return sums[1:].view(np.uint8)


class ExtensionSender:
    """The party that has delta, and lacks one leaf of each tree.

    Args:
        missing: its number, for each tree.
        trees: the keys of each tree; the missing one is not looked at.
    """

    def __init__(self, missing: list[int], trees: list[list[bytes]]) -> None:
        self._missing = missing
        # in the order of x xor delta_i, by which they are folded; the first one stays zero
        self._streams = [
            [None] + [_stream(keys[x ^ leaf]) for x in range(1, LEAVES)]
            for leaf, keys in zip(missing, trees, strict=True)
        ]
        bits = [leaf >> bit & 1 for leaf in missing for bit in range(LEVELS)]
        self.delta: Words = np.packbits(bits, bitorder="little").view(np.uint64)

    def extend(self, rows: Words, message: Bytes) -> None:
        """The next transfers.

        Args:
            rows: [n, 2], written: q of each transfer.
            message: the chooser's.
        """
        corrections = message.view(np.uint64)
        for start, some in _chunks(rows):
            words = slice(start // 64, start // 64 + len(some) // 64)
            columns = np.empty((TREES, LEVELS, len(some) // 64), dtype=np.uint64)
            for tree, leaves in enumerate(_leaves(self._streams, len(some))):
                correction = corrections[tree - 1, words] if tree else None
                fold(leaves, correction, self._missing[tree] if tree else 0, columns[tree], None)
            turn(columns.reshape(SECURITY, -1), some)


def message_shape(count: int) -> tuple[int, int]:
    """Of the chooser's message about so many transfers, uint8."""
    return TREES - 1, count // 8


def _stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()


def _chunks(rows: Words) -> Iterator[tuple[int, Words]]:
    for start in range(0, len(rows), _CHUNK):
        yield start, rows[start : start + _CHUNK]


def _leaves(trees: Sequence[Sequence[CipherContext | None]], count: int) -> Iterator[Words]:
    """The next bits of the leaves of each tree, [LEAVES, count / 64], one tree at a time in the same place."""
    size = count // 8
    zeros = memoryview(bytes(size))
    space = np.zeros(LEAVES * size + _BLOCK, dtype=np.uint8)  # the cipher wants room for one block more
    places = [space[size * x : size * (x + 1) + _BLOCK].data for x in range(LEAVES)]
    leaves = space[:-_BLOCK].view(np.uint64).reshape(LEAVES, -1)
    for streams in trees:
        for stream, place in zip(streams, places, strict=True):
            if stream is not None:
                stream.update_into(zeros, place)
        yield leaves
