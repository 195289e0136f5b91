"""The masks of the ReLU (`ReluMasks`): a mask by digits, its tables, the gate's words, and products of masks.

Steps
    1. r by digits (digits.py), its six digits of 4 bits from sign.LOW_BIT on. Choices with the bits of beta, and with
       the gate's masks (gate.py). M rho, gamma^T M and gamma rho, sums over units, rows and nothing, are cross products
       of matrices (matrices.py), exact ones.
    2. beta, beta rho and beta gamma.
    3. both have gamma rho, and multiply it by beta. The auditor knows its share of r: its part of beta r.
    4. the developer knows its share of r: its part.
    The tables are XOR-linear in the one-hot vectors of the digits: each party looks its share of the vector up.

Sources: digits.py, gate.py, factors.py, matrices.py. Who learns what: nothing; all messages are uniform, or encrypted.
The tables belong to r or, where there is a carry into the lowest digit, to r - 2^LOW_BIT: what they compare is off by
less than 2^(LOW_BIT + 1) units.
Exchanges: 6. For n h entries in training: 41 n h and 16 n h transfers in which the auditor and the developer choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from amint_mpc.limits import blocks
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair import digits, gate
from amint_mpc.mpc.pair.digits import Digits
from amint_mpc.mpc.pair.factors import PARTIES, PartProduct, SharedBits
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.pair.matrices import cross_cut
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.relu import ReluMasks, block_sums
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds
from amint_mpc.mpc.rlwe.blocks import Cut

DIGITS = sign.UPPER + 1
ABOVE = "above the hidden range"
"""Under which name other kinds get the bits of r from its top digit on (`Digits.above`)."""
ABOVE_BIT = sign.LOW_BIT + digits.DIGIT * sign.UPPER


def transfers(masks: ReluMasks) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    count = masks.rows * masks.hidden
    developer, auditor = digits.transfers(count, DIGITS)
    both = gate.transfers(count) + count
    return developer + both, auditor + both


def relu(making: Making, name: str, masks: ReluMasks) -> InRounds[None]:
    """All of it."""
    m, party, (n, h) = making.material[name], making.party, (masks.rows, masks.hidden)
    count, training = n * h, masks.training
    words = Concurrent(gate.gate_words(making, m["gate_mask"]))
    # step 1
    by_digits = Digits(making, m["r"].reshape(-1), sign.LOW_BIT, DIGITS)
    beta = SharedBits(making.transfers, sign.unpack(m["flip"], (n, h)).to(torch.uint8).reshape(-1))
    sums = Concurrent(_products_of_masks(making, m, masks))
    yield
    # step 2
    words.advance()
    sums.advance()
    by_digits.move()
    parts = _Parts(beta, party)
    parts.part(DEVELOPER, ["beta"], [torch.ones(count, dtype=torch.int64)])
    if training:
        parts.both(["beta_rho", "gamma_beta"], [m["rho"].expand(n, h), m["gamma"][:, None].expand(n, h)])
    yield
    # step 3
    words.advance()
    sums.advance()
    m |= sums.result
    by_digits.carry()
    r = by_digits.mask.reshape(n, h) if party == AUDITOR else m["r"]
    making.tell(name, "r", AUDITOR, r)
    making.tell(name, ABOVE, AUDITOR, by_digits.above(ABOVE_BIT) if party == AUDITOR else r)
    parts.part(AUDITOR, ["beta_r"], [r])
    if training:
        parts.both(["gamma_beta_rho"], [m["gamma_rho"]])
    yield
    # step 4
    words.advance()
    if party == DEVELOPER:
        r = by_digits.mask.reshape(n, h)
    making.tell(name, "r", DEVELOPER, r)
    making.tell(name, ABOVE, DEVELOPER, by_digits.above(ABOVE_BIT) if party == DEVELOPER else r)
    parts.part(DEVELOPER, ["beta_r"], [r])
    m["r"] = r
    yield
    words.advance()
    m |= {key: value.reshape(n, h) for key, value in parts.shares().items()}
    table, lowest = tables(by_digits.one_hot)
    m["table"], m["lowest"] = table.reshape(sign.UPPER, n, h), lowest.reshape(n, h)
    while not words.ended:
        yield
        words.advance()
    m["gate_words"] = words.result


def cuts(masks: ReluMasks, link: str) -> list[Cut]:
    """Of the products of masks, those of `_products_of_masks`."""
    n, h = masks.rows, masks.hidden
    shapes = [(n, 1, h)]
    if masks.training:
        parts = blocks(n)
        shapes += [(n, h, 1), *((h, 1, len(range(block, n, parts))) for block in range(parts))]
    return [cross_cut(*shape, link) for shape in shapes]


def _products_of_masks(making: Making, m: dict[str, Tensor], masks: ReluMasks) -> InRounds[dict[str, Tensor]]:
    """M rho [n] and, in training, gamma^T M of each block [blocks, h] and gamma rho [n, h]. Exchanges: 2."""
    n, h, products = masks.rows, masks.hidden, making.products
    wanted = {"m_rho": (m["m"], m["rho"][None])}
    if masks.training:
        wanted["gamma_rho"] = (m["gamma"][:, None], m["rho"][:, None])
        parts = blocks(n)
        for block in range(parts):
            wanted[f"gamma_m {block}"] = (m["m"][block::parts].T, m["gamma"][None, block::parts])
    running = {key: Concurrent(products.cross(*pair)) for key, pair in wanted.items()}
    for _ in range(2):
        yield
        for one in running.values():
            one.advance()
    own = {"m_rho": (m["m"] * m["rho"]).sum(dim=1)}
    if masks.training:
        own["gamma_rho"] = m["gamma"][:, None] * m["rho"]
        own["gamma_m"] = block_sums(m["gamma"][:, None] * m["m"])
        columns = [running.pop(f"gamma_m {block}").result.reshape(1, h) for block in range(blocks(n))]
        own["gamma_m"] += torch.cat(columns)
    for key, one in running.items():
        own[key] += one.result.reshape(own[key].shape)
    return own


class _Parts:
    """Products with beta: of each shared number both parties' parts, which go as they become known."""

    def __init__(self, beta: SharedBits, party: int) -> None:
        self._beta, self._party = beta, party
        self._found: list[tuple[list[str], PartProduct]] = []

    def both(self, names: list[str], x: Sequence[Tensor]) -> None:
        for holder in PARTIES:
            self.part(holder, names, x)

    def part(self, holder: int, names: list[str], x: Sequence[Tensor]) -> None:
        own = [it.reshape(-1) for it in x] if holder == self._party else None
        self._found.append((names, self._beta.times(holder, own, len(names))))

    def shares(self) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for names, part in self._found:
            for name, share in zip(names, part.share, strict=True):
                total[name] = total[name] + share if name in total else share
        return total


def tables(one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of `sign.tables` from shares of the one-hot vectors of the digits, [DIGITS, count] int32: [UPPER, count]
    int32 and [count] int16."""
    lowest, between, top = _lookup()
    found = torch.empty(sign.UPPER, one_hot.shape[1], dtype=torch.int32)
    torch.index_select(between, 0, one_hot[1:-1].reshape(-1), out=found[:-1].view(-1))
    torch.index_select(top, 0, one_hot[-1], out=found[-1])
    return found, lowest[one_hot[0]]


@lru_cache(maxsize=1)
def _lookup() -> tuple[Tensor, Tensor, Tensor]:
    """For each vector of 16 bits the XOR of the tables (sign.py) of the digits that it names."""
    return tuple(_spanned(table) for table in (sign.LOWEST, sign.BETWEEN, sign.TOP))  # type: ignore[return-value]


def _spanned(table: Tensor) -> Tensor:
    """[16] words -> [2^16]: the XOR of those whose bits are set."""
    found = torch.zeros(1, dtype=table.dtype)
    for word in table:
        found = torch.cat([found, found ^ word])
    return found
