"""The functions of _rlwe.c on tensors: polynomials mod one prime, [N] int32, most of them transformed."""

from __future__ import annotations

import ctypes
import hmac
import math

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.prg import SecretStream, keystream
from amint_mpc.mpc.rlwe.blocks import Cut, Name
from amint_mpc.mpc.rlwe.native import Context, Layout, Operand, library
from amint_mpc.mpc.rlwe.parameters import N, bits_of, primes

SEED_WORDS = 8


class Ring:
    """The functions in C on tensors. Args: kernel: see `Context`."""

    def __init__(self, kernel: str | None = None) -> None:
        self._context = Context(kernel)

    @property
    def kernel(self) -> str:
        """The instruction set in use."""
        return self._context.kernel

    def call(self, name: str, *arguments: object) -> int:
        """A function of _rlwe.c on the context; tensors and arrays are passed by address."""
        result = getattr(library(), name)(self._context.at, *map(_address, arguments))
        return int(result or 0)

    def checked(self, name: str, *arguments: object) -> None:
        """The same where anything but 0 is missing memory."""
        if self.call(name, *arguments):
            raise MemoryError("no memory for the polynomials of a step")

    def uniform(self, seed: bytes, name: str, prime: int, count: int, chunked: bool = False) -> Tensor:
        """Public polynomials of a name from a seed, [count, N] int32, transformed."""
        out, p = torch.empty(count, N, dtype=torch.int32), primes()[prime]
        share = 1.0 - p / 2.0 ** bits_of(prime)  # of words that are left out
        words = int(count * N * (1 + 1.2 * share)) + 4096
        key = hmac.digest(seed, f"{name} {prime}".encode(), "sha256")
        (drawn,) = keystream(key, [(torch.int32, (words,))])
        if self.call("rlwe_uniform", prime, drawn, words, count, int(chunked), out) != count:
            raise RuntimeError("a keystream had too few words below the modulus")  # never, at 1.2 times and 4,096 more
        return out

    def small(self, random: SecretStream, kind: str, count: int) -> Tensor:
        """Secret "errors" or "ternary" polynomials, [count, N] int8."""
        words = draw(random, (torch.int64, (count * N,)))
        out = torch.empty(count, N, dtype=torch.int8)
        getattr(library(), f"rlwe_{kind}")(words.data_ptr(), count * N, out.data_ptr())
        return out

    def transformed(self, small: Tensor, prime: int) -> Tensor:
        """[count, N] int32."""
        out = torch.empty(small.shape, dtype=torch.int32)
        self.checked("rlwe_transform", prime, small, len(small), out)
        return out

    def packed(self, words: Tensor, prime: int) -> Tensor:
        """Words mod a prime as they travel. Their number is a multiple of 8."""
        bits = bits_of(prime)
        out = torch.empty(words.numel() * bits // 32, dtype=torch.int32)
        self.call("rlwe_pack", words, words.numel(), bits, out)
        return out

    def unpacked(
        self, message: Tensor, start: int, shape: tuple[int, ...], prime: int, out: Tensor | None = None
    ) -> tuple[Tensor, int]:
        """Words of a message from `start` on, in `out` if that is given, and where they end.

        Raises:
            ProtocolError: one is not below the prime.
        """
        count = math.prod(shape)
        end = start + count * bits_of(prime) // 32
        out = torch.empty(shape, dtype=torch.int32) if out is None else out
        if not self.call("rlwe_unpack", prime, message[start:end], count, bits_of(prime), out):
            raise ProtocolError("a ciphertext of the other party is out of range", "Do not go on with this peer")
        return out, end

    def products(
        self,
        prime: int,
        plain: tuple[Tensor, int, int, int],
        encrypted: tuple[Tensor, Tensor],
        strides: tuple[int, int, int],
        out: tuple[int, int, int],
        sizes: tuple[int, int, int],
        into: Tensor,
        add: bool = False,
    ) -> None:
        """Sums of products of polynomials with ciphertexts (`rlwe_products`), all "chunked".

        Args:
            plain: the polynomials, how many, and the strides of their rows and columns.
            encrypted, into: c0 and c1. strides, out: how many, and the strides, of each.
            sizes: rows, terms and columns.
        """
        left = Operand(plain[0].data_ptr(), *plain[1:])
        right = Operand(encrypted[0].data_ptr(), *strides)
        place = Operand(into[0].data_ptr(), *out)
        first = ctypes.addressof(left), ctypes.addressof(right), encrypted[1]
        self.call("rlwe_products", prime, *first, ctypes.addressof(place), into[1], int(add), *sizes)

    def encoded(self, cut: Cut, name: Name, matrix: Tensor, prime: int) -> Tensor:
        """The polynomials of a matrix, transformed, "chunked"."""
        out = torch.empty(cut.polynomials(name) * N, dtype=torch.int32)
        layout = layout_of(cut, name, matrix)
        self.checked("rlwe_encode", prime, ctypes.addressof(layout), out)
        return out


def draw(random: SecretStream, spec: tuple[torch.dtype, tuple[int, ...]]) -> Tensor:
    """A tensor of uniform numbers that nobody has seen before."""
    return random.draw(random.position, [spec])[0]


def layout_of(cut: Cut, name: Name, matrix: Tensor) -> Layout:
    """How a matrix is cut, for the functions in C."""
    if tuple(matrix.shape) != cut.shape(name) or matrix.dtype != torch.int64 or not matrix.is_contiguous():
        raise ValueError(f"{name} is an int64 matrix of shape {cut.shape(name)}, contiguous")
    return Layout(matrix.data_ptr(), *matrix.shape, *cut.block_shape(name), *cut.exponents(name))


def _address(argument: object) -> object:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return argument.ctypes.data if isinstance(argument, np.ndarray) else argument


def seed_tensor(seed: bytes) -> Tensor:
    """As it travels, [SEED_WORDS] int32."""
    return torch.frombuffer(bytearray(seed), dtype=torch.int32)


def seed_bytes(message: Tensor) -> bytes:
    """The seed that a message begins with."""
    return message[:SEED_WORDS].numpy().tobytes()
