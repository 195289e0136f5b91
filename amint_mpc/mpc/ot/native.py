"""The bit work of the extension, in C (`_ot.c`) where it was built when the package was installed, else in numpy."""

from __future__ import annotations

import ctypes

import numpy as np

from amint_mpc.mpc.ot.pool import Words
from amint_mpc.mpc.ring import native

LANES = 8
"""Columns have a multiple of so many words."""

_ADDRESS = ctypes.c_void_p


def _load() -> ctypes.CDLL | None:
    library = native.load()
    if library is None or not hasattr(library, "ot_fold"):  # not built, or before there was `_ot.c`
        return None
    library.ot_fold.argtypes = (_ADDRESS, ctypes.c_int64, _ADDRESS, ctypes.c_int, _ADDRESS, _ADDRESS)
    library.ot_turn.argtypes = (_ADDRESS, ctypes.c_int64, _ADDRESS)
    library.ot_fold.restype = library.ot_turn.restype = None
    return library


_library = _load()
USED = _library is not None
"""Whether the functions in C are used."""


def fold(leaves: Words, correction: Words | None, delta: int, columns: Words, total: Words | None) -> None:
    """Sums of the 16 leaves of a tree, by xor.

    Args:
        leaves: [16, words]; words a multiple of LANES, as in all others.
        correction: [words], added to those columns j whose bit j of `delta` is set; None with a delta of 0.
        columns: [4, words], written: column j is the sum of the leaves whose number has bit j.
        total: [words], written: the sum of all; None where nobody needs it.
    """
    if _library is not None:
        places = [None if array is None else array.ctypes.data for array in (leaves, correction, columns, total)]
        _library.ot_fold(places[0], leaves.shape[1], places[1], delta, places[2], places[3])
        return
    numbers = np.arange(len(leaves))
    for bit, column in enumerate(columns):
        np.bitwise_xor.reduce(leaves[numbers >> bit & 1 == 1], axis=0, out=column)
        if correction is not None and delta >> bit & 1:
            column ^= correction
    if total is not None:
        np.bitwise_xor.reduce(leaves, axis=0, out=total)


def turn(columns: Words, rows: Words) -> None:
    """Bit matrix, turned: bit k of row i is bit i of column k.

    Args:
        columns: [128, words]. rows: [64 words, 2], written.
    """
    if _library is not None:
        _library.ot_turn(columns.ctypes.data, columns.shape[1], rows.ctypes.data)
        return
    bits = np.unpackbits(columns.view(np.uint8), axis=1, bitorder="little")
    rows.view(np.uint8)[:] = np.packbits(bits.T, axis=1, bitorder="little")
