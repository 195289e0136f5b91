"""The work on bits and words, in C (`_ot.c`) where it was built when the package was installed, else in numpy."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amint_mpc.mpc.ot.pool import Array, Bytes, Words
from amint_mpc.mpc.ring import native

LANES = 4
"""Columns have a multiple of so many words."""

PLAIN = False  # without the vector instructions that this processor has; for tests

_ADDRESS, _NUMBER, _INT, _WORD = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_uint64
_FUNCTIONS = {
    "ot_fold": (_ADDRESS, _NUMBER, _ADDRESS, _INT, _ADDRESS, _ADDRESS),
    "ot_turn": (_ADDRESS, _NUMBER, _ADDRESS),
    "ot_sides": (_ADDRESS, _ADDRESS, _NUMBER, _ADDRESS, _ADDRESS),
    "ot_tweak": (_ADDRESS, _NUMBER, _NUMBER, _NUMBER, _WORD, _WORD, _ADDRESS),
    "ot_send": (_ADDRESS, _ADDRESS, _NUMBER, _NUMBER, _NUMBER, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS),
    "ot_take": (_ADDRESS, _ADDRESS, _NUMBER, _NUMBER, _NUMBER, _INT, _INT, _ADDRESS, _ADDRESS, _ADDRESS),
}
_FUNCTIONS |= {f"{name}_plain": _FUNCTIONS[name] for name in ("ot_fold", "ot_turn")}


def _load() -> ctypes.CDLL | None:
    library = native.load()
    if library is None or not all(
        hasattr(library, name) for name in _FUNCTIONS
    ):  # not built, or before there was `_ot.c`
        return None
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


_library = _load()
USED = _library is not None
"""Whether the functions in C are used."""


def _at(array: NDArray[Any] | None) -> int | None:
    """Where it lies; it is writable and contiguous. Six times as fast as `array.ctypes.data`, which counts here."""
    return None if array is None or not array.size else ctypes.addressof(ctypes.c_char.from_buffer(array.data))


def fold(leaves: Words, correction: Words | None, delta: int, columns: Words, total: Words | None) -> None:
    """Sums of the 16 leaves of a tree, by xor.

    Args:
        leaves: [16, words]; words a multiple of LANES, as in all others.
        correction: [words], added to those columns j whose bit j of `delta` is set; None with a delta of 0.
        columns: [4, words], written: column j is the sum of the leaves whose number has bit j.
        total: [words], written: the sum of all; None where nobody needs it.
    """
    if _library is not None:
        function = _library.ot_fold_plain if PLAIN else _library.ot_fold
        function(_at(leaves), leaves.shape[1], _at(correction), delta, _at(columns), _at(total))
        return
    left = leaves
    for bit, column in enumerate(columns):  # then `left` has the leaves that differ in higher bits
        np.bitwise_xor.reduce(left[1::2], axis=0, out=column)
        if correction is not None and delta >> bit & 1:
            column ^= correction
        left = left[0::2] ^ left[1::2]
    if total is not None:
        total[:] = left[0]


def turn(columns: Words, rows: Words) -> None:
    """Bit matrix, turned: bit k of row i is bit i of column k.

    Args:
        columns: [128, words]. rows: [64 words, 2], written.
    """
    if _library is not None:
        function = _library.ot_turn_plain if PLAIN else _library.ot_turn
        function(_at(columns), columns.shape[1], _at(rows))
        return
    squares, side, low = columns.reshape(2, 64, -1).copy(), 32, 2**32 - 1
    while side:
        upper, lower = np.moveaxis(squares.reshape(2, 32 // side, 2, side, -1), 2, 0)
        swap = (upper >> np.uint64(side) ^ lower) & np.uint64(low)
        upper ^= swap << np.uint64(side)
        lower ^= swap
        side //= 2
        low ^= low << side
    rows.reshape(-1, 64, 2)[:] = squares.transpose(2, 1, 0)


def sides(rows: Words, flips: Bytes, delta: Words) -> Words:
    """Both inputs of the sender's pads, [2, n, 2]: q xor d delta, and the same xor delta.

    Args:
        rows: [n, 2], contiguous, as all others. flips: packed d, the lowest bit first. delta: [2].
    """
    both = np.empty((2, len(rows), 2), dtype=np.uint64)
    if _library is not None:
        _library.ot_sides(_at(rows), _at(flips), len(rows), _at(delta), _at(both))
        return both
    bits = np.unpackbits(flips, count=len(rows), bitorder="little").astype(np.uint64)
    both[0] = rows ^ bits[:, None] * delta
    both[1] = both[0] ^ delta
    return both


def tweak(hidden: Words, blocks: int, first: int, start: int) -> Words:
    """[sides, n, blocks, 2]: hidden [sides, n, 2] xor (first + transfer, start + block)."""
    count_of_sides, count, _ = hidden.shape
    tweaked = np.empty((count_of_sides, count, blocks, 2), dtype=np.uint64)
    if _library is not None:
        _library.ot_tweak(_at(hidden), count_of_sides, count, blocks, first, start, _at(tweaked))
        return tweaked
    tweaked[..., 0] = (hidden[..., 0] ^ np.arange(first, first + count, dtype=np.uint64))[..., None]
    tweaked[..., 1] = hidden[..., 1, None] ^ np.arange(start, start + blocks, dtype=np.uint64)
    return tweaked


def send(hidden: Words, pads: Words, values: Array, xor: bool, share: Array, payload: Array) -> None:
    """The sender's end of pads.py. `pads` is changed.

    Args:
        hidden: [2, n, 2]. pads: [2, n, blocks, 2], pi of what `tweak` gave.
        values: [n, words]. share, payload: like it, written.
    """
    if _library is not None:
        (count, words), size = values.shape, values.itemsize
        into = _at(values), _at(share), _at(payload)
        _library.ot_send(_at(hidden), _at(pads), count, pads.shape[2], words, size, xor, *into)
        return
    zero, one = (_words(hidden[side], pads[side], values) for side in range(2))
    share[:] = zero if xor else -zero
    payload[:] = zero ^ values ^ one if xor else zero + values - one


def take(hidden: Words, pads: Words, bits: Bytes, payload: Array, xor: bool, share: Array) -> None:
    """The chooser's end. `pads` is changed.

    Args:
        hidden: [n, 2]. pads: [n, blocks, 2]. bits: [n] of 0 or 1.
        payload: [n, words]. share: like it, written.
    """
    if _library is not None:
        (count, words), size = payload.shape, payload.itemsize
        into = _at(bits), _at(payload), _at(share)
        _library.ot_take(_at(hidden), _at(pads), count, pads.shape[1], words, size, xor, *into)
        return
    pad, chosen = _words(hidden, pads, payload), payload * bits.astype(payload.dtype)[:, None]
    share[:] = pad ^ chosen if xor else pad + chosen


def _words(hidden: Words, pads: Words, like: Array) -> Array:
    """Whitened pads as words."""
    pads ^= hidden[:, None]
    raw = pads.reshape(len(pads), -1).view(np.uint8)[:, : like.shape[1] * like.itemsize]
    words: Array = np.ascontiguousarray(raw).view(like.dtype).reshape(like.shape)
    return words
