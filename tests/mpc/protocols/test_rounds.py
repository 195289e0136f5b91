"""Protocols as generators: who goes on when, what travels in which frame, and what is there at the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.protocols.rounds import Concurrent, InRounds, Opened, Rounds, side_by_side
from tests.mpc.parties import run_both
from tests.mpc.views import record


def openings(rounds: Rounds, values: list[int]) -> InRounds[list[int]]:
    """Opens one value a round. Returns the sums of both parties' values."""
    found = []
    for value in values:
        opened = rounds.open(torch.tensor([value]))
        yield
        found.append(int(opened.value))
    return found


def sent_by_round(party: Any) -> list[list[int]]:
    """What the developer sends in each frame of a run, and both end well."""
    _, views = record(party, [])
    return [[int(tensor) for tensor in message.tensors] for message in views[DEVELOPER].sent]


def test_a_protocol_takes_as_many_exchanges_as_it_needs() -> None:
    def party(index: int, channel: Any, _: Any) -> tuple[list[int], int]:
        rounds = Rounds(channel, index)
        assert rounds.run(openings(rounds, [])) == []
        return rounds.run(openings(rounds, [1, 2, 3])), channel.stats.rounds

    for found, clock in run_both(party, []):
        assert found == [2, 4, 6]
        assert clock == 3


@pytest.mark.parametrize(("first", "second"), [([1], [2]), ([1, 3], [2]), ([1], [2, 3]), ([], [1, 2]), ([], [])])
def test_two_side_by_side_share_rounds_and_frames(first: list[int], second: list[int]) -> None:
    def party(index: int, channel: Any, _: Any) -> None:
        rounds = Rounds(channel, index)
        both = rounds.run(side_by_side(openings(rounds, first), openings(rounds, second)))
        assert both == ([2 * v for v in first], [2 * v for v in second])

    longest = max(len(first), len(second))
    assert sent_by_round(party) == [[*first[k : k + 1], *second[k : k + 1]] for k in range(longest)]


def test_what_was_started_goes_on_with_the_exchanges_of_others_and_first() -> None:
    def party(index: int, channel: Any, _: Any) -> None:
        rounds = Rounds(channel, index)
        rounds.begin(0)
        early = rounds.start(openings(rounds, [10, 20, 30]))
        with pytest.raises(RuntimeError, match="before the rounds"):
            print(early.result)
        assert rounds.run(openings(rounds, [1])) == [2]
        late = rounds.start(openings(rounds, [100]))
        assert not early.ended
        assert rounds.run(openings(rounds, [2, 3])) == [4, 6]
        assert (early.result, late.result) == ([20, 40, 60], [200])

    assert sent_by_round(party) == [[10, 1], [20, 100, 2], [30, 3]]


def test_a_new_step_forgets_what_was_started() -> None:
    def party(index: int, channel: Any, _: Any) -> bool:
        rounds = Rounds(channel, index)
        started = rounds.start(openings(rounds, [1, 2]))
        rounds.exchange()
        rounds.begin(1)
        rounds.exchange()
        return started.ended

    assert run_both(party, []) == (False, False)


def test_an_opening_can_be_waited_for_elsewhere() -> None:
    """The value is put where the others look for it, in the exchange that opens it and not before."""

    def party(index: int, channel: Any, _: Any) -> int:
        rounds, shared = Rounds(channel, index), Opened()

        def watching() -> InRounds[int]:
            yield
            return int(shared.value)

        watcher = rounds.start(watching())
        with pytest.raises(RuntimeError, match="before the exchange"):
            print(shared.value)
        rounds.open(torch.tensor([4]), shared)
        rounds.exchange()
        return watcher.result

    assert run_both(party, []) == (8, 8)


def test_what_is_computed_meanwhile_is_there_after_the_exchange_and_comes_after_sending() -> None:
    def party(index: int, channel: Any, _: Any) -> Tensor:
        rounds, order = Rounds(channel, index), []

        class Noting:
            def send(self, *message: Any) -> None:
                order.append("sent")
                channel.send(*message)

            def receive(self, *expected: Any) -> Any:
                order.append("received")
                return channel.receive(*expected)

        def work() -> Tensor:
            order.append("computed")
            return torch.tensor(5)

        rounds.channel = Noting()  # type: ignore[assignment]
        computed = rounds.meanwhile(work)
        rounds.open(torch.tensor([1]))
        rounds.exchange()
        assert order == ["sent", "computed", "received"]
        return computed.value

    assert [int(found) for found in run_both(party, [])] == [5, 5]


def test_one_way_messages_reach_one_party() -> None:
    def party(index: int, channel: Any, _: Any) -> Tensor:
        rounds = Rounds(channel, index)

        def handing() -> InRounds[Tensor]:
            mine = torch.tensor([7]) if index == AUDITOR else None
            opened = rounds.hand_over(AUDITOR, mine, (1,), torch.int64)
            yield
            return opened.value

        with pytest.raises(ValueError, match="nothing to send"):
            rounds.hand_over(index, None, (1,), torch.int64)
        return rounds.run(handing())

    _, views = record(party, [])
    assert [len(view.sent) for view in views] == [0, 1]


def test_a_result_may_be_none() -> None:
    def nothing() -> InRounds[None]:
        yield
        return None

    running = Concurrent(nothing())
    assert not running.ended
    running.advance()
    assert running.ended
    assert running.result is None
