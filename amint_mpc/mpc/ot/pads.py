"""One-time pads from the rows of correlated transfers: a hash that stays random although all rows differ by one secret.

pad(x, i) = pi(pi(x) xor i) xor pi(x), with pi = AES-128 under a key that both parties know, and a tweak i that says
which transfer, and which block of its pad. Source: Guo, Katz, Wang, Yu, "Efficient and secure multiparty computation
from fixed-key block ciphers", IEEE S&P 2020 (TMMO): tweakable circular correlation robust with a random permutation.
So the pads of x and of x xor delta look independent to whoever knows one of both rows, as long as no tweak serves twice
in one direction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.mpc.ot import native
from amint_mpc.mpc.ot.pool import Array, Bytes, Words

BLOCK = 16
_CHUNK = 1 << 19  # bytes of pads that are made at a time, so that all that is made with them stays in the caches


def blocks_of(values: Array) -> int:
    """How many blocks a pad of one row of words has."""
    return -(-int(values.shape[1]) * values.itemsize // BLOCK)


class Pads:
    """The hash under one key, and what is done with its pads.

    Args:
        key: 16 bytes, known to both parties.
    """

    def __init__(self, key: bytes) -> None:
        self._permutation = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (a permutation, no mode)

    def send(
        self, rows: Words, flips: Bytes, delta: Words, first: int, start: int, values: Array, xor: bool
    ) -> tuple[Array, Array]:
        """The sender's share of bits * values, and the payload.

        Args:
            rows: [n, 2], q of each transfer. delta: [2].
            flips: the chooser's d, packed, the lowest bit first.
            first: number of the first transfer. start: number of the first block of each pad.
            values: [n, words], contiguous.
            xor: in place of sums.

        Returns:
            Two arrays like `values`.
        """
        share, payload = np.empty_like(values), np.empty_like(values)
        for at, to in self._chunks(values, 2):
            both = native.sides(rows[at:to], flips[at // 8 :], delta)
            hidden, pads = self._hidden_and_pads(both, first + at, start, blocks_of(values))
            native.send(hidden, pads, values[at:to], xor, share[at:to], payload[at:to])
        return share, payload

    def take(self, rows: Words, bits: Bytes, first: int, start: int, payload: Array, xor: bool) -> Array:
        """The chooser's share.

        Args:
            rows: [n, 2], t of each transfer. bits: [n] of 0 or 1, what it chose.
            payload: [n, words], contiguous; first, start, xor: as at the sender.

        Returns:
            An array like `payload`.
        """
        share = np.empty_like(payload)
        for at, to in self._chunks(payload, 1):
            hidden, pads = self._hidden_and_pads(rows[None, at:to], first + at, start, blocks_of(payload))
            native.take(hidden[0], pads[0], bits[at:to], payload[at:to], xor, share[at:to])
        return share

    @staticmethod
    def _chunks(values: Array, sides: int) -> Iterator[tuple[int, int]]:
        step = max(8, _CHUNK // (sides * BLOCK * max(1, blocks_of(values))) // 8 * 8)  # of flips, whole bytes
        for at in range(0, len(values), step):
            yield at, min(at + step, len(values))

    def _hidden_and_pads(self, x: Words, first: int, start: int, blocks: int) -> tuple[Words, Words]:
        """pi(x), and pi(pi(x) xor i), [..., blocks, 2], of x [sides, n, 2]."""
        hidden = self._permute(x)
        return hidden, self._permute(native.tweak(hidden, blocks, first, start))

    def _permute(self, x: Words) -> Words:
        out = np.empty(x.nbytes + BLOCK, dtype=np.uint8)  # the cipher wants room for one block more
        self._permutation.update_into(x.data.cast("B"), out.data)
        return out[: x.nbytes].view(np.uint64).reshape(x.shape)
