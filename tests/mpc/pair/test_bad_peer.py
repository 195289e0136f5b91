"""What a peer could send while masks are made: one message says what was wrong, both parties end, no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import AmintError, PeerError, ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory
from amint_mpc.mpc.correlations.checking import Stretch, UsedPlans
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.ot.base import X_BYTES
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.pair.supply import NEXT, Maker, PairSupply
from amint_mpc.transport.channel import Channel, ForwardingChannel, memory_pair
from tests.mpc.native_only import native_only
from tests.mpc.pair.random_plans import wrong_fields

pytestmark = native_only
PLAN = train_plan(4, 7, 3, GradientDescent(3, 7))
STEPS = 4
Change = Callable[[str, int, list[Tensor]], "tuple[str, int, list[Tensor]] | None"]


class Lying(ForwardingChannel):
    """Args: change: of (tag, step, tensors), as they are sent; None: the link is torn."""

    def __init__(self, channel: Any, change: Change) -> None:
        super().__init__(channel)
        self._change, self._wire = change, channel.link.wire

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        sent = self._change(tag, step, [tensor.clone() for tensor in tensors])
        if sent is None:
            self._wire.shut()
        else:
            super().send(sent[0], sent[1], *sent[2])


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("masks ")]


def make(channel: Channel, party: int, memory: Memory) -> Maker:
    return PairMaker(channel, party, bytes([party]) * 32, memory)


def met(liar: int, change: Change, steps: int = STEPS) -> tuple[list[AmintError | None], list[list[Any]]]:
    """What each party's step ended with, and the material that it had until then."""
    ends: list[Any] = list(memory_pair(idle_timeout_s=20))
    honest = ends[1 - liar]
    ends[liar] = Lying(ends[liar], change)
    errors: list[AmintError | None] = [None, None]
    taken: list[list[Any]] = [[], []]
    todo = UsedPlans([Stretch(steps, steps, lambda _: PLAN)])

    def party(index: int) -> None:
        try:
            with PairSupply(index, [ends[index]], make, 1 << 20) as supply:
                supply.start(todo)
                for step in range(steps):
                    taken[index].append(supply.take(step, PLAN))
                supply.finish()
        except AmintError as error:
            errors[index] = error

    threads = [threading.Thread(target=party, args=(index,)) for index in (DEVELOPER, AUDITOR)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    honest.close()
    ends[liar].close()
    return errors, taken


def of_round(number: int, step: int, change: Callable[[list[Tensor]], list[Tensor]]) -> Change:
    """Change the tensors of a round of a plan. The set-up is a session of its own, before any plan."""
    set_up = True

    def changed(tag: str, at: int, tensors: list[Tensor]) -> Any:
        nonlocal set_up
        set_up = set_up and tag != NEXT
        wanted = tag == f"round-{number}" and at == max(step, 0) and set_up == (step < 0)
        return tag, at, change(tensors) if wanted else tensors

    return changed


def largest(change: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """Change the largest tensor: a ciphertext, where there is one."""

    def changed(tensors: list[Tensor]) -> list[Tensor]:
        at = max(range(len(tensors)), key=lambda i: tensors[i].numel() * tensors[i].element_size())
        return [change(tensor) if i == at else tensor for i, tensor in enumerate(tensors)]

    return changed


def above_the_prime(words: Tensor) -> Tensor:
    words[-7] = -1
    return words


def no_point(tensors: list[Tensor]) -> list[Tensor]:
    for tensor in tensors:
        if tensor.shape[-1] == X_BYTES:
            tensor.fill_(255)
    return tensors


def next_step(value: Tensor) -> Change:
    return lambda tag, step, tensors: (tag, step, [value] if tag == NEXT and step == 1 else tensors)


SHORTER, LONGER = largest(lambda words: words[:-8].clone()), largest(lambda words: torch.cat([words, words[:8]]))
OUT_OF_RANGE, NOT_THIS = largest(above_the_prime), "; received '"
LIES: dict[str, tuple[int, Change, str]] = {
    "public keys out of range": (AUDITOR, of_round(2, -1, OUT_OF_RANGE), "out of range"),
    "a point off the curve": (DEVELOPER, of_round(0, -1, no_point), "no point of the curve"),
    "a request out of range": (AUDITOR, of_round(1, 1, OUT_OF_RANGE), "out of range"),
    "an answer out of range": (DEVELOPER, of_round(2, 1, OUT_OF_RANGE), "out of range"),
    "a shorter request": (AUDITOR, of_round(1, 1, SHORTER), NOT_THIS),
    "a longer request": (AUDITOR, of_round(1, 1, LONGER), NOT_THIS),
    "a shorter answer": (DEVELOPER, of_round(2, 1, SHORTER), NOT_THIS),
    "one tensor less": (DEVELOPER, of_round(3, 1, lambda tensors: tensors[:-1]), NOT_THIS),
    "another type": (AUDITOR, of_round(1, 1, largest(lambda words: words.long())), NOT_THIS),
    "another round": (AUDITOR, lambda tag, at, t: ("round-7" if tag == "round-2" else tag, at, t), "round-7"),
    "another plan": (DEVELOPER, lambda tag, at, t: (tag, at + (tag == "round-2"), t), "step"),
    "a next step far away": (DEVELOPER, next_step(torch.tensor([2**62])), "was asked for, of 4"),
    "a next step below 0": (AUDITOR, next_step(torch.tensor([-(2**63)])), "was asked for, of 4"),
    "a next step that is no number": (DEVELOPER, next_step(torch.tensor([float("nan")])), NOT_THIS),
    "two next steps": (AUDITOR, next_step(torch.tensor([1, 1])), NOT_THIS),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_both(lie: str) -> None:
    liar, change, said = LIES[lie]
    errors, taken = met(liar, change)
    honest, told = errors[1 - liar], errors[liar]
    assert isinstance(honest, ProtocolError)
    assert said in str(honest), str(honest)
    assert isinstance(told, PeerError)
    assert told.reason == "protocol"
    for made in zip(*taken, strict=False):  # what was made before is good
        assert wrong_fields(PLAN, made, real=True) == []


@pytest.mark.parametrize("at", ["round-0", "round-1", "round-4", NEXT])
@pytest.mark.parametrize("lost", [DEVELOPER, AUDITOR])
def test_a_peer_that_vanishes_while_masks_are_made(lost: int, at: str) -> None:
    def torn(tag: str, step: int, tensors: list[Tensor]) -> Any:
        return None if (tag, step) == (at, 2) else (tag, step, tensors)

    errors, taken = met(lost, torn)
    error = errors[1 - lost]
    assert isinstance(error, PeerError)
    assert "was lost" in str(error)
    assert errors[lost] is not None
    for made in zip(*taken, strict=False):
        assert wrong_fields(PLAN, made, real=True) == []


def test_a_supply_that_has_nothing_left_says_so() -> None:
    errors, taken = met(AUDITOR, lambda tag, at, tensors: (tag, at, tensors))
    assert errors == [None, None]
    assert [len(each) for each in taken] == [STEPS, STEPS]
    ends = memory_pair(idle_timeout_s=5)
    supply = PairSupply(DEVELOPER, [ends[0]], make, 1 << 20)
    with supply, pytest.raises(ProtocolError, match="are not those that it needs"):
        supply.take(0, PLAN)
