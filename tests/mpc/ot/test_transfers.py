"""Shares add up to the product of bits and words, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.transfers import DTYPES, Transfers
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
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
