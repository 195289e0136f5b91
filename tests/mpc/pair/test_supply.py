"""Masks made ahead by threads of both parties: in order, bounded, passed over together, and never a thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Plan, bytes_of
from amint_mpc.mpc.correlations.checking import Stretch, UsedPlans, stretch
from amint_mpc.mpc.pair import supply as supplies
from amint_mpc.mpc.pair.supply import Maker, PairSupply
from amint_mpc.mpc.protocols.linear import TableMasks
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.pair.insecure_maker import InsecureMaker


class Products:
    """Shares of a * b for random a of the developer and b of the auditor."""

    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def fields(self) -> dict[str, Field]:
        return {
            "a": Field((self.size,), holders=(DEVELOPER,)),
            "b": Field((self.size,), holders=(AUDITOR,)),
            "c": Field((self.size,), corrected=True),
        }

    def corrections(self, developer: Any, auditor: Any) -> dict[str, torch.Tensor]:
        return {"c": developer["a"] * auditor["b"] - auditor["c"]}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Products) and other.size == self.size

    def __hash__(self) -> int:
        return self.size


class OfTable(Products):
    """The same under the table's mask."""

    @property
    def links(self) -> dict[str, MaskRef]:
        return {"table": MaskRef("table", "a", kept=True)}

    def corrections(self, developer: Any, auditor: Any) -> dict[str, torch.Tensor]:
        return {"c": developer["table"][0] * auditor["b"] - auditor["c"]}


def plans(count: int, size: int = 5) -> UsedPlans:
    return UsedPlans([Stretch(count, count, lambda place: {"p": Products(size + place)})])


def fits(developer: Any, auditor: Any) -> None:
    assert torch.equal(developer["p"]["c"] + auditor["p"]["c"], developer["p"]["a"] * auditor["p"]["b"])


class Both:
    """Supplies of both parties, on memory links."""

    def __init__(self, threads: int, ahead_bytes: int, make: Callable[..., Maker]) -> None:
        self.links = [memory_pair(idle_timeout_s=20) for _ in range(threads)]
        self.made: list[int] = []
        self.two = tuple(
            PairSupply(party, [pair[party] for pair in self.links], make, ahead_bytes) for party in (DEVELOPER, AUDITOR)
        )

    def each(self, work: Callable[[PairSupply], Any]) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            parts = [pool.submit(work, one) for one in self.two]
            return [part.result(30) for part in parts]


@contextmanager
def both(threads: int = 2, ahead_bytes: int = 1 << 20, make: Callable[..., Maker] = InsecureMaker) -> Iterator[Both]:
    made = Both(threads, ahead_bytes, make)
    with made.two[0], made.two[1]:
        yield made
    for link in (end for pair in made.links for end in pair):
        link.close()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("masks ")]


def take_all(supply: PairSupply, todo: UsedPlans, first: int = 0) -> list[Any]:
    return [supply.take(step, todo[step]) for step in range(first, len(todo))]


def whole(supply: PairSupply, todo: UsedPlans) -> list[Any]:
    supply.start(todo)
    taken = take_all(supply, todo)
    supply.finish()
    return taken


def left(supply: PairSupply, other: PairSupply, todo: UsedPlans) -> None:
    """Stopped by its user once both are at work."""
    with supply:
        for one in (supply, other):
            one.start(todo)
        raise KeyboardInterrupt


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_step_gets_the_masks_of_its_plan(threads: int) -> None:
    todo = plans(11)

    with both(threads) as pair:
        developer, auditor = pair.each(lambda supply: whole(supply, todo))
    for mine, theirs in zip(developer, auditor, strict=True):
        fits(mine, theirs)


def test_no_more_waits_than_there_is_room_for() -> None:
    todo, most = plans(40, size=100), 5 * 3 * 8 * 130
    with both(2, most) as pair:
        for supply in pair.two:
            supply.start(todo)
        wait_for(lambda: all(supply.ahead >= 4 for supply in pair.two))
        time.sleep(0.2)
        for supply in pair.two:
            made = [bytes_of(todo[number], supply.party) for number in supply._ready]
            assert sum(made) <= most < sum(made) + bytes_of(todo[len(made)], supply.party)
            assert len(made) == supply.ahead < 20
        pair.each(lambda supply: take_all(supply, todo))
        pair.each(lambda supply: supply.finish())


def test_the_next_step_is_made_without_room() -> None:
    """One party is far ahead of the other, and neither has room for a single plan."""
    todo = plans(9)
    with both(3, 1) as pair:
        for supply in pair.two:
            supply.start(todo)
        pair.each(lambda supply: take_all(supply, todo))
        pair.each(lambda supply: supply.finish())


def test_steps_that_are_passed_over_are_not_made() -> None:
    made: list[int] = []

    def noted(channel: Channel, party: int, memory: Any) -> Maker:
        return InsecureMaker(channel, party, memory, made.append if party == DEVELOPER else lambda _: None)

    todo = plans(1000, size=50)
    with both(2, 6 * 2 * 8 * 1100, noted) as pair:

        def stop_early(supply: PairSupply) -> Any:
            supply.start(todo)
            supply.take(0, todo[0])
            for step in range(1, 997):
                supply.skip(step, todo[step])
            taken = [supply.take(step, todo[step]) for step in range(997, 1000)]
            supply.finish()
            return taken

        developer, auditor = pair.each(stop_early)
    for mine, theirs in zip(developer, auditor, strict=True):
        fits(mine, theirs)
    assert len(made) < 60
    assert {0, 997, 998, 999} <= set(made)


def test_one_party_that_passes_over_first_is_enough() -> None:
    """The other's threads learn of it from theirs, and neither waits for ever."""
    todo = plans(30)
    with both(2, 1) as pair:
        for supply in pair.two:
            supply.start(todo)
        pair.two[0].take(0, todo[0])
        for step in range(1, 29):
            pair.two[0].skip(step, todo[step])
        pair.two[1].take(0, todo[0])
        for step in range(1, 29):
            pair.two[1].skip(step, todo[step])
        fits(*pair.each(lambda supply: supply.take(29, todo[29])))
        pair.each(lambda supply: supply.finish())


def test_the_mask_of_a_table_serves_steps_of_all_threads() -> None:
    parts = [
        stretch(3, 0, lambda place: {"p": Products(4)}),
        stretch(1, 0, lambda _: {"table": TableMasks(2, 4)}),
        stretch(8, 0, lambda place: {"p": OfTable(4)}),
    ]
    todo = UsedPlans(parts)
    assert (todo.keeping, len(todo)) == ([3], 12)
    with both(3) as pair:
        developer, auditor = pair.each(lambda supply: whole(supply, todo))
    table = developer[3]["table"]["a"][0]
    for mine, theirs in zip(developer[4:], auditor[4:], strict=True):
        assert torch.equal(mine["p"]["c"] + theirs["p"]["c"], table * theirs["p"]["b"])


def test_what_is_taken_is_told_in_order() -> None:
    told: list[Any] = []
    todo = plans(6)
    with both(2) as pair:
        pair.two[0]._on_taken = lambda plan, made: told.append((plan, made))
        for supply in pair.two:
            supply.start(todo)
        taken = pair.each(lambda supply: take_all(supply, todo))[0]
        pair.each(lambda supply: supply.finish())
    assert all(one is other for (_, one), other in zip(told, taken, strict=True))
    assert [plan for plan, _ in told] == [todo[step] for step in range(6)]


def test_masks_are_taken_once_in_order_and_for_their_plan() -> None:
    todo = plans(4)
    with both(2) as pair:
        for supply in pair.two:
            supply.start(todo)
        supply = pair.two[0]
        supply.take(0, todo[0])
        for step in (0, 2):
            with pytest.raises(ProtocolError, match="the next ones are those of step 1"):
                supply.take(step, todo[step])
        for wrong in ({"p": Products(99)}, {"q": Products(6)}):
            with pytest.raises(ProtocolError, match="are not those that it needs"):
                supply.take(1, wrong)
        with pytest.raises(RuntimeError, match="starts once"):
            supply.start(todo)


class Failing(InsecureMaker):
    """Cannot make plan 3."""

    def make(self, number: int, plan: Plan) -> Any:
        if number == 3 and self._party == AUDITOR:
            raise ProtocolError("a made-up refusal", "Say so")
        return super().make(number, plan)


def test_an_error_of_a_thread_reaches_both_parties() -> None:
    todo = plans(12)
    with both(2, 1 << 20, Failing) as pair:
        for supply in pair.two:
            supply.start(todo)

        def go_on(supply: PairSupply) -> BaseException:
            with pytest.raises((ProtocolError, PeerError)) as caught:
                take_all(supply, todo)
            return caught.value

        developers, auditors = pair.each(go_on)
        assert str(auditors).startswith("a made-up refusal")
        assert isinstance(developers, PeerError)
        assert (developers.peer, developers.reason) == ("auditor", "protocol")
        for supply in pair.two:
            with pytest.raises((ProtocolError, PeerError)):
                supply.finish()


def test_a_lost_link_reaches_the_one_who_takes() -> None:
    todo = plans(100)
    with both(2, 1) as pair:
        for supply in pair.two:
            supply.start(todo)
        pair.each(lambda supply: supply.take(0, todo[0]))
        for link in pair.links[0]:
            link.link.wire.shut()
        with pytest.raises(PeerError, match="the auditor was lost"):
            take_all(pair.two[0], todo, 1)


@pytest.mark.parametrize("step", [7, -1, 13])
def test_a_made_up_step_is_refused(step: int) -> None:
    """Of 6 steps. What is within the run is believed: it can only leave out what both need."""
    mine, theirs = memory_pair(idle_timeout_s=5)
    with PairSupply(DEVELOPER, [mine], InsecureMaker, 1 << 20) as supply:
        supply.start(plans(6))
        theirs.send("set-up", 0, torch.zeros(1, dtype=torch.uint8))
        theirs.send(supplies.NEXT, 0, torch.tensor([step]))
        with pytest.raises(ProtocolError, match="was asked for, of 6"):
            supply.take(0, plans(6)[0])
    theirs.close()


def test_leaving_with_an_error_ends_the_other_partys_threads() -> None:
    todo = plans(1000)
    ends = memory_pair(idle_timeout_s=20)
    other = PairSupply(AUDITOR, [ends[1]], InsecureMaker, 1)
    with other:
        supply = PairSupply(DEVELOPER, [ends[0]], InsecureMaker, 1)
        with pytest.raises(KeyboardInterrupt):
            left(supply, other, todo)
        with pytest.raises(PeerError) as caught:
            take_all(other, todo)
        assert caught.value.reason == "interrupted"
    for end in ends:
        end.close()


def test_it_waits_for_the_plans_before_it_starts() -> None:
    """A query: how much is asked is known late."""
    with both(2) as pair, pytest.raises(ProtocolError, match="are not those"):
        pair.two[0].take(0, plans(1)[0])
