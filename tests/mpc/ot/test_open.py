"""What a party that leaves the protocol can do here today (docs/two-party-protocol.md). Nothing detects it; when
something does, these tests fail, and the page has to say so."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.base import BaseReceiver, BaseSender, _key, _pad, _shared, _x
from amint_mpc.mpc.ot.extension import UNIT
from amint_mpc.mpc.ot.pool import Bytes
from amint_mpc.mpc.ot.transfers import Transfers
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from tests.mpc.parties import run_both

WORDS = 3


class BothKeys(BaseReceiver):
    """Draws a key for each of both places."""

    def __init__(self, count: int) -> None:
        self.both = [(_key(os.urandom), _key(os.urandom)) for _ in range(count)]
        self._places = [(_x(zero), _x(one)) for zero, one in self.both]

    def all_pads(self, offer: bytes) -> Bytes:
        """[n, 2, 16]."""
        rows = enumerate(zip(self.both, self._places, strict=True))
        return np.array(
            [
                [_pad(n, side, offer, places, _shared(keys[side], offer)) for side in (0, 1)]
                for n, (keys, places) in rows
            ]
        )


def test_open_a_base_receiver_with_two_keys_has_both_pads() -> None:
    """So it knows all leaves of the other one's trees, and with them all choices."""
    sender, receiver = BaseSender(os.urandom), BothKeys(4)
    assert np.array_equal(sender.pads(receiver.message), receiver.all_pads(sender.message))


def shares(sabotage: str, tree: int = 1, guess: int | None = None) -> tuple[Tensor, Tensor, int, Tensor]:
    """Both shares of one product with the developer's bits, the developer being the one who leaves the protocol or,
    with "payload", the auditor. Returns the developer's share, the auditor's, delta_tree, and the developer's bits."""
    bits = torch.from_numpy(np.random.default_rng(1).integers(0, 2, UNIT, dtype=np.uint8))

    def party(index: int, channel: Any, _: Any) -> tuple[Tensor, int]:
        rounds = Rounds(channel, index)
        own = Transfers(rounds)

        def protocol() -> InRounds[Tensor]:
            yield from own.set_up()
            if sabotage == "corrections" and index == DEVELOPER:
                corrupt(own, tree)
            yield from own.refill(UNIT, 0)
            choice = own.choose(DEVELOPER, bits if index == DEVELOPER else None, UNIT)
            yield
            values = torch.full((UNIT, WORDS), 7) if index == AUDITOR else None
            product = own.multiply(choice, values, WORDS, torch.int64)
            if sabotage == "payload" and index == AUDITOR:
                rounds._outgoing[-1] += 1
            yield
            if guess is not None and index == DEVELOPER:
                choice.rows[:, tree // 16] ^= np.uint64(guess << 4 * (tree % 16))
            return product.share

        share = rounds.run(protocol())
        return share, int(own._delta[tree // 16]) >> 4 * (tree % 16) & 15

    (developer, _), (auditor, delta) = run_both(party, [])
    return developer, auditor, delta, bits


def corrupt(own: Transfers, tree: int) -> None:
    """All bits of the corrections of a tree are turned."""
    assert own._extensions is not None
    chooser = own._extensions[0]
    extend = chooser.extend

    def wrong(rows: Any, bits: Bytes) -> Bytes:
        message = extend(rows, bits)
        message[tree - 1] ^= 0xFF
        return message

    chooser.extend = wrong  # type: ignore[method-assign]


def right(developer: Tensor, auditor: Tensor, bits: Tensor) -> Tensor:
    return (developer + auditor == 7 * bits.long()[:, None]).all(dim=1)


def test_open_a_sender_learns_a_bit_from_whether_the_result_is_right() -> None:
    """It adds one to a payload: the product is wrong exactly where the chooser's bit is 1."""
    developer, auditor, _, bits = shares("payload")
    assert torch.equal(~right(developer, auditor, bits), bits.bool())


@pytest.mark.parametrize("guess", range(16))
def test_open_a_chooser_learns_four_bits_of_delta_from_whether_the_result_is_right(guess: int) -> None:
    """It turns bits of the corrections: the sender's rows are off by delta_i, and the product is right for whoever
    guesses these four bits. Sixteen transfers a tree are enough to try all; with delta it has both pads of all."""
    developer, auditor, delta, bits = shares("corrections", tree=17, guess=guess)
    assert bool(right(developer, auditor, bits).all()) == (guess == delta)
