"""Products of matrices of which the developer has one and the auditor the other, on the link of two makers (mpc/rlwe).

Steps, with the auditor as encryptor and the developer as evaluator
    0. once a link: the auditor's public keys.
    1. auditor -> developer: its matrices, encrypted.
    2. developer -> auditor: the answers. Each has its shares.
Who learns what: nothing (rlwe/products.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Rounds
from amint_mpc.mpc.rlwe.blocks import Cut, Name, Sizes, best_cut
from amint_mpc.mpc.rlwe.products import (
    Encryptor,
    Evaluator,
    answer_words,
    public_key_words,
    request_words,
)
from amint_mpc.mpc.rlwe.ring import Ring


class MatrixProducts:
    """Both roles on the link of `rounds`, at one party.

    Args:
        secret: this party's randomness, for this object alone.
        link: "lan" or "wan": what is cheapest there, blocks and, on "wan", packed answers.
    """

    def __init__(self, rounds: Rounds, secret: bytes, link: str = "lan") -> None:
        self._rounds, self.link, self._packed = rounds, link, link == "wan"
        self._random = SecretStream(secret, "products of matrices")
        self._ring = Ring()
        self._encryptor: Encryptor | None = None
        self._evaluator: Evaluator | None = None

    def __repr__(self) -> str:
        return f"MatrixProducts(link={self.link!r})"

    def set_up(self) -> InRounds[None]:
        """Step 0."""
        keys = None
        if self._rounds.party == AUDITOR:
            self._encryptor = Encryptor(self._ring, self._random)
            keys = self._encryptor.public_keys(self._packed)
        message = self._rounds.hand_over(AUDITOR, keys, (public_key_words(self._packed),), torch.int32)
        yield
        if keys is None:
            self._evaluator = Evaluator(self._ring, self._random, message.value, self._packed)

    def multiply(self, cut: Cut, matrices: dict[Name, Tensor]) -> InRounds[dict[Name, Tensor]]:
        """Steps 1 and 2. Args: matrices: this party's. Returns this party's shares of the products."""
        request = None if self._encryptor is None else self._encryptor.request(cut, matrices)
        sent = self._rounds.hand_over(AUDITOR, request, (request_words(cut),), torch.int32)
        yield
        answer: Tensor | None = None
        own: dict[Name, Tensor] = {}
        if self._evaluator is not None:
            answer, own = self._evaluator.answer(cut, matrices, sent.value)
        back = self._rounds.hand_over(DEVELOPER, answer, (answer_words(cut),), torch.int32)
        yield
        return own if self._encryptor is None else self._encryptor.shares(cut, back.value)

    def multiply_each(self, cuts: Mapping[Name, Cut], factors: Mapping[Name, Tensor]) -> InRounds[dict[Name, Tensor]]:
        """Products of one matrix of the developer and one of the auditor, each cut by itself: what can be packed.

        Args:
            factors: this party's of each.
        """
        name: Name = "a" if self._rounds.party == DEVELOPER else "r"
        running = {key: Concurrent(self.multiply(cut, {name: factors[key].contiguous()})) for key, cut in cuts.items()}
        for _ in range(2):
            yield
            for each in running.values():
                each.advance()
        return {key: each.result["ar"] for key, each in running.items()}

    def words_below(self, bits: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform numbers below 2^bits, of this party's randomness; bits: at most 62."""
        return self._random.draw(self._random.position, [(torch.int64, shape)])[0].bitwise_and_((1 << bits) - 1)

    def cross(self, s: Tensor, r: Tensor) -> InRounds[Tensor]:
        """Shares of S_D R_A^T + S_A R_D^T, [n, f] mod 2^64. Exchanges: 2.

        Args:
            s, r: this party's, [n, k] and [f, k].
        """
        cut = cross_cut(len(s), len(r), s.shape[1], self.link)
        return (yield from self.multiply(cut, {"s": s.contiguous(), "r": r.contiguous()}))["sr"]


def cross_cut(n: int, f: int, k: int, link: str) -> Cut:
    """How the matrices of `MatrixProducts.cross` are cut: [n, k] and [f, k]."""
    return best_cut(Sizes(n, f, k, ("sr",)), link)
