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
    3. open v = s xor beta. Then s = v + (1 - 2 v) beta, and with Y = c - r the products s w2, s Y and
       z = sum_j s Y w2 are public polynomials in dealt products of (beta, r, rho): no further opening.
    4. backward: open e = g - gamma. dY = g s w2 and, for each block of rows, dw2 = sum_i g s Y follow in the same way.
Who learns what: c, c2, the gate's masked bits, v and e are uniform at both.
Exact: for -SIGN_LIMIT <= y <= SIGN_LIMIT - 2^-12 (fixed_point.py), s is right for y >= 0 and for y <= -2^-12; in
between, the carry of the dropped bits may make it 1. Given s, all results are exact in the ring.
Rounds: 3 forward, 1 backward. Bytes, each party: 8 n h + 8 h + 2 n h + n h / 8 forward, 8 n backward.
Dealer: 34 n h for the sign, 40 n h for the logits, 40 n h for the gradients.
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
        table, lowest = sign.tables(r)
        words = sign.mask_products(developer["gate_mask"] ^ auditor["gate_mask"])
        made = {
            "table": table.bitwise_xor_(auditor["table"]),
            "lowest": lowest.bitwise_xor_(auditor["lowest"]),
            "gate_words": words.bitwise_xor_(auditor["gate_words"]),
        }
        beta = sign.unpack(developer["flip"] ^ auditor["flip"], (self.rows, self.hidden)).long()
        all_ones = -beta  # where beta is 1, to multiply by it
        r_rho = r * rho
        products = {
            "beta": beta,
            "beta_r": all_ones & r,
            "beta_rho": all_ones & rho,
            "r_rho": r_rho,
            "beta_r_rho": all_ones & r_rho,
        }
        if self.training:
            gamma = (developer["gamma"] + auditor["gamma"])[:, None]
            gamma_rho, gamma_r = gamma * rho, gamma * r
            products |= {
                "gamma_beta": all_ones & gamma,
                "gamma_rho": gamma_rho,
                "gamma_beta_rho": all_ones & gamma_rho,
                "gamma_r": gamma_r,
                "gamma_beta_r": all_ones & gamma_r,
            }
        return made | {key: value.sub_(auditor[key]) for key, value in products.items()}


@dataclass(frozen=True, repr=False)
class Forward:
    """What a party has after step 3.

    Args:
        z: share of ReLU(Y) w2, [n], fixed_point.Z_BITS.
        c, c2: Y + r [n, h] and w2 - rho [h], opened. v: s xor beta, opened, bool [n, h]. sw: share of s w2, [n, h].
    """

    material: Material
    z: Tensor
    c: Tensor
    c2: Tensor
    v: Tensor
    sw: Tensor


def forward(
    rounds: Rounds,
    masks: ReluMasks,
    material: Material,
    y: Tensor,
    w2: Tensor,
    c: Opened | None = None,
    c2: Opened | None = None,
) -> InRounds[Forward]:
    """Steps 1 to 3.

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
    # s w2 and s r w2, with w2 = c2 + rho
    sw = _chosen(v, first * cw + m["rho"], torch.addcmul(m["beta_rho"], m["beta"], cw))
    srw = _chosen(v, torch.addcmul(m["r_rho"], m["r"], cw), torch.addcmul(m["beta_r_rho"], m["beta_r"], cw))
    return Forward(m, (at * sw).sub_(srw).sum(dim=1), at, cw, v, sw)


def backward(rounds: Rounds, layer: Forward, g: Tensor) -> InRounds[tuple[Tensor, Tensor]]:
    """Step 4.

    Args:
        g: share of the gradient with respect to z, [n], fixed_point.G_BITS.

    Returns:
        shares of dY = g s w2 [n, h], fixed_point.DY_BITS, and of each block's dw2 = sum_i g s Y [blocks, h],
        fixed_point.DW2_BITS.
    """
    m, c, c2, v = layer.material, layer.c, layer.c2, layer.v
    # step 4
    opened = rounds.open(g - m["gamma"])
    yield
    e, gamma = opened.value[:, None], m["gamma"][:, None]
    # gamma s w2, s Y and gamma s Y, with g = e + gamma, w2 = c2 + rho and Y = c - r
    gsw = _chosen(v, torch.addcmul(m["gamma_rho"], gamma, c2), torch.addcmul(m["gamma_beta_rho"], m["gamma_beta"], c2))
    sy = _chosen(v, _first(rounds) * c - m["r"], (m["beta"] * c).sub_(m["beta_r"]))
    gsy = _chosen(v, (gamma * c).sub_(m["gamma_r"]), (m["gamma_beta"] * c).sub_(m["gamma_beta_r"]))
    return gsw.addcmul_(e, layer.sw), block_sums(gsy.addcmul_(e, sy))


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
