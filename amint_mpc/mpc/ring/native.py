"""The functions in C (`_ring.c`, `_sign.c`), where they were built when the package was installed.

`hatch_build.py` builds them with the C compiler that it finds; without one there are none, and `ring.products` and
`protocols.sign` compute the same with torch. AMINT_MPC_NO_NATIVE=1 in the environment leaves them unused. ctypes calls
them without Python's lock.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("_native.so")
KERNELS = ("portable", "avx2", "avx512")
KERNEL = -1  # of products, an index of KERNELS; -1 is the best one that this processor has

_ADDRESS, _NUMBER, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_OPERAND = (_ADDRESS, _NUMBER, _NUMBER)  # with its strides
_FUNCTIONS = {
    "ring_matmul": (_INT, _INT, *_OPERAND, *_OPERAND, _ADDRESS, _NUMBER, _NUMBER, _NUMBER),
    "sign_tables": (_ADDRESS, _NUMBER, _INT, *[_ADDRESS] * 5),
    "sign_words": (_ADDRESS, _NUMBER, _ADDRESS, _ADDRESS),
    "sign_inputs": (_ADDRESS, _NUMBER, _INT, *[_ADDRESS] * 4),
    "sign_gate": (_ADDRESS, _NUMBER, *[_ADDRESS] * 3),
}


def left_unused() -> bool:
    """Whether the environment says so."""
    return bool(os.environ.get("AMINT_MPC_NO_NATIVE"))


def load() -> ctypes.CDLL | None:
    """The library; None where it is not to be had."""
    if left_unused():
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:  # not built, or built for another kind of machine
        return None
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_int if name == "ring_matmul" else None
    return library


_library = load()
USED = _library is not None
"""Whether the functions in C are used; without them, the same is computed with torch."""


def runs(kernel: str) -> bool:
    """Whether this processor can run one of KERNELS."""
    return _library is not None and _library.ring_matmul(KERNELS.index(kernel), *[0] * 11) == 0


def best() -> str:
    """The fastest of KERNELS that this processor can run: the instruction set that products use."""
    return next((kernel for kernel in reversed(KERNELS) if runs(kernel)), "none")


def matmul(a: Tensor, b: Tensor, onto: Tensor | None = None) -> Tensor:
    """a @ b mod 2^64, on the calling thread alone.

    Args:
        a: [n, k] int64. b: [k, m] int64. Any strides. The caller has checked both.
        onto: [n, m] int64, contiguous: the product is added to it, and it is returned.

    Raises:
        RuntimeError: the library is not there, or this processor cannot run KERNEL.
    """
    (n, k), m = a.shape, b.shape[1]
    c = torch.empty(n, m, dtype=torch.int64) if onto is None else onto
    left, right = (a.data_ptr(), *a.stride()), (b.data_ptr(), *b.stride())
    if _library is None or _library.ring_matmul(KERNEL, onto is not None, *left, *right, c.data_ptr(), n, k, m):
        raise RuntimeError("this machine cannot run that kernel")
    return c


def call(name: str, *arguments: Tensor | int) -> None:
    """One of the functions of `_sign.c`. Tensors are passed by address; the caller has checked types and sizes, and
    results are contiguous."""
    flat = [it.contiguous() if isinstance(it, Tensor) else it for it in arguments]  # kept until the call is over
    getattr(_library, name)(*(it.data_ptr() if isinstance(it, Tensor) else it for it in flat))
