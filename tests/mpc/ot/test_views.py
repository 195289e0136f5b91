"""What each party sees says nothing of the other one's bits or words; variants that do are found.

All bits are zeros and all values small, so that any of them would show: whatever is not hidden is far from uniform.
Statistics as of the other protocols (tests/mpc/views.py), on fixed seeds. The views are of the extension and of the
products; the base transfers' points are tested in test_base.py.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot import pool, transfers
from amint_mpc.mpc.ot.extension import TREES, UNIT
from amint_mpc.mpc.ot.transfers import Transfers
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from tests.mpc.parties import run_both
from tests.mpc.views import Recorder, View, suspicious

COUNT = 8 * UNIT
BIT = 0
VALUE = 5


def run(chooser: int) -> tuple[list[View], tuple[list[Any], list[Any]]]:
    """Two choices with zeros, and two products with the first of them; the second one's values are one greater."""
    views = [View(), View()]

    def party(index: int, channel: Any, _: Any) -> list[Any]:
        rounds = Rounds(Recorder(channel, views[index]), index)
        own = Transfers(rounds, random.Random(100 + index).randbytes)

        def protocol() -> InRounds[list[Any]]:
            yield from own.set_up()
            yield from own.refill(*((2 * COUNT, 0) if chooser == DEVELOPER else (0, 2 * COUNT)))
            zeros = torch.full((COUNT,), BIT, dtype=torch.uint8) if index == chooser else None
            choices = [own.choose(chooser, zeros, COUNT) for _ in range(2)]
            rows = [choice.rows.copy() for choice in choices]
            yield
            values = [None if index == chooser else torch.full((COUNT, 1), VALUE + extra) for extra in range(2)]
            products = [own.multiply(choices[0], given, 1, torch.int64) for given in values]
            yield
            return [*(product.share for product in products), *rows]

        return rounds.run(protocol())

    results = run_both(party, [])
    return views, results


def seen_by_the_sender(chooser: int) -> list[str]:
    """Names of what is not uniform to it, alone or with something else that it has."""
    views, results = run(chooser)
    corrections, choices = [message.tensors for message in views[1 - chooser].received if message.tag != "round-0"][1:3]
    (matrix,) = corrections
    assert matrix.shape == (TREES - 1, 2 * COUNT // 8)
    messages = {f"choice {number}": (packed, 8) for number, packed in enumerate(choices)}
    for number in range(2):  # of the same transfers
        part = matrix[:, number * COUNT // 8 : (number + 1) * COUNT // 8]
        messages |= {f"correction {tree} of {number}": (row.contiguous(), 8) for tree, row in enumerate(part)}
    known = {
        f"column {column} of {number}": column_of(rows, column)
        for number, rows in enumerate(results[1 - chooser][2:])
        for column in range(0, 128, 5)
    }
    return suspicious(messages, known)


def column_of(rows: Any, column: int) -> Tensor:
    bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")[:, column]
    return torch.from_numpy(np.packbits(bits, bitorder="little"))


def seen_by_the_chooser(chooser: int) -> list[str]:
    views, results = run(chooser)
    payloads = views[chooser].received[-1].tensors
    assert [tuple(payload.shape) for payload in payloads] == [(COUNT, 1)] * 2
    shares = results[chooser]
    return suspicious(
        {f"payload {number}": (payload, 64) for number, payload in enumerate(payloads)},
        {f"own share {number}": share for number, share in enumerate(shares[:2])},
    )


@pytest.mark.parametrize("chooser", [DEVELOPER, AUDITOR])
def test_the_sender_sees_nothing_of_the_bits(chooser: int) -> None:
    assert seen_by_the_sender(chooser) == []


@pytest.mark.parametrize("chooser", [DEVELOPER, AUDITOR])
def test_the_chooser_sees_nothing_of_the_words(chooser: int) -> None:
    assert seen_by_the_chooser(chooser) == []


def test_a_tweak_that_serves_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers.Choice, "use", lambda choice, blocks: 0)
    assert "payload 0 - payload 1" in seen_by_the_chooser(DEVELOPER)


def test_a_delta_of_zero_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Transfers.set_up

    def without(own: Transfers) -> InRounds[None]:
        yield from whole(own)
        own._delta = np.zeros(2, dtype=np.uint64)

    monkeypatch.setattr(Transfers, "set_up", without)
    assert {"payload 0", "payload 1"} <= set(seen_by_the_chooser(AUDITOR))


def test_rows_that_serve_twice_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(own: pool.Pool, count: int) -> tuple[int, pool.Words, pool.Bytes]:
        return 0, own._rows[:count], own._bits[:count]

    monkeypatch.setattr(pool.Pool, "take", take)
    assert "choice 0 ^ choice 1" in seen_by_the_sender(AUDITOR)


def test_choices_that_nothing_hides_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(own: pool.Pool, count: int) -> tuple[int, pool.Words, pool.Bytes]:
        return 0, own._rows[:count], np.zeros(count, dtype=np.uint8)

    monkeypatch.setattr(pool.Pool, "take", take)
    assert {"choice 0", "choice 1"} <= set(seen_by_the_sender(DEVELOPER))


def test_nothing_secret_in_what_is_printed() -> None:
    def party(index: int, channel: Any, _: Any) -> str:
        rounds = Rounds(channel, index)
        own = Transfers(rounds)
        rounds.run(own.set_up())
        rounds.run(own.refill(UNIT, UNIT))
        bits = torch.ones(3, dtype=torch.uint8) if index == DEVELOPER else None
        return f"{own!r} {own._pools[0]!r} {own.choose(DEVELOPER, bits, 3)!r}"

    expected = f"Transfers(party={{}}, left=({UNIT}, {UNIT})) Pool(first=0, count={UNIT}) Choice(chooser=0, count=3)"
    assert run_both(party, []) == (expected.format(0), expected.format(1))
