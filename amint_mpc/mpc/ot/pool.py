"""Rows of random transfers that wait for use, in the order of their numbers."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint64]
Array: TypeAlias = NDArray[Any]
"""Of words of any width."""


class Pool:
    """One party's part of the random transfers of one direction.

    Transfer i: the sender has a row q_i and, for all of them, one secret delta; the chooser has a random bit b_i and
    the row t_i = q_i xor b_i delta. The sender's bits mean nothing.

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

    def grow(self, count: int) -> tuple[Words, Bytes]:
        """Room for more transfers behind those that are there: rows [count, 2] and bits [count], to be written."""
        left = len(self)
        rows, bits = np.empty((left + count, 2), dtype=np.uint64), np.empty(left + count, dtype=np.uint8)
        rows[:left], bits[:left] = self._rows, self._bits
        self._rows, self._bits = rows, bits
        return rows[left:], bits[left:]

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
