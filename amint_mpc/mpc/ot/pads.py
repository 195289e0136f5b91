"""One-time pads from the rows of correlated transfers: a hash that stays random although all rows differ by one secret.

pad(x, i) = pi(pi(x) xor i) xor pi(x), with pi = AES-128 under a key that both parties know, and a tweak i that says
which transfer, and which block of its pad. Source: Guo, Katz, Wang, Yu, "Efficient and secure multiparty computation
from fixed-key block ciphers", IEEE S&P 2020 (TMMO): tweakable circular correlation robust with a random permutation.
So the pads of x and of x xor delta look independent to whoever knows one of both rows, as long as no tweak serves twice
in one direction.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.mpc.ot.pool import Bytes, Words

BLOCK = 16
_CHUNK = 1 << 17  # bytes of pads that are made at a time, so that they stay in the second cache


class Pads:
    """The hash under one key.

    Args:
        key: 16 bytes, known to both parties.
    """

    def __init__(self, key: bytes) -> None:
        self._permutation = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (a permutation, no mode)

    def make(self, rows: Words, first: int, start: int, blocks: int) -> Bytes:
        """Pads of consecutive transfers.

        Args:
            rows: [n, 2] uint64. first: number of the first transfer.
            start: number of the first block of each pad. blocks: how many of them.

        Returns:
            [n, 16 blocks] uint8.
        """
        count = len(rows)
        pads = np.empty(count * blocks * BLOCK + BLOCK, dtype=np.uint8)  # the cipher wants room for one block more
        step = max(1, _CHUNK // (blocks * BLOCK))
        hidden = np.empty(step * BLOCK + BLOCK, dtype=np.uint8)
        tweaked = np.empty((step, blocks, 2), dtype=np.uint64)
        which = np.arange(start, start + blocks, dtype=np.uint64)
        for at in range(0, count, step):
            some = rows[at : at + step]
            size = len(some)
            self._permutation.update_into(np.ascontiguousarray(some).data.cast("B"), hidden.data)
            once = hidden[: size * BLOCK].view(np.uint64).reshape(size, 1, 2)
            numbers = np.arange(first + at, first + at + size, dtype=np.uint64)
            np.bitwise_xor(once[:, :, 0], numbers[:, None], out=tweaked[:size, :, 0])
            np.bitwise_xor(once[:, :, 1], which, out=tweaked[:size, :, 1])
            out = pads[at * blocks * BLOCK :]
            self._permutation.update_into(tweaked[:size].data.cast("B"), out.data)
            twice = out[: size * blocks * BLOCK].view(np.uint64).reshape(size, blocks, 2)
            np.bitwise_xor(twice, once, out=twice)
        return pads[:-BLOCK].reshape(count, blocks * BLOCK)
