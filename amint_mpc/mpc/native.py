"""The C kernel of products in Z_2^64 (`_ring.c`), where it was built when the package was installed.

`hatch_build.py` builds it with the C compiler that it finds; without one there is none, and `ring` multiplies with
float64 limbs. AMINT_MPC_NO_NATIVE=1 in the environment leaves it unused.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("_ring.so")
KERNELS = ("portable", "avx2", "avx512")
KERNEL = -1  # an index of KERNELS; -1 is the best one that this processor has


def load() -> Callable[..., int] | None:
    """`ring_matmul` of the library, which ctypes calls without Python's lock; None where it is not to be had."""
    if os.environ.get("AMINT_MPC_NO_NATIVE"):
        return None
    try:
        function = ctypes.CDLL(str(LIBRARY)).ring_matmul
    except OSError:  # not built, or built for another kind of machine
        return None
    address, number = ctypes.c_void_p, ctypes.c_int64
    operand = (address, number, number)  # with its strides
    function.argtypes = (ctypes.c_int, *operand, *operand, address, number, number, number)
    function.restype = ctypes.c_int
    return function


_multiply = load()
AVAILABLE = _multiply is not None


def runs(kernel: str) -> bool:
    """Whether this processor can run one of KERNELS."""
    return _multiply is not None and _multiply(KERNELS.index(kernel), *[0] * 10) == 0


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b mod 2^64, on the calling thread alone.

    Args:
        a: [n, k] int64. b: [k, m] int64. Any strides. The caller has checked both.

    Raises:
        RuntimeError: the library is not there, or this processor cannot run KERNEL.
    """
    (n, k), m = a.shape, b.shape[1]
    c = torch.zeros(n, m, dtype=torch.int64)
    left, right = (a.data_ptr(), *a.stride()), (b.data_ptr(), *b.stride())
    if _multiply is None or _multiply(KERNEL, *left, *right, c.data_ptr(), n, k, m):
        raise RuntimeError("this machine cannot run that kernel")
    return c
