"""ReLU and the dot product behind it: z = ReLU(Y) w2 + b2 and its gradients, from a single opening of Y.

Y [n, h], w2 [h] and the error g [n] are additively shared, with Y_BITS, W2_BITS and G_BITS fractional bits
(fixed_point.py). Sources: comparison of a public with a dealt number by chunks (Rathee et al. 2020, CrypTFlow2, section
3.1, with one-time tables, Ishai et al. 2013, instead of oblivious transfer); a wide gate opens the masked inputs of a
Boolean formula once and evaluates it on dealt products of masks (ABY2.0, Patra et al. 2021, multi-input gates; here
over Z_2).

Steps
    1. open c = Y + r and c2 = w2 - rho.
    2. s = [Y >= 0] is decided in a window of 24 bits, LOW_BIT to LOW_BIT + 23 (`sign`): every bit above is the sign as
       well while |y| < SIGN_LIMIT, and what lies below is less than 2^-12. Six chunks of 4 bits: a party's XOR
       shares of "less" and "equal" (in the top chunk: of the sign without and with a borrow from below) stand in dealt
       tables at the public chunk of c. Open the ten masked bits; the gate gives XOR shares of s (the formula: `sign`).
    3. open v = s xor beta. Then s = v + (1 - 2 v) beta, and with Y = c - r the values A = s Y are public polynomials in
       dealt products of (beta, r).
    4. open o = A - M. With A = o + M and w2 = c2 + rho, z = A w2 needs the shares of M rho alone, one number a row.
    5. backward: open e = g - gamma. For each block of rows dw2 = sum_i g A follows in the same way from gamma^T M, and
       dY = g s w2 from products of (beta, gamma, rho).
Who learns what: c, c2, the gate's masked bits, v, o and e are uniform at both.
Exact: for -SIGN_LIMIT <= y <= SIGN_LIMIT - 2^-12 (fixed_point.py), s is right for y >= 0 and for y <= -2^-12 (masks
that two parties made by digits: -2^-11); in between, the carry of the dropped bits may make it 1. Given s, all results
are exact in the ring.
Rounds: 4 forward, 1 backward. The round of step 4 saves masks of n h products of three numbers, for which two parties
would send 32 MB more a step of 128 x 128 entries.
Bytes, each party: 16 n h + 8 h + 2 n h + n h / 8 forward, 8 n backward.
Dealer: 34 n h for the sign, 16 n h + 8 n for the logits, 32 n h + 8 h for the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_mpc.limits import blocks
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Material
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.rounds import InRounds, Opened, Rounds


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
            "table": Field((sign.UPPER, n, h), torch.int32, corrected=True),
            "lowest": Field((n, h), torch.int16, corrected=True),
            "gate_mask": Field((n, h), torch.int16),
            "gate_words": Field((n, h, sign.WORDS), torch.int32, corrected=True),
            "flip": Field((-(-n * h // 8),), torch.uint8),
            "beta": product,
            "beta_r": product,
            "m": Field((n, h)),
            "m_rho": Field((n,), corrected=True),
        }
        if self.training:
            fields |= {
                "gamma": Field((n,)),
                "gamma_m": Field((blocks(n), h), corrected=True),
                "beta_rho": product,
                "gamma_beta": product,
                "gamma_rho": product,
                "gamma_beta_rho": product,
            }
        return fields

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        r = developer["r"] + auditor["r"]
        rho = developer["rho"] + auditor["rho"]
        table, lowest = sign.tables(r)
        words = sign.mask_products(developer["gate_mask"] ^ auditor["gate_mask"])
        made = {
            "table": table.bitwise_xor_(auditor["table"]),
            "lowest": lowest.bitwise_xor_(auditor["lowest"]),
            "gate_words": words.bitwise_xor_(auditor["gate_words"]),
        }
        beta = sign.unpack(developer["flip"] ^ auditor["flip"], (self.rows, self.hidden)).long()
        all_ones = -beta  # where beta is 1, to multiply by it
        m = developer["m"] + auditor["m"]
        products = {"beta": beta, "beta_r": all_ones & r, "m_rho": (m * rho).sum(dim=1)}
        if self.training:
            gamma = (developer["gamma"] + auditor["gamma"])[:, None]
            gamma_rho = gamma * rho
            products |= {
                "gamma_m": block_sums(gamma * m),
                "beta_rho": all_ones & rho,
                "gamma_beta": all_ones & gamma,
                "gamma_rho": gamma_rho,
                "gamma_beta_rho": all_ones & gamma_rho,
            }
        return made | {key: value.sub_(auditor[key]) for key, value in products.items()}


@dataclass(frozen=True, repr=False)
class Forward:
    """What a party has after step 4.

    Args:
        z: share of ReLU(Y) w2, [n], fixed_point.Z_BITS.
        o, c2: A - M [n, h] and w2 - rho [h], opened. v: s xor beta, opened, bool [n, h].
    """

    material: Material
    z: Tensor
    o: Tensor
    c2: Tensor
    v: Tensor


def forward(
    rounds: Rounds,
    masks: ReluMasks,
    material: Material,
    y: Tensor,
    w2: Tensor,
    c: Opened | None = None,
    c2: Opened | None = None,
) -> InRounds[Forward]:
    """Steps 1 to 4.

    Args:
        y: share, [n, h]. w2: share, [h].
        c, c2: where Y + r and w2 - rho are put, if another protocol goes on from them.
    """
    m, first = material, _first(rounds)
    # step 1
    opened, opened_w2 = rounds.open(y + m["r"], c), rounds.open(w2 - m["rho"], c2)
    yield
    # step 2: the masked inputs of the gate
    at, cw = opened.value, opened_w2.value
    bits, plain = sign.gate_inputs(at, m["table"], m["lowest"])
    gate = rounds.open_bits(bits ^ (m["gate_mask"] & (2**sign.INPUTS - 1)))
    yield
    # step 3: s = [Y >= 0] under the one-time bit beta
    negative = plain ^ sign.gate_output(gate.value, m["gate_words"])
    masked_sign = rounds.open_bits(sign.pack(negative ^ first) ^ m["flip"])
    yield
    v = sign.unpack(masked_sign.value, (masks.rows, masks.hidden))
    # step 4: A = s Y, with Y = c - r
    activation = _chosen(v, first * at - m["r"], (m["beta"] * at).sub_(m["beta_r"]))
    masked = rounds.open(activation - m["m"])
    yield
    o = masked.value
    z = (o * (first * cw + m["rho"])).addcmul_(m["m"], cw).sum(dim=1).add_(m["m_rho"])
    return Forward(m, z, o, cw, v)


def backward(rounds: Rounds, layer: Forward, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
    """Step 5.

    Args:
        g: share of the gradient with respect to z, [n], fixed_point.G_BITS.

    Returns:
        shares of dY = g s w2 [n, h], fixed_point.DY_BITS, and of each block's dw2 = sum_i g s Y [blocks, h],
        fixed_point.DW2_BITS.
    """
    m, o, c2, v, first = layer.material, layer.o, layer.c2, layer.v, _first(rounds)
    # step 5
    opened = rounds.open(g - m["gamma"])
    yield
    e, gamma = opened.value[:, None], m["gamma"][:, None]
    dw2 = block_sums((first * e + gamma) * o + e * m["m"]).add_(m["gamma_m"])
    # g s w2 = s (e + gamma) (c2 + rho)
    gw = (first * e + gamma) * c2 + e * m["rho"] + m["gamma_rho"]
    beta_gw = m["beta"] * (e * c2) + m["gamma_beta"] * c2 + e * m["beta_rho"] + m["gamma_beta_rho"]
    return _chosen(v, gw, beta_gw), dw2


def block_sums(x: Tensor) -> Tensor:
    """[n, h] -> [blocks, h]: sums over the rows of each block (`amint_mpc.limits.blocks`)."""
    count = blocks(len(x))
    return torch.stack([x[i::count].sum(dim=0) for i in range(count)])


def _first(rounds: Rounds) -> int:
    """1 at the party that adds the public terms."""
    return 1 if rounds.party == DEVELOPER else 0


def _chosen(v: Tensor, x: Tensor, beta_x: Tensor) -> Tensor:
    """Share of s x, of shares of x and beta x: s = v + (1 - 2 v) beta, so it is x - beta x where v is 1."""
    return torch.where(v, x - beta_x, beta_x)
