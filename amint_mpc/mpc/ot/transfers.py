"""Products of one party's bits and the other party's words, as shares, by oblivious transfer. Semi-honest.

Of a random transfer (pool.py) the sender has q and delta, the chooser b and t = q xor b delta.

1. `choose`: the chooser sends d = c xor b for its bit c. Now t = x xor c delta with the sender's x = q xor d delta.
2. `multiply`: the sender has pads k0 of x and k1 of x xor delta (pads.py), the chooser k_c of t. The sender sends
   y = k0 + v - k1 and keeps -k0; the chooser's share is k_c + c y, so both add up to c v. With xor in place of sums,
   the same.

Source: Beaver 1995 (derandomising); Asharov, Lindell, Schneider, Zohner, CCS 2013 (correlated transfer); Gilboa 1999
(products of a bit and a word).
Who learns what: the sender sees d, uniform, since b is. The chooser sees y, which hides v under the pad that it does
not have: k1 if c is 0, k0 if c is 1.
Exchanges: one from `choose` to `multiply`, one more until the chooser has its share.
Bytes of a transfer: 31 / 8 for the random one, 1 / 8 for the choice, words * itemsize for the payload.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.base import BaseReceiver, BaseSender
from amint_mpc.mpc.ot.extension import SECURITY, TREES, UNIT, ExtensionChooser, ExtensionSender, message_shape
from amint_mpc.mpc.ot.pads import BLOCK, Pads
from amint_mpc.mpc.ot.pool import Bytes, Pool, Words
from amint_mpc.mpc.ot.punctured import KEY_BYTES, base_choices, offer_trees, rebuild_trees
from amint_mpc.mpc.protocols.rounds import InRounds, Opened, Rounds

DTYPES = (torch.int64, torch.int32, torch.int16, torch.uint8)


class Choice:
    """Bits of one party, chosen with. Made by `Transfers.choose` alone.

    Args:
        message: the chooser's d, packed.
        first: number of its first transfer. rows: [count, 2], q or t.
        bits: what was chosen; at the sender, nothing that means anything.
    """

    def __init__(self, chooser: int, message: Opened, first: int, rows: Words, bits: Bytes) -> None:
        self.chooser, self.count = chooser, len(rows)
        self.message, self.first, self.rows, self.bits = message, first, rows, bits
        self.blocks_used = 0

    def __repr__(self) -> str:
        return f"Choice(chooser={self.chooser}, count={self.count})"

    def use(self, blocks: int) -> int:
        """The number of the first of so many blocks of each pad that no product has used."""
        first, self.blocks_used = self.blocks_used, self.blocks_used + blocks
        return first


class Product:
    """This party's share of bits * values, [count, words]: the sender's at once, the chooser's after an exchange.

    Args:
        made: makes it, when it is asked for.
    """

    def __init__(self, made: Callable[[], Tensor]) -> None:
        self._made: Callable[[], Tensor] | None = made
        self._share: Tensor | None = None

    @property
    def share(self) -> Tensor:
        if self._share is None:
            assert self._made is not None
            self._share, self._made = self._made(), None
        return self._share


class Transfers:
    """Both directions of oblivious transfer on the link of `rounds`, at one party.

    What is posted travels as tensors of the next exchange; a frame has room for 32 of them, so few calls with many
    transfers each, not many with few.

    Args:
        rounds: on a link of its own, or shared with protocols that post in the same order at both parties.
        randomness: gives so many fresh random bytes. Anything but the default is for tests: rows that are made a
            second time from the same bytes show the xor of two choices.
    """

    def __init__(self, rounds: Rounds, randomness: Callable[[int], bytes] = os.urandom) -> None:
        self.party = rounds.party
        self._rounds = rounds
        self._randomness = randomness
        self._pads: Pads | None = None
        self._extensions: tuple[ExtensionChooser, ExtensionSender] | None = None
        self._delta: Words = np.zeros(2, dtype=np.uint64)
        self._pools = (Pool(), Pool())  # by who chooses

    def __repr__(self) -> str:
        return f"Transfers(party={self.party}, left={tuple(map(len, self._pools))})"

    def set_up(self) -> InRounds[None]:
        """Base transfers (base.py) and trees (punctured.py), both directions. Once a link, before all else.

        Exchanges: 2. Bytes: 12,320 each way.

        Raises:
            ProtocolError: what came is no point of the curve.
        """
        missing = [int(nibble) for byte in self._randomness(SECURITY // 8) for nibble in (byte & 15, byte >> 4)]
        roots = [self._randomness(KEY_BYTES) for _ in range(TREES)]
        base_sender = BaseSender(self._randomness)
        base_receiver = BaseReceiver(base_choices(missing), self._randomness)
        offers = self._swap(np.frombuffer(base_sender.message, dtype=np.uint8))
        points = self._swap(base_receiver.message)
        yield
        other = 1 - self.party
        chosen = base_receiver.pads(offers[other].value.numpy().tobytes())
        trees, sums = offer_trees(roots, base_sender.pads(points[other].value.numpy()))
        offered = self._swap(sums)
        yield
        sender = ExtensionSender(missing, rebuild_trees(missing, chosen, offered[other].value.numpy()))
        self._extensions = ExtensionChooser(trees), sender
        said = b"".join(it.value.numpy().tobytes() for both in (offers, points, offered) for it in both)
        self._pads, self._delta = Pads(sha256(b"amint-mpc/1/pads" + said).digest()[:KEY_BYTES]), sender.delta

    def _swap(self, mine: Bytes) -> tuple[Opened, Opened]:
        """Each party sends the other one an array of the same shape; the results by who sent them."""
        tensor = torch.from_numpy(mine.copy())
        sent = [
            self._rounds.hand_over(who, tensor if who == self.party else None, mine.shape, torch.uint8)
            for who in (DEVELOPER, AUDITOR)
        ]
        return sent[DEVELOPER], sent[AUDITOR]

    def refill(self, developer: int, auditor: int) -> InRounds[None]:
        """See that at least so many transfers are there in which the developer, and the auditor, chooses.

        Both parties call it with the same numbers. Exchanges: 1.
        """
        if self._extensions is None:
            raise RuntimeError("set_up comes first")
        mine, theirs = self._extensions
        messages = []
        for chooser, wanted in ((DEVELOPER, developer), (AUDITOR, auditor)):
            count = -(-max(0, wanted - len(self._pools[chooser])) // UNIT) * UNIT
            if not count:
                continue
            own = torch.from_numpy(mine.extend(*self._pools[chooser].grow(count))) if chooser == self.party else None
            messages.append((chooser, count, self._rounds.hand_over(chooser, own, message_shape(count), torch.uint8)))
        yield
        for chooser, count, message in messages:
            if chooser != self.party:
                theirs.extend(self._pools[chooser].grow(count)[0], message.value.numpy())

    def choose(self, chooser: int, bits: Tensor | None, count: int) -> Choice:
        """Use up `count` transfers to choose with bits. Posts them, hidden.

        Args:
            chooser: DEVELOPER or AUDITOR.
            bits: [count] uint8 of 0 or 1 at the chooser; None at the other party.

        Raises:
            RuntimeError: so many are not there.
        """
        first, rows, random_bits = self._pools[chooser].take(count)
        message, own = None, random_bits
        if self.party == chooser:
            if bits is None or bits.shape != (count,) or bits.dtype != torch.uint8 or (count and int(bits.max()) > 1):
                raise ValueError(f"the chooser gives [{count}] uint8 of 0 or 1")
            own = bits.numpy().copy()
            message = torch.from_numpy(np.packbits(own ^ random_bits, bitorder="little"))
        posted = self._rounds.hand_over(chooser, message, (-(-count // 8),), torch.uint8)
        return Choice(chooser, posted, first, rows, own)

    def multiply(
        self, choice: Choice, values: Tensor | None, words: int, dtype: torch.dtype, xor: bool = False
    ) -> Product:
        """Shares of bits * values. Posts the payload. May be called again with the same choice.

        Args:
            choice: its message has been exchanged.
            values: [count, words] of `dtype` at the sender; None at the chooser.
            dtype: int64, int32, int16 or uint8. Shares add up modulo 2 to its width.
            xor: shares are to be xored, not added.

        Raises:
            RuntimeError: called before the exchange that carries the choice.
        """
        if self._pads is None:
            raise RuntimeError("set_up comes first")
        if dtype not in DTYPES:
            raise ValueError(f"{dtype} is not one of {', '.join(map(str, DTYPES))}")
        shape = (choice.count, words)
        start = choice.use(-(-words * dtype.itemsize // BLOCK))
        flips, pads, sender = choice.message.value, self._pads, 1 - choice.chooser
        if self.party == sender:
            if values is None or values.shape != shape or values.dtype != dtype:
                raise ValueError(f"the sender gives {list(shape)} of {dtype}")
            given = values.contiguous().numpy()
            share, payload = pads.send(choice.rows, flips.numpy(), self._delta, choice.first, start, given, xor)
            self._rounds.hand_over(sender, torch.from_numpy(payload), shape, dtype)
            return Product(lambda: torch.from_numpy(share))
        posted, bits = self._rounds.hand_over(sender, None, shape, dtype), choice.bits
        return Product(
            lambda: torch.from_numpy(pads.take(choice.rows, bits, choice.first, start, posted.value.numpy(), xor))
        )
