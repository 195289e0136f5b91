"""The functions of `_rlwe.c`, by ctypes, which calls them without Python's lock."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

from amint_mpc.mpc.ring.native import KERNELS, LIBRARY, left_unused
from amint_mpc.mpc.rlwe.parameters import LOG_N, primes, roots

MOST = 16

_P, _N, _I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "rlwe_new": (_P, (_I, _I, _P, _P, _I)),
    "rlwe_free": (None, (_P,)),
    "rlwe_kernel": (_I, (_P,)),
    "rlwe_encode": (_I, (_P, _I, _P, _P)),
    "rlwe_encrypt": (_I, (_P, _I, _P, ctypes.c_uint64, _P, _P, _P, _P)),
    "rlwe_transform": (_I, (_P, _I, _P, _N, _P)),
    "rlwe_public": (None, (_P, _I, _P, _P, _N, _P)),
    "rlwe_uniform": (_N, (_P, _I, _P, _N, _N, _I, _P)),
    "rlwe_products": (None, (_P, _I, _P, _P, _P, _P, _P, _I, _N, _N, _N)),
    "rlwe_answer": (_I, (_P, _I, _P)),
    "rlwe_scale": (None, (_P, _I, _P, _N, ctypes.c_uint32)),
    "rlwe_merge": (None, (_P, _P, _P, _P, _P, _P, _P)),
    "rlwe_mask": (None, (_P, _I, _P, _N, ctypes.c_uint64, _P)),
    "rlwe_decrypt": (_I, (_P, _I, _N, _N, _P, _I, _P, _P, _P, _P, _P)),
    "rlwe_errors": (None, (_P, _N, _P)),
    "rlwe_ternary": (None, (_P, _N, _P)),
    "rlwe_pack": (None, (_P, _P, _N, _I, _P)),
    "rlwe_unpack": (_I, (_P, _I, _P, _N, _I, _P)),
    "rlwe_ntt": (_I, (_P, _I, _P, _I, _I)),
}


class Layout(ctypes.Structure):
    """See `layout` in _rlwe.c."""

    _fields_ = [("matrix", _P)] + [
        (name, _N) for name in ("rows", "columns", "block_rows", "block_columns", "row", "column")
    ]


class Operand(ctypes.Structure):
    """See `operand` in _rlwe.c."""

    _fields_ = [("at", _P), ("count", _N), ("row", _N), ("column", _N)]


_ANSWERS: list[tuple[str, Any]] = [
    *((name, _N) for name in ("count", "per", "many", "many0")),
    *((name, _I) for name in ("kept", "skip")),
    *((name, _P) for name in ("s0", "s1", "k0", "k1", "u", "useful", "out0", "out1", "mask", "flood")),
    ("weights", ctypes.c_uint32 * MOST),
    ("inverse", ctypes.c_uint32),
]


class Answers(ctypes.Structure):
    """See `answers` in _rlwe.c."""

    _fields_ = _ANSWERS


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The library; None where it was not built, or the environment says not to use it."""
    if left_unused():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError:  # not built, or built for another kind of machine
        return None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


@lru_cache(maxsize=1)
def best_kernel() -> str:
    """The instruction set that this machine has for it, one of KERNELS; "none" without the library."""
    return "none" if library() is None else Context().kernel


class Context:
    """The tables of the ring, with one instruction set.

    Args:
        kernel: one of KERNELS; None: the best one here.

    Raises:
        RuntimeError: the library is not there, or this machine has not those instructions.
    """

    def __init__(self, kernel: str | None = None) -> None:
        loaded = library()
        if loaded is None:
            raise RuntimeError("the functions in C were not built")
        count = len(primes())
        p, r = (ctypes.c_uint32 * count)(*primes()), (ctypes.c_uint32 * count)(*roots())
        self._free = loaded.rlwe_free
        self.at: int | None = loaded.rlwe_new(LOG_N, count, p, r, -1 if kernel is None else KERNELS.index(kernel))
        if self.at is None:
            raise RuntimeError("this machine cannot run that kernel")
        self.kernel = KERNELS[loaded.rlwe_kernel(self.at)]

    def __del__(self) -> None:
        if getattr(self, "at", None):
            self._free(self.at)
