"""Cut and choose: wrong blocks are found with the probability that is claimed, and what is checked is not used."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations import base, supply
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.checking import blocks, dealt, places, stretch
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.transport.channel import memory_pair

USED = 20
SCORES: Plan = score_plan(4, 3, 2)


def session(secret: bytes, used: int = USED, share: float = 0.25, take: int | None = None) -> tuple[Supply, Supply]:
    """Both parties' supplies after they have taken so many steps; the dealer is a thread."""
    seeds = bytes(32), bytes([1]) * 32
    parts = [stretch(used, share, lambda _: SCORES)]
    dealer, developers = memory_pair("dealer", "developer")
    here, there = memory_pair()

    def streams() -> tuple[SecretStream, SecretStream]:
        return SecretStream(seeds[0], "x"), SecretStream(seeds[1], "x")

    def deal() -> None:
        with suppress(PeerError):  # the parties have ended
            serve(dealer, streams(), dealt(parts))

    mine, theirs = streams()
    developer = Supply(mine, DEVELOPER, developers, blocks(parts, secret), here)
    auditor = Supply(theirs, AUDITOR, None, blocks(parts, secret), there)
    thread = threading.Thread(target=deal, daemon=True)
    thread.start()
    try:
        for step in range(used if take is None else take):
            auditor.take(step, SCORES)
            developer.take(step, SCORES)
        if take is None:
            auditor.finish()
            developer.finish()
    finally:
        for end in (dealer, developers, here, there):
            end.abort("failed")
        thread.join()
    return developer, auditor


def test_as_many_are_checked_as_are_too_many_and_the_places_follow_from_the_secret() -> None:
    part = stretch(USED, 0.25, lambda _: SCORES)
    assert (part.used, part.dealt) == (20, 25)
    found = {tuple(places(part, 0, bytes([number]) * 32)) for number in range(50)}
    assert len(found) == 50
    assert all(len(each) == USED and each == tuple(sorted(set(each))) for each in found)
    checked = np.array([[place not in each for place in range(25)] for each in found]).mean(axis=0)
    assert (checked > 0).all(), "any place can be one that is checked"


def test_checked_blocks_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[int, list[int]] = {DEVELOPER: [], AUDITOR: []}

    def expand(plan: Plan, stream: SecretStream, party: int, step: int) -> dict[str, dict[str, Tensor]]:
        drawn[party].append(step)
        return base.expand(plan, stream, party, step)

    monkeypatch.setattr(supply, "expand", expand)  # with which a party draws what it uses
    developer, auditor = session(bytes(32))
    used = places(stretch(USED, 0.25, lambda _: SCORES), 0, bytes(32))
    assert drawn == {DEVELOPER: used, AUDITOR: used}
    assert developer.checked == auditor.checked == 5
    assert developer.chain.blocks == 25


def wrong(monkeypatch: pytest.MonkeyPatch, numbers: set[int]) -> None:
    """A dealer that shifts a share of the logits in the blocks of these numbers."""
    real, at = ReluMasks.corrections, count()

    def made(self: ReluMasks, developer: Any, auditor: Any) -> dict[str, Tensor]:
        found = real(self, developer, auditor)
        if threading.current_thread() is not threading.main_thread() and next(at) in numbers:
            found["m_rho"] = found["m_rho"] + 1
        return found

    monkeypatch.setattr(ReluMasks, "corrections", made)


def found(secret: bytes) -> bool:
    """Whether a session ends because a block is wrong."""
    try:
        session(secret)
    except ProtocolError as error:
        return "does not follow from the seeds" in error.message
    return False


def test_a_wrong_block_is_found_as_often_as_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, caught, bad = 60, 0, 3
    for number in range(rows):
        with monkeypatch.context() as patch:
            wrong(patch, set(np.random.default_rng(number).choice(25, bad, replace=False).tolist()))
            caught += found(number.to_bytes(32, "big"))
    claimed = 1 - (1 - 0.25 / 1.25) ** bad
    assert caught / rows > claimed - 3 * math.sqrt(claimed * (1 - claimed) / rows)


def test_a_shifted_block_goes_unnoticed_where_none_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The defence taken out."""
    wrong(monkeypatch, {3})
    developer, _ = session(bytes(32), share=0.0)
    assert developer.checked == 0


def test_the_key_of_a_checked_block_says_nothing_of_another() -> None:
    stream = SecretStream(bytes(32), "x")
    first, second = stream.reveal(0), stream.reveal(1)
    assert first != second
    with pytest.raises(ProtocolError, match="used before"):
        stream.reveal(1)


def test_blocks_that_lean_on_the_last_one_cannot_be_left_out() -> None:
    optimizer = NovoGrad(0.03, 0.95)
    assert stretch(9, 0.5, lambda place: train_plan(4, 3, 2, optimizer, place)).dealt == 9


def test_a_supply_that_checks_needs_the_other_party() -> None:
    with pytest.raises(ValueError, match="with the other party"):
        Supply(SecretStream(bytes(32), "x"), AUDITOR, None, iter([]))


def test_blocks_after_the_last_used_one_are_checked_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stretch of one: the second of two blocks is wrong, and it is either used or found."""
    part, caught = stretch(1, 0.25, lambda _: SCORES), 0
    for number in range(20):
        secret = number.to_bytes(32, "big")
        unused = places(part, 0, secret) == [0]
        with monkeypatch.context() as patch:
            wrong(patch, {1})
            assert found_of_one(secret) == unused
        caught += unused
    assert 0 < caught < 20


def found_of_one(secret: bytes) -> bool:
    try:
        session(secret, used=1)
    except ProtocolError:
        return True
    return False
