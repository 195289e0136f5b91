"""Rows of random transfers that wait for use, in the order of their numbers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint64]


class Pool:
    """One party's part of the random transfers of one direction.

    Transfer i: the sender has a row q_i and, for all of them, one secret delta; the chooser has a random bit b_i and
    the row t_i = q_i xor b_i delta.

    Guarantees:
        no_reuse: a row is handed out once; its number is never given to another one.
    """

    def __init__(self) -> None:
        self._rows: Words = np.empty((0, 2), dtype=np.uint64)
        self._bits: Bytes = np.empty(0, dtype=np.uint8)
        self._first = 0

    def __repr__(self) -> str:
        return f"Pool(first={self._first}, count={len(self)})"

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Words, bits: Bytes | None) -> None:
        """Put rows behind those that are there.

        Args:
            rows: [n, 2] uint64.
            bits: [n] of 0 or 1, the chooser's; None at the sender.
        """
        self._rows = np.concatenate((self._rows, rows)) if len(self) else rows
        if bits is not None:
            self._bits = np.concatenate((self._bits, bits)) if len(self._bits) else bits

    def take(self, count: int) -> tuple[int, Words, Bytes]:
        """The number of the first of the next `count` transfers, their rows, and the chooser's bits.

        Raises:
            RuntimeError: there are fewer.
        """
        if count > len(self):
            raise RuntimeError(f"{count} transfers are asked for and {len(self)} are there: refill first")
        first, rows, bits = self._first, self._rows[:count], self._bits[:count]
        self._first += count
        self._rows, self._bits = self._rows[count:], self._bits[count:]
        return first, rows, bits
