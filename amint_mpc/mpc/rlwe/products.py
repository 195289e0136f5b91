"""Products of masks that two parties hold, without a dealer: the encryptor has R, S and T, the evaluator A, R' and S'.

    ar = A R [n, h]        sr = S' R^T + S R'^T [n, f]        at = A^T T [f, h]

Sources: one-sided products with coefficient packing, Huang et al. 2022 (Cheetah), section 4; BFV mod 2^64, Fan and
Vercauteren 2012; circuit privacy by flooding, Gentry 2009, and by a fresh encryption of zero.

Steps
    0. once: the encryptor sends public keys, RLWE samples e - a s with the a from a seed.
    1. encryptor -> evaluator: R, S and T under its key, fresh errors, and the seed of their a.
    2. the evaluator multiplies by its polynomials and adds up; to each answer it adds an encryption of zero (u times a
       public key, u fresh and ternary); drops primes; and adds to each wanted coefficient a fresh mask mod 2^64 and a
       flood. It sends what is left, of c0 the wanted coefficients alone. Its share is the mask with a minus.
    3. the encryptor decrypts: its share.
Who learns what: the evaluator sees ciphertexts and public keys (RLWE). The encryptor sees shares under fresh masks;
    what the noise says of A, R' and S' is flooded (`parameters.distance`), c1 is an RLWE sample under u, rounded.
Exact: ar and at mod 2^64. sr too; or where it may be rough within 2^(64 - 52 + FLOOD_BITS + 1), for no more of its bits
    are opened.
"""

from __future__ import annotations

import ctypes
import hmac
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.prg import SecretStream, keystream
from amint_mpc.mpc.rlwe.blocks import Cut, Name
from amint_mpc.mpc.rlwe.native import MOST, Answers, Context, Layout, Operand, library
from amint_mpc.mpc.rlwe.parameters import FLOOD_BITS, PUBLIC_KEYS, N, bits_of, modulus, primes

SEED_WORDS = 8
_COUNT = len(primes())


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
        words = _draw(random, (torch.int64, (count * N,)))
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

    def unpacked(self, message: Tensor, start: int, shape: tuple[int, ...], prime: int) -> tuple[Tensor, int]:
        """Words of a message from `start` on, and where they end.

        Raises:
            ProtocolError: one is not below the prime.
        """
        count = math.prod(shape)
        end = start + count * bits_of(prime) // 32
        out = torch.empty(shape, dtype=torch.int32)
        if not self.call("rlwe_unpack", prime, message[start:end], count, bits_of(prime), out):
            raise ProtocolError("a ciphertext of the other party is out of range", "Do not go on with this peer")
        return out, end


def _address(argument: object) -> object:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return argument.ctypes.data if isinstance(argument, np.ndarray) else argument


def _draw(random: SecretStream, spec: tuple[torch.dtype, tuple[int, ...]]) -> Tensor:
    return random.draw(random.position, [spec])[0]


def _padded(count: int) -> int:
    return -(-count // 8) * 8


def _layout(cut: Cut, name: Name, matrix: Tensor) -> Layout:
    if tuple(matrix.shape) != cut.shape(name) or matrix.dtype != torch.int64 or not matrix.is_contiguous():
        raise ValueError(f"{name} is an int64 matrix of shape {cut.shape(name)}, contiguous")
    return Layout(matrix.data_ptr(), *matrix.shape, *cut.block_shape(name), *cut.exponents(name))


def _assembled(cut: Cut, name: Name, values: Tensor) -> Tensor:
    """Of blocks [polynomials, wanted] a matrix."""
    (rows, columns), (height, width), across = cut.shape(name), cut.block_shape(name), cut.across(name)
    blocks = values.view(-1, across, height, width).transpose(1, 2)
    return blocks.reshape(-1, across * width)[:rows, :columns].contiguous()


def public_key_words() -> int:
    """Length of the message of step 0."""
    return SEED_WORDS + sum(PUBLIC_KEYS * N * bits_of(prime) // 32 for prime in range(_COUNT))


def request_words(cut: Cut) -> int:
    """Length of the message of step 1."""
    polynomials = sum(cut.polynomials(name) for name in cut.sizes.encrypted)
    return SEED_WORDS + sum(polynomials * N * bits_of(prime) // 32 for prime in range(_COUNT))


def answer_words(cut: Cut) -> int:
    """Length of the message of step 2."""
    words = 0
    for name in cut.sizes.products:
        count = cut.polynomials(name)
        wanted = _padded(count * math.prod(cut.block_shape(name)))
        words += sum((wanted + count * N) * bits_of(prime) // 32 for prime in range(cut.sizes.kept(name)))
    return words


class Encryptor:
    """The party with the key.

    Args:
        ring: of this process. random: of this party alone, for this object alone.
    """

    def __init__(self, ring: Ring, random: SecretStream) -> None:
        self._ring, self._random = ring, random
        secret = ring.small(random, "ternary", 1)
        self._key = torch.cat([ring.transformed(secret, prime) for prime in range(_COUNT)])

    def __repr__(self) -> str:
        return "Encryptor()"

    def public_keys(self) -> Tensor:
        """Step 0, int32 [public_key_words()]."""
        seed, ring = os.urandom(4 * SEED_WORDS), self._ring
        errors = ring.small(self._random, "errors", PUBLIC_KEYS)
        parts = [_seed_tensor(seed)]
        for prime in range(_COUNT):
            made = ring.transformed(errors, prime)
            uniform = ring.uniform(seed, "keys", prime, PUBLIC_KEYS)
            ring.call("rlwe_public", prime, uniform, self._key[prime], PUBLIC_KEYS, made)
            parts.append(ring.packed(made, prime))
        return torch.cat(parts)

    def request(self, cut: Cut, matrices: Mapping[Name, Tensor]) -> Tensor:
        """Step 1, int32 [request_words(cut)]. matrices: those of `Sizes.encrypted`, int64."""
        seed, ring, names = os.urandom(4 * SEED_WORDS), self._ring, cut.sizes.encrypted
        counts = [cut.polynomials(name) for name in names]
        errors = torch.split(ring.small(self._random, "errors", sum(counts)), counts)
        whole = modulus(0, _COUNT) % 2**64
        message, start = torch.empty(request_words(cut), dtype=torch.int32), SEED_WORDS
        message[:SEED_WORDS] = _seed_tensor(seed)
        for prime in range(_COUNT):
            for name, count, noise in zip(names, counts, errors, strict=True):
                a = ring.uniform(seed, name, prime, count)
                out = torch.empty(count * N, dtype=torch.int32)
                layout = _layout(cut, name, matrices[name])
                ring.checked("rlwe_encrypt", prime, ctypes.addressof(layout), whole, a, noise, self._key[prime], out)
                end = start + count * N * bits_of(prime) // 32
                ring.call("rlwe_pack", out, count * N, bits_of(prime), message[start:end])
                start = end
        return message

    def shares(self, cut: Cut, answer: Tensor) -> dict[Name, Tensor]:
        """Step 3: this party's shares of the products.

        Raises:
            ProtocolError: a number of the answer is out of range.
        """
        found: dict[Name, Tensor] = {}
        start, ring = 0, self._ring
        for name in cut.sizes.products:
            count, kept, places = cut.polynomials(name), cut.sizes.kept(name), cut.places(name)
            many = len(places)
            c0, c1 = torch.empty(kept, count * many, dtype=torch.int32), torch.empty(kept, count * N, dtype=torch.int32)
            for prime in range(kept):
                first, start = ring.unpacked(answer, start, (_padded(count * many),), prime)
                c0[prime] = first[: count * many]
                c1[prime], start = ring.unpacked(answer, start, (count * N,), prime)
            crt = np.array([pow(modulus(0, kept) // p, -1, p) for p in primes()[:kept]], np.uint32)
            values = torch.empty(count, many, dtype=torch.int64)
            ring.checked("rlwe_decrypt", kept, count, many, places, cut.skip(name), c0, c1, self._key, crt, values)
            found[name] = _assembled(cut, name, values)
        return found


class Evaluator:
    """The party that multiplies.

    Args:
        ring, random: as for the encryptor. keys: its message of step 0.

    Raises:
        ProtocolError: a number of it is out of range.
    """

    def __init__(self, ring: Ring, random: SecretStream, keys: Tensor) -> None:
        self._ring, self._random = ring, random
        seed, start = _seed_bytes(keys), SEED_WORDS
        self._keys: list[tuple[Tensor, Tensor]] = []
        for prime in range(_COUNT):
            first, start = ring.unpacked(keys, start, (PUBLIC_KEYS, N), prime)
            self._keys.append((first, ring.uniform(seed, "keys", prime, PUBLIC_KEYS)))

    def __repr__(self) -> str:
        return "Evaluator()"

    def answer(self, cut: Cut, matrices: Mapping[Name, Tensor], request: Tensor) -> tuple[Tensor, dict[Name, Tensor]]:
        """Step 2.

        Args:
            matrices: those of `Sizes.plain`, int64.

        Returns:
            the message, int32 [answer_words(cut)], and this party's shares.

        Raises:
            ProtocolError: a number of the request is out of range.
        """
        work = [_Product(self._ring, self._random, cut, name) for name in cut.sizes.products]
        starts = np.cumsum([SEED_WORDS] + [self._limb_words(cut, prime) for prime in range(_COUNT)])
        seed = _seed_bytes(request)
        for prime in reversed(range(_COUNT)):
            self._one_prime(cut, matrices, request, seed, prime, int(starts[prime]), work)
        return torch.cat([part for product in work for part in product.message()]), {p.name: p.own for p in work}

    def _limb_words(self, cut: Cut, prime: int) -> int:
        return sum(cut.polynomials(name) for name in cut.sizes.encrypted) * N * bits_of(prime) // 32

    def _one_prime(
        self,
        cut: Cut,
        matrices: Mapping[Name, Tensor],
        request: Tensor,
        seed: bytes,
        prime: int,
        start: int,
        work: Sequence[_Product],
    ) -> None:
        ring = self._ring
        encrypted: dict[Name, tuple[Tensor, Tensor]] = {}
        for name in cut.sizes.encrypted:
            count = cut.polynomials(name)
            first, start = ring.unpacked(request, start, (count * N,), prime)
            encrypted[name] = first, ring.uniform(seed, name, prime, count, chunked=True)
        plain: dict[Name, Tensor] = {}
        for name, matrix in matrices.items():
            plain[name] = torch.empty(cut.polynomials(name) * N, dtype=torch.int32)
            layout = _layout(cut, name, matrix)
            ring.checked("rlwe_encode", prime, ctypes.addressof(layout), plain[name])
        for product in work:
            product.one_prime(plain, encrypted, prime, self._keys[prime])


class _Product:
    """One of ar, sr, at at the evaluator: its sums, prime by prime, and its answer."""

    def __init__(self, ring: Ring, random: SecretStream, cut: Cut, name: Name) -> None:
        self.name, self._cut, self._ring = name, cut, ring
        self._count, self._kept, self._places = cut.polynomials(name), cut.sizes.kept(name), cut.places(name)
        self._many, dropped = len(self._places), _COUNT - self._kept
        masks = _draw(random, (torch.int64, (self._count, self._many)))
        self.own = _assembled(cut, name, masks).neg()  # not in place: it may be a view of the masks
        words = _draw(random, (torch.int32, (self._count * self._many,)))
        flood = (words & ((2 << FLOOD_BITS) - 1)).sub_(1 << FLOOD_BITS)
        self._added = [torch.empty(self._count * self._many, dtype=torch.int32) for _ in range(self._kept)]
        for prime, out in enumerate(self._added):
            ring.call("rlwe_added", prime, masks, flood, self._count * self._many, modulus(0, self._kept) % 2**64, out)
        self._ternary = ring.small(random, "ternary", -(-self._count // PUBLIC_KEYS))
        self._sums = torch.empty(2, self._count * N, dtype=torch.int32)
        self._rest0 = torch.empty(self._count * dropped * self._many, dtype=torch.int32)
        self._rest1 = torch.empty(self._count * dropped * N, dtype=torch.int32)
        self._out0 = [torch.zeros(_padded(self._count * self._many), dtype=torch.int32) for _ in range(self._kept)]
        self._out1 = [torch.empty(self._count * N, dtype=torch.int32) for _ in range(self._kept)]

    def one_prime(
        self,
        plain: Mapping[Name, Tensor],
        encrypted: Mapping[Name, tuple[Tensor, Tensor]],
        prime: int,
        keys: tuple[Tensor, Tensor],
    ) -> None:
        """Its sums mod one prime, and what becomes of them."""
        (a, b, k), count = self._cut.counts, self._count
        if self.name == "ar":
            self._multiply(prime, (plain["a"], a * b, b, 1), encrypted["r"], (b * k, k, 1), (count, k, 1), (a, b, k))
        elif self.name == "at":
            self._multiply(prime, (plain["a"], a * b, 1, b), encrypted["t"], (a * k, k, 1), (count, k, 1), (b, a, k))
        else:
            s, r = (plain["s"], a * k, k, 1), (plain["r"], b * k, k, 1)
            self._multiply(prime, s, encrypted["r"], (b * k, 1, k), (count, b, 1), (a, k, b))
            self._multiply(prime, r, encrypted["s"], (a * k, 1, k), (count, 1, b), (b, k, a), add=True)
        self._answer(prime, keys)

    def _multiply(
        self,
        prime: int,
        plain: tuple[Tensor, int, int, int],
        encrypted: tuple[Tensor, Tensor],
        strides: tuple[int, int, int],
        out: tuple[int, int, int],
        sizes: tuple[int, int, int],
        add: bool = False,
    ) -> None:
        left = Operand(plain[0].data_ptr(), *plain[1:])
        right = Operand(encrypted[0].data_ptr(), *strides)
        into = Operand(self._sums[0].data_ptr(), *out)
        first = ctypes.addressof(left), ctypes.addressof(right), encrypted[1]
        self._ring.call("rlwe_products", prime, *first, ctypes.addressof(into), self._sums[1], int(add), *sizes)

    def _answer(self, prime: int, keys: tuple[Tensor, Tensor]) -> None:
        kept, p = self._kept, primes()[prime]
        dropped = modulus(kept, _COUNT)
        u = self._ring.transformed(self._ternary, prime)
        last = min(prime, kept - 1)  # the dropped primes write no answer
        a = Answers(self._count, PUBLIC_KEYS, self._many, kept, self._cut.skip(self.name))
        addresses: dict[str, Tensor] = {
            "s0": self._sums[0], "s1": self._sums[1], "k0": keys[0], "k1": keys[1], "u": u, "dropped0": self._rest0,
            "dropped1": self._rest1, "out0": self._out0[last], "out1": self._out1[last], "added": self._added[last],
        }  # fmt: skip
        for field, tensor in addresses.items():
            setattr(a, field, tensor.data_ptr())
        a.useful = self._places.ctypes.data
        weights = [0] * MOST
        for at in range(kept, _COUNT):
            others = dropped // primes()[at]
            weights[at] = pow(others, -1, primes()[at]) if at == prime else others % p
        a.weights = (ctypes.c_uint32 * MOST)(*weights)
        a.inverse = pow(dropped, -1, p) if prime < kept else 0
        self._ring.checked("rlwe_answer", prime, ctypes.addressof(a))

    def message(self) -> list[Tensor]:
        """Its part of the answer."""
        return [
            part
            for prime in range(self._kept)
            for part in (self._ring.packed(self._out0[prime], prime), self._ring.packed(self._out1[prime], prime))
        ]


def _seed_tensor(seed: bytes) -> Tensor:
    return torch.frombuffer(bytearray(seed), dtype=torch.int32)


def _seed_bytes(message: Tensor) -> bytes:
    return message[:SEED_WORDS].numpy().tobytes()
