"""What a party sees while masks are made: uniform, whatever both have drawn, also together with what it ends up with.

The same words are drawn in every run, and the transfers are fresh: whatever depends on the words shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.correlations.base import MaskRef, Plan
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Product, Selection, SharedBit, Square
from amint_mpc.mpc.ot.transfers import Choice
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.protocols import sign
from amint_mpc.mpc.protocols.divide import DivisionMasks
from amint_mpc.mpc.protocols.ranges import RangeMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import Rounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.protocols.squares import SquaresMasks
from amint_mpc.mpc.protocols.truncate import TruncationMasks
from tests.mpc.ot.trusted import TrustedTransfers
from tests.mpc.pair.makers import Made
from tests.mpc.pair.products import TrustedProducts
from tests.mpc.parties import run_both
from tests.mpc.views import Recorder, View, suspicious

RUNS = 80
R, RHO = MaskRef("relu", "r"), MaskRef("relu", "rho")
PLANS: dict[str, Plan] = {  # of sizes at which choices fill whole bytes
    "relu": {"relu": ReluMasks(4, 2)},
    "about relu": {
        "relu": ReluMasks(4, 2, training=False),
        "hidden": RangeMasks((4, 2), sign.LOW_BIT + 20, R, torch.int16),
        "squares": SquaresMasks(4, 2, RHO, R, 4, 36),
    },
    "ranges": {"narrow": RangeMasks((4, 2), 60, None, torch.int16), "wide": RangeMasks((8,), ((3, 40), (5, 51)))},
    "sigmoid": {"sigmoid": SigmoidTables(8)},
    "generic": {
        "product": Product("mul", (4, 2), (4, 2)),
        "square": Square((4, 2)),
        "ands": AndTriple((1, 4), (2, 4), torch.uint8),
        "parts": AndOfParts((8,)),
        "bit": SharedBit((8,)),
        "selection": Selection((8,)),
        "division": DivisionMasks((8,), 49),
    },
    "truncation": {"dy": TruncationMasks((4, 2), 20)},
}


class Unchanging(PairMaker):
    """Draws the same for every plan."""

    def _drawn(self, number: int, plan: Plan) -> Made:
        if not number:
            self._words = super()._drawn(number, plan)
        return {name: {key: word.clone() for key, word in words.items()} for name, words in self._words.items()}


class PlainChoices(TrustedTransfers):
    """Its choices are not hidden."""

    def choose(self, chooser: int, bits: Tensor | None, count: int) -> Choice:
        choice = super().choose(chooser, bits, count)
        if bits is not None and choice.message is not None:
            choice.message.put(torch.from_numpy(np.packbits(bits.numpy(), bitorder="little")))
            self._rounds._outgoing[-1] = choice.message.value
        return choice


class NoPads(TrustedTransfers):
    """Delta is 0: both pads of a transfer are the same one, so that words are not hidden."""

    def __init__(self, rounds: Rounds, seed: int = 0) -> None:
        super().__init__(rounds, seed)
        for delta in self._deltas:
            delta[:] = 0


def seen(plan: Plan, transfers: type[TrustedTransfers], seed: int = 1) -> tuple[list[View], list[list[Made]]]:
    """The views of both parties, of RUNS runs one after another, and what they made."""
    views, products = [View(), View()], TrustedProducts.both()

    def party(index: int, channel: Any, _: Any) -> list[Made]:
        maker = Unchanging(
            Recorder(channel, views[index]),
            index,
            bytes([index, seed]) + bytes(30),
            transfers=lambda r: transfers(r, seed),
            products=products,
        )
        maker.set_up()
        views[index].received.clear()
        return [maker.make(number, plan) for number in range(RUNS)]

    return views, list(run_both(party, []))


def found(plan: Plan, transfers: type[TrustedTransfers]) -> list[list[str]]:
    """Of each party, what is not uniform of what it receives."""
    views, made = seen(plan, transfers)
    result = []
    for view, own in zip(views, made, strict=True):
        by_run: list[list[Tensor]] = [[] for _ in range(RUNS)]
        for message in view.received:
            if message.tag != "round-0":  # of the refill, whose rows a test trusts
                by_run[message.step] += message.tensors
        messages = {
            f"message {number}": (torch.stack([run[number] for run in by_run]), 8 * tensor.dtype.itemsize)
            for number, tensor in enumerate(by_run[0])
        }
        known = {
            f"own {name}.{key}": torch.stack([run[name][key] for run in own])
            for name, parts in own[0].items()
            for key in parts
        }
        result.append(suspicious(messages, known))
    return result


@pytest.mark.parametrize("name", list(PLANS))
def test_all_that_a_party_receives_is_uniform(name: str) -> None:
    assert found(PLANS[name], TrustedTransfers) == [[], []]


@pytest.mark.parametrize("name", ["relu", "generic"])
@pytest.mark.parametrize("broken", [PlainChoices, NoPads])
def test_broken_transfers_are_found(broken: type[TrustedTransfers], name: str) -> None:
    developer, auditor = found(PLANS[name], broken)
    assert developer
    assert auditor
