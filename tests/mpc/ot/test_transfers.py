"""Shares add up to the product of bits and words, bit for bit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot import native
from amint_mpc.mpc.ot.base import BaseReceiver, BaseSender
from amint_mpc.mpc.ot.extension import UNIT
from amint_mpc.mpc.ot.transfers import DTYPES, Transfers
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.transport.channel import FramedChannel, memory_pair
from tests.mpc.ot.trusted import TrustedTransfers
from tests.mpc.parties import run_both

Make = Callable[[Rounds], Transfers]


def both(make: Make, protocol: Callable[[Transfers], InRounds[Any]]) -> tuple[Any, Any]:
    """A protocol at both parties, after set-up."""

    def party(index: int, channel: Any, _: Any) -> Any:
        rounds = Rounds(channel, index)
        transfers = make(rounds)

        def whole() -> InRounds[Any]:
            yield from transfers.set_up()
            return (yield from protocol(transfers))

        return rounds.run(whole())

    return run_both(party, [])


def words(count: int, width: int, dtype: torch.dtype, seed: int) -> Tensor:
    limits = torch.iinfo(dtype)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(limits.min, limits.max, (count, width), dtype=dtype, generator=generator)


def bits_of(count: int, seed: int) -> Tensor:
    return torch.randint(0, 2, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [Transfers, TrustedTransfers])
@pytest.mark.parametrize("xor", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("count", "width"), [(1, 1), (7, 3), (1000, 1), (1025, 5), (3, 700), (0, 4)])
def test_shares_are_of_the_product(make: Make, dtype: torch.dtype, xor: bool, count: int, width: int) -> None:
    values, bits = words(count, width, dtype, 1), bits_of(count, 2)

    def protocol(transfers: Transfers) -> InRounds[list[Tensor]]:
        yield from transfers.refill(count, count)
        choices = [transfers.choose(who, bits if transfers.party == who else None, count) for who in (0, 1)]
        yield
        products = [
            transfers.multiply(it, None if transfers.party == it.chooser else values, width, dtype, xor)
            for it in choices
        ]
        yield
        return [product.share for product in products]

    for mine, theirs in zip(*both(make, protocol), strict=True):
        assert mine.dtype == dtype
        assert mine.shape == (count, width)
        assert torch.equal(mine ^ theirs if xor else mine + theirs, values * bits.to(dtype)[:, None])


def test_a_choice_serves_several_products_and_the_sender_has_its_shares_at_once() -> None:
    bits, first, second = bits_of(50, 3), words(50, 2, torch.int64, 4), words(50, 9, torch.int16, 5)

    def protocol(transfers: Transfers) -> InRounds[tuple[Tensor, Tensor]]:
        yield from transfers.refill(0, 100)
        chooses = transfers.party == AUDITOR
        choice = transfers.choose(AUDITOR, bits if chooses else None, 50)
        yield
        one = transfers.multiply(choice, None if chooses else first, 2, torch.int64)
        two = transfers.multiply(choice, None if chooses else second, 9, torch.int16)
        at_once = None if chooses else (one.share.clone(), two.share.clone())
        yield
        assert at_once is None or (torch.equal(at_once[0], one.share) and torch.equal(at_once[1], two.share))
        return one.share, two.share

    a, b = both(TrustedTransfers, protocol)
    assert torch.equal(a[0] + b[0], first * bits[:, None])
    assert torch.equal(a[1] + b[1], second * bits.to(torch.int16)[:, None])


def test_a_pool_that_is_empty_says_so() -> None:
    def protocol(transfers: Transfers) -> InRounds[None]:
        yield from transfers.refill(10, 0)
        transfers.choose(DEVELOPER, bits_of(2000, 0) if transfers.party == DEVELOPER else None, 2000)

    with pytest.raises(RuntimeError, match="refill first"):
        both(TrustedTransfers, protocol)


def test_tweaks_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is called, no two pads of a direction have the same (transfer, block)."""
    used: dict[tuple[int, int], list[tuple[int, int]]] = {}
    tweak = native.tweak

    def noting(hidden: Any, blocks: int, first: int, start: int) -> Any:
        sides, count, _ = hidden.shape
        seen = used.setdefault((threading.get_ident(), sides), [])
        seen += [
            (transfer, block) for transfer in range(first, first + count) for block in range(start, start + blocks)
        ]
        return tweak(hidden, blocks, first, start)

    monkeypatch.setattr(native, "tweak", noting)

    def protocol(transfers: Transfers) -> InRounds[None]:
        for count in (UNIT - 1, 300, 2 * UNIT):
            yield from transfers.refill(2 * count, count)
            mine = [transfers.choose(0, bits_of(count, 1) if transfers.party == 0 else None, count) for _ in range(2)]
            yield
            for width in (1, 5):
                for choice in mine:
                    values = words(count, width, torch.int64, 2) if transfers.party else None
                    product = transfers.multiply(choice, values, width, torch.int64)
                    yield
                    assert product.share.shape == (count, width)

    both(Transfers, protocol)
    assert {sides for _, sides in used} == {1, 2}  # the chooser's and the sender's
    for seen in used.values():
        assert len(seen) == 2 * (UNIT - 1 + 300 + 2 * UNIT) * (1 + 3)
        assert len(set(seen)) == len(seen)


def messages_of_a_peer(points: Tensor, offer: Tensor) -> FramedChannel:
    """The developer's end of a link on which the auditor has already sent this as its base transfers."""
    mine, theirs = memory_pair()
    theirs.send("round-0", 0, offer, points)
    return mine


def fresh_messages() -> tuple[Tensor, Tensor]:
    points = BaseReceiver(np.zeros(128, dtype=np.uint8), os.urandom).message
    return torch.from_numpy(points), torch.frombuffer(bytearray(BaseSender(os.urandom).message), dtype=torch.uint8)


@pytest.mark.parametrize("which", ["a point", "the offer"])
def test_a_base_message_that_is_no_point_is_refused(which: str) -> None:
    points, offer = fresh_messages()
    (points[77, 1] if which == "a point" else offer)[:] = 255
    rounds = Rounds(messages_of_a_peer(points, offer), DEVELOPER)
    with pytest.raises(ProtocolError, match="no point of the curve"):
        rounds.run(Transfers(rounds).set_up())


def test_a_message_of_another_size_is_refused() -> None:
    points, offer = fresh_messages()
    rounds = Rounds(messages_of_a_peer(points[:127], offer), DEVELOPER)
    with pytest.raises(ProtocolError, match="expected 'round-0'"):
        rounds.run(Transfers(rounds).set_up())


def test_calls_in_the_wrong_order_say_so() -> None:
    rounds = Rounds(memory_pair()[0], DEVELOPER)
    with pytest.raises(RuntimeError, match="set_up"):
        rounds.run(Transfers(rounds).refill(1, 1))

    def too_early(transfers: Transfers) -> InRounds[None]:
        yield from transfers.refill(1, 1)
        choice = transfers.choose(DEVELOPER, bits_of(1, 0) if transfers.party == DEVELOPER else None, 1)
        if transfers.party == AUDITOR:
            with pytest.raises(RuntimeError, match="before the exchange"):
                transfers.multiply(choice, words(1, 1, torch.int64, 0), 1, torch.int64)

    both(Transfers, too_early)


@pytest.mark.parametrize("bits", [torch.tensor([2, 0], dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8), None])
def test_bits_are_zeros_and_ones(bits: Tensor | None) -> None:
    def protocol(transfers: Transfers) -> InRounds[None]:
        yield from transfers.refill(2, 0)
        if transfers.party == DEVELOPER:
            with pytest.raises(ValueError, match="0 or 1"):
                transfers.choose(DEVELOPER, bits, 2)

    both(TrustedTransfers, protocol)


def test_trusted_transfers_send_as_much_as_real_ones() -> None:
    def protocol(transfers: Transfers) -> InRounds[tuple[int, int]]:
        before = transfers._rounds.channel.stats.bytes_sent
        yield from transfers.refill(100, 2000)
        choice = transfers.choose(AUDITOR, bits_of(2000, 0) if transfers.party == AUDITOR else None, 2000)
        yield
        transfers.multiply(
            choice, words(2000, 3, torch.int32, 1) if transfers.party == DEVELOPER else None, 3, torch.int32
        )
        yield
        return transfers._rounds.channel.stats.bytes_sent - before, transfers._rounds.channel.stats.rounds

    (real, trusted) = both(Transfers, protocol), both(TrustedTransfers, protocol)
    assert [sent for sent, _ in real] == [sent for sent, _ in trusted]
    shapes = 4  # a choice has a dimension less than a payload
    assert real[AUDITOR][0] - real[DEVELOPER][0] == 31 * (2048 - 512) // 8 + 250 - 2000 * 12 - shapes
