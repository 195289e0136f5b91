"""ReLU and the dot product behind it: z = ReLU(Y) w2 + b2 and its gradients, from a single opening of Y.

Y [n, h] (38 fractional bits), w2 [h] (14) and the error g [n] (12) are additively shared. Sources: comparison of a
public with a dealt number by chunks (Rathee et al. 2020, CrypTFlow2, section 3.1, with one-time tables, Ishai et al.
2013, instead of oblivious transfer); a wide gate opens the masked inputs of a Boolean formula once and
evaluates it on dealt products of masks (ABY2.0, Patra et al. 2021, multi-input gates; here over Z_2).

Steps
    1. open c = Y + r and c2 = w2 - rho.
    2. s = [Y >= 0] is decided in a window of 24 bits, LOW_BIT to LOW_BIT + 23: every bit above is the sign as well
       while |y| < 128, and what lies below is less than 2^-16. Six chunks of 4 bits: a party's XOR shares of "less"
       and "equal" (in the top chunk: of the sign without and with a borrow from below) stand in dealt tables at the
       public chunk of c. Open the ten masked bits; the gate gives XOR shares of s.
    3. open v = s xor beta. Then s = v + (1 - 2 v) beta, and with Y = c - r the products s w2, s Y and
       z = sum_j s Y w2 are public polynomials in dealt products of (beta, r, rho): no further opening.
    4. backward: open e = g - gamma. dY = g s w2 and dw2 = sum_i g s Y follow in the same way.
Who learns what: c, c2, the gate's masked bits, v and e are uniform at both.
Exact: for -128 <= y <= 128 - 2^-16, s is right for y >= 0 and for y <= -2^-16; in between, the carry of the dropped
bits may make it 1. Given s, all results are exact in the ring.
Rounds: 3 forward, 1 backward. Bytes, each party: 8 n h + 8 h + 2 n h + n h / 8 forward, 8 n backward.
Dealer: 40 n h for the sign, 40 n h for the logits, 40 n h for the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc.correlations.base import DEVELOPER, Field, Material
from amint_mpc.mpc.fixed_point import Y_BITS
from amint_mpc.mpc.rounds import Opened, Rounds

LOW_BIT = Y_BITS - 16
_CHUNKS = 6
_SHIFTS = torch.tensor([LOW_BIT + 4 * i for i in range(_CHUNKS)])[:, None, None]


def _signed32(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x


def _chunk_tables() -> tuple[Tensor, Tensor]:
    """For each value r of a dealt chunk, a table over the public chunk c: bits 16 + c and c of a 32-bit word.

    Lower chunks: [c < r] and [c = r]. Top chunk: bit 3 of c - r, and whether a borrow changes it.
    """
    lower, top = [], []
    for r in range(16):
        word = sum((c < r) << (16 + c) | (c == r) << c for c in range(16))
        lower.append(_signed32(word))
        plain = [((c - r) & 15) >> 3 for c in range(16)]
        borrowed = [((c - r - 1) & 15) >> 3 for c in range(16)]
        word = sum(plain[c] << (16 + c) | (plain[c] ^ borrowed[c]) << c for c in range(16))
        top.append(_signed32(word))
    return torch.tensor(lower, dtype=torch.int32), torch.tensor(top, dtype=torch.int32)


# The formula for "negative", beside the top chunk's plain bit:
#   E (lt4 ^ eq4 (lt3 ^ eq3 (lt2 ^ eq2 (lt1 ^ eq1 lt0)))),  E: a borrow would change the sign.
# Inputs by bit: E 0, lt4 1, eq4 2, lt3 3, eq3 4, lt2 5, eq2 6, lt1 7, eq1 8, lt0 9. Terms of its normal form:
_INPUTS = 10
_TERMS = (0b11, 0b1101, 0b110101, 0b11010101, 0b1101010101)


def _gate_tables() -> tuple[Tensor, Tensor]:
    """For each value of the ten bits: which monomials of masks count, and which monomials are one. [1024, 2] words.

    With x = d ^ m, the product of x over a term T is the sum over S in T of d over T - S times m over S.
    """
    monomials = sorted({s for term in _TERMS for s in range(2**_INPUTS) if s & ~term == 0})
    assert len(monomials) <= 128
    values = np.arange(2**_INPUTS)
    counts = np.zeros((2**_INPUTS, 128), dtype=np.uint8)
    ones = np.zeros((2**_INPUTS, 128), dtype=np.uint8)
    for k, s in enumerate(monomials):
        ones[:, k] = (values & s) == s
        for term in _TERMS:
            if s & ~term == 0:
                counts[:, k] ^= (values & (term & ~s)) == (term & ~s)
    words = [torch.from_numpy(np.packbits(t, axis=1).view(np.int64).copy()) for t in (counts, ones)]
    return words[0], words[1]


_LOWER, _TOP = _chunk_tables()
_COUNTS, _ONES = _gate_tables()


def _parity(words: Tensor) -> Tensor:
    """[..., 2] words -> [...] parity of all their bits, int64."""
    x = words[..., 0] ^ words[..., 1]
    for shift in (32, 16, 8, 4, 2, 1):
        x = x ^ (x >> shift)
    return x & 1


def _pack(bits: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(bits.to(torch.uint8).numpy(), axis=None))


def _unpack(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    flat = np.unpackbits(packed.numpy(), count=shape[0] * shape[1])
    return torch.from_numpy(flat).long().reshape(shape)


@dataclass(frozen=True)
class ReluMasks:
    """Masks of Y, w2 and g, the tables and gate words of the comparison, and the products of masks."""

    rows: int
    hidden: int
    training: bool = True

    @property
    def fields(self) -> Mapping[str, Field]:
        n, h = self.rows, self.hidden
        product = Field((n, h), corrected=True)
        fields = {
            "r": Field((n, h)),
            "rho": Field((h,)),
            "table": Field((_CHUNKS, n, h), torch.int32, corrected=True),
            "gate_mask": Field((n, h), torch.int16),
            "gate_words": Field((n, h, 2), corrected=True),
            "flip": Field((-(-n * h // 8),), torch.uint8),
            "beta": product,
            "beta_r": product,
            "beta_rho": product,
            "r_rho": product,
            "beta_r_rho": product,
        }
        if self.training:
            fields |= {
                "gamma": Field((n,)),
                "gamma_beta": product,
                "gamma_rho": product,
                "gamma_beta_rho": product,
                "gamma_r": product,
                "gamma_beta_r": product,
            }
        return fields

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        rho = developer["rho"] + auditor["rho"]
        chunks = (r >> _SHIFTS) & 15
        table = torch.cat([_LOWER[chunks[:-1]], _TOP[chunks[-1:]]])
        mask = (developer["gate_mask"] ^ auditor["gate_mask"]).long() & (2**_INPUTS - 1)
        beta = _unpack(developer["flip"] ^ auditor["flip"], (self.rows, self.hidden))
        products = {"beta": beta, "beta_r": beta * r, "beta_rho": beta * rho, "r_rho": r * rho}
        products["beta_r_rho"] = beta * products["r_rho"]
        if self.training:
            gamma = (developer["gamma"] + auditor["gamma"])[:, None]
            products |= {
                "gamma_beta": gamma * beta,
                "gamma_rho": gamma * rho,
                "gamma_beta_rho": gamma * products["beta_rho"],
                "gamma_r": gamma * r,
                "gamma_beta_r": gamma * products["beta_r"],
            }
        made = {key: value - auditor[key] for key, value in products.items()}
        made["table"] = table ^ auditor["table"]
        made["gate_words"] = _ONES[mask] ^ auditor["gate_words"]
        return made


class ReluDot:
    """One step of the protocol, at one party."""

    def __init__(self, rounds: Rounds, masks: ReluMasks, material: Material) -> None:
        self._rounds, self._m = rounds, material
        self._shape = (masks.rows, masks.hidden)
        self._first = 1 if rounds.party == DEVELOPER else 0  # who adds the public terms

    def post(self, y: Tensor, w2: Tensor) -> Opened:
        """Step 1. y: share, [n, h]. w2: share, [h]. Returns c2 = w2 - rho."""
        self._opened_y = self._rounds.open(y + self._m["r"])
        self._opened_w2 = self._rounds.open(w2 - self._m["rho"])
        return self._opened_w2

    def post_chunks(self) -> None:
        """Step 2: the masked inputs of the gate."""
        nibbles = ((self._opened_y.value >> _SHIFTS) & 15).to(torch.int32)
        found = (self._m["table"] >> nibbles) & 0x00010001
        self._plain_sign = (found[5] >> 16).long()
        bits = found[5] & 1
        for position, chunk in ((1, 4), (3, 3), (5, 2), (7, 1)):
            both = (found[chunk] >> 16) | (found[chunk] << 1)  # lt, then eq; the spare bit 17 is cut off below
            bits |= (both & 3) << position
        bits |= (found[0] >> 16) << 9
        mask = self._m["gate_mask"] & (2**_INPUTS - 1)
        self._opened_bits = self._rounds.open_bits(bits.to(torch.int16) ^ mask)

    def post_sign(self) -> None:
        """Step 3: s = [Y >= 0] under the one-time bit beta."""
        opened = self._opened_bits.value.long() & (2**_INPUTS - 1)  # a peer may send any 16 bits
        counted = _COUNTS[opened] & self._m["gate_words"]
        sign = self._plain_sign ^ _parity(counted) ^ self._first
        self._opened_sign = self._rounds.open_bits(_pack(sign) ^ self._m["flip"])

    def logits(self) -> Tensor:
        """Share of ReLU(Y) w2, [n], 52 fractional bits."""
        m, c = self._m, self._opened_y.value
        self._v = _unpack(self._opened_sign.value, self._shape)
        self._sign = 1 - 2 * self._v
        v, sign, c2 = self._v, self._sign, self._opened_w2.value
        # s w2 and s r w2, with s = v + sign * beta, w2 = c2 + rho
        self._sw = v * (self._first * c2 + m["rho"]) + sign * (m["beta"] * c2 + m["beta_rho"])
        srw = v * (m["r"] * c2 + m["r_rho"]) + sign * (m["beta_r"] * c2 + m["beta_r_rho"])
        return (c * self._sw - srw).sum(dim=1)

    def post_error(self, g: Tensor) -> None:
        """Step 4. g: share of the gradient by z, [n], 12 fractional bits."""
        self._opened_g = self._rounds.open(g - self._m["gamma"])

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Shares of dY = g s w2 [n, h] (26 fractional bits) and dw2 = sum_i g s Y [h] (50)."""
        m, c = self._m, self._opened_y.value
        v, sign, c2 = self._v, self._sign, self._opened_w2.value
        e = self._opened_g.value[:, None]
        gamma = m["gamma"][:, None]
        dy = e * self._sw + v * (gamma * c2 + m["gamma_rho"]) + sign * (m["gamma_beta"] * c2 + m["gamma_beta_rho"])
        h = v * (self._first * c - m["r"]) + sign * (m["beta"] * c - m["beta_r"])
        gh = e * h + v * (gamma * c - m["gamma_r"]) + sign * (m["gamma_beta"] * c - m["gamma_beta_r"])
        return dy, gh.sum(dim=0)
