"""Products of masks that two parties hold, without a dealer: the encryptor has R, S and T, the evaluator A, R' and S'.

    ar = A R [n, h]        sr = S' R^T + S R'^T [n, f]        at = A^T T [f, h]

Sources: one-sided products with coefficient packing, Huang et al. 2022 (Cheetah), section 4; BFV mod 2^64, Fan and
Vercauteren 2012; circuit privacy by flooding, Gentry 2009, and by a fresh encryption of zero.

Steps
    0. once: the encryptor sends public keys, RLWE samples e - a s with the a from a seed; and keys for packing, where
       answers are to be packed.
    1. encryptor -> evaluator: R, S and T under its key, fresh errors, and the seed of their a.
    2. the evaluator multiplies by its polynomials and adds up, and packs (packing.py); to each answer it adds an
       encryption of zero (u times a public key, u fresh and ternary), and to each wanted coefficient a fresh mask mod
       2^64; drops primes; and adds a flood to each wanted coefficient. It sends what is left, of c0 the wanted
       coefficients alone. Its share is the mask with a minus.
    3. the encryptor decrypts: its share.
Who learns what: the evaluator sees ciphertexts and public keys (RLWE). The encryptor sees shares under fresh masks;
    what the noise says of A, R' and S' is flooded (`parameters.distance`), c1 is an RLWE sample under u, rounded. The
    mask joins before primes are dropped: what is rounded then is a number that the encryptor knows, up to the noise.
    A mask that joined after it would be rounded by itself, and the two roundings add up to one more if the fraction
    that the mask lost is large: too little for a flood of 2^FLOOD_BITS to hide within 2^-40.
Exact: mod 2^64, all three. An answer of fewer bits would leave the remainders of c1, which the evaluator has, times the
    key in the encryptor's share.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.rlwe.blocks import Cut, Name
from amint_mpc.mpc.rlwe.native import MOST, Answers
from amint_mpc.mpc.rlwe.packing import Ciphertexts, Packing, add_turned
from amint_mpc.mpc.rlwe.parameters import (
    DIGITS,
    FLOOD_BITS,
    GALOIS_KEYS,
    KEPT,
    PUBLIC_KEYS,
    N,
    bits_of,
    modulus,
    primes,
)
from amint_mpc.mpc.rlwe.ring import SEED_WORDS, Ring, draw, layout_of, seed_bytes, seed_tensor

_COUNT = len(primes())


def _padded(count: int) -> int:
    return -(-count // 8) * 8


def _assembled(cut: Cut, name: Name, values: Tensor) -> Tensor:
    """Of blocks [polynomials, wanted] a matrix."""
    (rows, columns), (height, width), across = cut.shape(name), cut.block_shape(name), cut.across(name)
    blocks = values.view(-1, across, height, width).transpose(1, 2)
    return blocks.reshape(-1, across * width)[:rows, :columns].contiguous()


def public_key_words(packed: bool = False) -> int:
    """Length of the message of step 0."""
    return SEED_WORDS + sum(_keys(packed) * N * bits_of(prime) // 32 for prime in range(_COUNT))


def _keys(packed: bool) -> int:
    return PUBLIC_KEYS + (GALOIS_KEYS * DIGITS if packed else 0)


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
        words += sum((wanted + count * N) * bits_of(prime) // 32 for prime in range(KEPT))
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

    def public_keys(self, packed: bool = False) -> Tensor:
        """Step 0, int32 [public_key_words(packed)]. packed: whether answers are to be packed."""
        seed, ring, count = os.urandom(4 * SEED_WORDS), self._ring, _keys(packed)
        errors = ring.small(self._random, "errors", count)
        parts = [seed_tensor(seed)]
        for prime in range(_COUNT):
            made = ring.transformed(errors, prime)
            uniform = ring.uniform(seed, "keys", prime, count)
            ring.call("rlwe_public", prime, uniform, self._key[prime], count, made)
            if packed:
                add_turned(ring, self._key[prime], prime, made[PUBLIC_KEYS:])
            parts.append(ring.packed(made, prime))
        return torch.cat(parts)

    def request(self, cut: Cut, matrices: Mapping[Name, Tensor]) -> Tensor:
        """Step 1, int32 [request_words(cut)]. matrices: those of `Sizes.encrypted`, int64."""
        seed, ring, names = os.urandom(4 * SEED_WORDS), self._ring, cut.sizes.encrypted
        counts = [cut.polynomials(name) for name in names]
        errors = torch.split(ring.small(self._random, "errors", sum(counts)), counts)
        whole = modulus(0, _COUNT) % 2**64
        message, start = torch.empty(request_words(cut), dtype=torch.int32), SEED_WORDS
        message[:SEED_WORDS] = seed_tensor(seed)
        for prime in range(_COUNT):
            for name, count, noise in zip(names, counts, errors, strict=True):
                a = ring.uniform(seed, name, prime, count)
                out = torch.empty(count * N, dtype=torch.int32)
                layout = layout_of(cut, name, matrices[name])
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
            count, places = cut.polynomials(name), cut.places(name)
            many = len(places)
            c0, c1 = torch.empty(KEPT, count * many, dtype=torch.int32), torch.empty(KEPT, count * N, dtype=torch.int32)
            for prime in range(KEPT):
                first, start = ring.unpacked(answer, start, (_padded(count * many),), prime)
                c0[prime] = first[: count * many]
                _, start = ring.unpacked(answer, start, (count * N,), prime, c1[prime])
            crt = np.array([pow(modulus(0, KEPT) // p, -1, p) for p in primes()[:KEPT]], np.uint32)
            values = torch.empty(count, many, dtype=torch.int64)
            ring.checked("rlwe_decrypt", KEPT, count, many, places, cut.skip(name), c0, c1, self._key, crt, values)
            found[name] = _assembled(cut, name, values)
        return found


class Evaluator:
    """The party that multiplies.

    Args:
        ring, random: as for the encryptor. keys: its message of step 0. packed: whether there are keys for packing.

    Raises:
        ProtocolError: a number of it is out of range.
    """

    def __init__(self, ring: Ring, random: SecretStream, keys: Tensor, packed: bool = False) -> None:
        self._ring, self._random = ring, random
        seed, start, count = seed_bytes(keys), SEED_WORDS, _keys(packed)
        found: list[Ciphertexts] = []
        for prime in range(_COUNT):
            first, start = ring.unpacked(keys, start, (count, N), prime)
            found.append((first, ring.uniform(seed, "keys", prime, count)))
        self._keys = [(first[:PUBLIC_KEYS].clone(), second[:PUBLIC_KEYS].clone()) for first, second in found]
        self._packing: Packing | None = None
        if packed:
            self._packing = Packing(ring, [(first[PUBLIC_KEYS:], second[PUBLIC_KEYS:]) for first, second in found])

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
        seed, packed = seed_bytes(request), None
        if cut.levels:
            if self._packing is None:
                raise ValueError("answers are packed with keys for it")
            r = [self._encrypted(cut, request, seed, prime, int(starts[prime]))["r"] for prime in range(_COUNT)]
            packed = self._packing.products(cut, matrices["a"], r)
        for prime in reversed(range(_COUNT)):
            if packed is not None:
                work[0].answer(prime, packed[prime], self._keys[prime])
                continue
            encrypted = self._encrypted(cut, request, seed, prime, int(starts[prime]))
            plain = {name: self._ring.encoded(cut, name, matrices[name], prime) for name in cut.sizes.plain}
            for product in work:
                product.one_prime(plain, encrypted, prime, self._keys[prime])
        message, own, end = torch.empty(answer_words(cut), dtype=torch.int32), {p.name: p.own for p in work}, 0
        while work:  # what has been written is let go
            end = work.pop(0).write(message, end)
        return message, own

    def _limb_words(self, cut: Cut, prime: int) -> int:
        return sum(cut.polynomials(name) for name in cut.sizes.encrypted) * N * bits_of(prime) // 32

    def _encrypted(self, cut: Cut, request: Tensor, seed: bytes, prime: int, start: int) -> dict[Name, Ciphertexts]:
        """What came, mod one prime, "chunked"."""
        found: dict[Name, Ciphertexts] = {}
        for name in cut.sizes.encrypted:
            count = cut.polynomials(name)
            first, start = self._ring.unpacked(request, start, (count * N,), prime)
            found[name] = first, self._ring.uniform(seed, name, prime, count, chunked=True)
        return found


class _Product:
    """One of ar, sr, at at the evaluator: its sums, prime by prime, and its answer."""

    def __init__(self, ring: Ring, random: SecretStream, cut: Cut, name: Name) -> None:
        self.name, self._cut, self._ring = name, cut, ring
        self._count, self._places = cut.polynomials(name), cut.places(name)
        self._many = len(self._places)
        self._masks = draw(random, (torch.int64, (self._count, self._many)))
        self.own = _assembled(cut, name, self._masks).neg()  # not in place: it may be a view of the masks
        words = draw(random, (torch.int32, (self._count * self._many,)))
        self._flood = (words & ((2 << FLOOD_BITS) - 1)).sub_(1 << FLOOD_BITS)
        self._ternary = ring.small(random, "ternary", -(-self._count // PUBLIC_KEYS))
        self._sums = torch.empty(2, self._count * N, dtype=torch.int32)
        self._out0 = torch.zeros(KEPT, _padded(self._count * self._many), dtype=torch.int32)
        self._out1 = torch.empty(KEPT, self._count * N, dtype=torch.int32)

    def one_prime(
        self,
        plain: Mapping[Name, Tensor],
        encrypted: Mapping[Name, Ciphertexts],
        prime: int,
        keys: Ciphertexts,
    ) -> None:
        """Its sums mod one prime, and what becomes of them."""
        (a, b, k), count, products, sums = self._cut.counts, self._count, self._ring.products, self._sums
        if self.name == "ar":
            products(prime, (plain["a"], a * b, b, 1), encrypted["r"], (b * k, k, 1), (count, k, 1), (a, b, k), sums)
        elif self.name == "at":
            products(prime, (plain["a"], a * b, 1, b), encrypted["t"], (a * k, k, 1), (count, k, 1), (b, a, k), sums)
        else:
            s, r = (plain["s"], a * k, k, 1), (plain["r"], b * k, k, 1)
            products(prime, s, encrypted["r"], (b * k, 1, k), (count, b, 1), (a, k, b), sums)
            products(prime, r, encrypted["s"], (a * k, 1, k), (count, 1, b), (b, k, a), sums, add=True)
        self.answer(prime, sums, keys)

    def answer(self, prime: int, sums: Tensor, keys: Ciphertexts) -> None:
        """What becomes of the sums mod one prime; the dropped ones come first."""
        p, dropped = primes()[prime], modulus(KEPT, _COUNT)
        u = self._ring.transformed(self._ternary, prime)
        mask = torch.empty(self._masks.numel(), dtype=torch.int32)
        self._ring.call("rlwe_mask", prime, self._masks, self._masks.numel(), modulus(0, _COUNT) % 2**64, mask)
        a = Answers(self._count, PUBLIC_KEYS, self._many, self._out0.shape[1], KEPT, self._cut.skip(self.name))
        addresses: dict[str, Tensor] = {
            "s0": sums[0], "s1": sums[1], "k0": keys[0], "k1": keys[1], "u": u, "out0": self._out0, "out1": self._out1,
            "mask": mask, "flood": self._flood,
        }  # fmt: skip
        for field, tensor in addresses.items():
            setattr(a, field, tensor.data_ptr())
        a.useful = self._places.ctypes.data
        others = dropped // p if prime >= KEPT else dropped
        a.weights = (ctypes.c_uint32 * MOST)(*(others % primes()[at] for at in range(KEPT)))
        a.inverse = pow(others, -1, p)
        self._ring.checked("rlwe_answer", prime, ctypes.addressof(a))

    def write(self, message: Tensor, start: int) -> int:
        """Put its part of the answer into the message. Returns where it ends."""
        for prime, *parts in zip(range(KEPT), self._out0, self._out1, strict=True):
            for words in parts:
                end = start + words.numel() * bits_of(prime) // 32
                self._ring.call("rlwe_pack", words, words.numel(), bits_of(prime), message[start:end])
                start = end
        return start
