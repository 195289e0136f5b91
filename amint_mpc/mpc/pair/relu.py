"""The masks of the ReLU (`ReluMasks`): a mask by digits, its tables, the gate's words, and ten products.

Steps
    1. r by digits (digits.py), its six digits of 4 bits from sign.LOW_BIT on. Choices with the bits of beta, rho and
       gamma (vectors.py), and with the gate's masks (gate.py).
    2. gamma rho, row by row and unit by unit, of both cross terms; beta rho and beta gamma.
    3. the auditor knows its share of r: its r rho and r gamma with the developer's rho and gamma, its part of beta r;
       both have gamma rho, and multiply it by beta.
    4. the developer knows its share of r: the same of it, and because it has its shares of r rho and gamma r at once,
       also its parts of beta r rho and of beta gamma r.
    5. the auditor's parts of these two.
    The tables are XOR-linear in the one-hot vectors of the digits: each party looks its share of the vector up.

Sources: digits.py, gate.py, factors.py, vectors.py. Who learns what: nothing; all messages are uniform.
The tables belong to r or, where there is a carry into the lowest digit, to r - 2^LOW_BIT: what they compare is off by
less than 2^(LOW_BIT + 1) units.
Exchanges: 6. Bytes for n = h = 128, of an entry: developer 716, auditor 640, of which 516 are the three products of numbers,
258 with trees of depth 4; 17 transfers in which the developer chooses, 35 in which the auditor does. In scoring 332, 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair import digits, gate, vectors
from amint_mpc.mpc.pair.digits import Digits
from amint_mpc.mpc.pair.factors import PARTIES, PartProduct, SharedBits
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.pair.vectors import Scalars, VectorProduct
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds

DIGITS = sign.UPPER + 1
ABOVE = "above the hidden range"
"""Under which name other kinds get the bits of r from its top digit on (`Digits.above`)."""
ABOVE_BIT = sign.LOW_BIT + digits.DIGIT * sign.UPPER


def transfers(masks: ReluMasks, depth: int) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    count = masks.rows * masks.hidden
    numbers = vectors.transfers(masks.hidden + (masks.rows if masks.training else 0), depth)
    developer, auditor = digits.transfers(count, DIGITS)
    both = gate.transfers(count) + count + numbers
    return developer + both, auditor + both


def relu(making: Making, name: str, masks: ReluMasks) -> InRounds[None]:
    """All of it."""
    m, party, (n, h) = making.material[name], making.party, (masks.rows, masks.hidden)
    mine, count, training = making.transfers, n * h, masks.training
    words = Concurrent(gate.gate_words(making, m["gate_mask"]))
    # step 1
    by_digits = Digits(making, m["r"].reshape(-1), sign.LOW_BIT, DIGITS)
    beta = SharedBits(mine, sign.unpack(m["flip"], (n, h)).to(torch.uint8).reshape(-1))
    rho = [making.scalars(q, m["rho"], h) for q in PARTIES]
    gamma = [making.scalars(q, m["gamma"], n) for q in PARTIES] if training else []
    yield
    # step 2
    words.advance()
    by_digits.move()
    across = m["rho"].expand(n, h)
    gamma_rho = [factor.times(across if q != party else None, h) for q, factor in enumerate(gamma)]
    first = [across.reshape(-1)]
    if training:
        first.append(m["gamma"][:, None].expand(n, h).reshape(-1))
    parts = _Parts(beta, party)
    parts.both(["beta_rho", "gamma_beta"][: len(first)], first)
    parts.part(DEVELOPER, ["beta"], [torch.ones(count, dtype=torch.int64)])
    yield
    # step 3
    words.advance()
    by_digits.carry()
    products = _Products(m, rho, gamma, party)
    if party == AUDITOR:
        products.r = by_digits.mask.reshape(n, h)
    making.tell(name, "r", AUDITOR, products.r)
    making.tell(name, ABOVE, AUDITOR, by_digits.above(ABOVE_BIT) if party == AUDITOR else products.r)
    products.send(AUDITOR)
    parts.part(AUDITOR, ["beta_r"], [products.r])
    if training:
        m["gamma_rho"] = sum((part.share for part in gamma_rho), m["gamma"][:, None] * m["rho"])
        parts.both(["gamma_beta_rho"], [m["gamma_rho"]])
    yield
    # step 4
    words.advance()
    if party == DEVELOPER:
        products.r = by_digits.mask.reshape(n, h)
    making.tell(name, "r", DEVELOPER, products.r)
    making.tell(name, ABOVE, DEVELOPER, by_digits.above(ABOVE_BIT) if party == DEVELOPER else products.r)
    products.send(DEVELOPER)
    late = ["beta_r_rho", "gamma_beta_r"][: 2 if training else 1]
    parts.part(DEVELOPER, ["beta_r", *late], [products.r, *(products.shares() if party == DEVELOPER else [])])
    yield
    # step 5
    words.advance()
    made = products.shares()
    parts.part(AUDITOR, late, made)
    m["r"], m["r_rho"] = products.r, made[0]
    if training:
        m["gamma_r"] = made[1]
    yield
    words.advance()
    m |= {key: value.reshape(n, h) for key, value in parts.shares().items()}
    table, lowest = tables(by_digits.one_hot)
    m["table"], m["lowest"] = table.reshape(sign.UPPER, n, h), lowest.reshape(n, h)
    yield
    words.advance()
    m["gate_words"] = words.result


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


class _Products:
    """r rho and gamma r, with r by digits.

    Attributes:
        r: this party's share, [n, h]; until it is known the words that it is made of.
    """

    def __init__(self, material: dict[str, Tensor], rho: list[Scalars], gamma: list[Scalars], party: int) -> None:
        self.r, self._m, self._rho, self._gamma, self._party = material["r"], material, rho, gamma, party
        self._sent: list[tuple[VectorProduct, VectorProduct | None]] = []

    def send(self, holder: int) -> None:
        """The cross terms with the share of r that `holder` has."""
        (n, h), own = self.r.shape, self._party == holder
        of_rho = self._rho[1 - holder].times(self.r.T if own else None, n)
        of_gamma = self._gamma[1 - holder].times(self.r if own else None, h) if self._gamma else None
        self._sent.append((of_rho, of_gamma))

    def shares(self) -> list[Tensor]:
        """r rho and, in training, gamma r."""
        r_rho = sum((one.share.T for one, _ in self._sent), self.r * self._m["rho"])
        if not self._gamma:
            return [r_rho]
        return [r_rho, sum((two.share for _, two in self._sent if two), self._m["gamma"][:, None] * self.r)]


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
