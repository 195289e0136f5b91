"""Blocks from the dealer arrive in order, once, and fit both parties' seeds."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from amint_mpc.errors import AmintError, PeerError, ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve
from amint_mpc.mpc.protocols.opened_truncation import OpenedTruncationMasks
from amint_mpc.transport.channel import memory_pair
from tests.mpc.local_dealer import local_supplies

PLAN: Plan = {
    f"t{i}": OpenedTruncationMasks((i + 1, 3), 8 + 2 * i) for i in range(20)
}  # more tensors than a frame carries


def check(developer: dict[str, dict[str, torch.Tensor]], auditor: dict[str, dict[str, torch.Tensor]]) -> None:
    for name, correlation in PLAN.items():
        bits = correlation.bits  # type: ignore[attr-defined]
        r = developer[name]["r"] + auditor[name]["r"]
        q = developer[name]["q"] + auditor[name]["q"]
        assert torch.equal(q, (r >> bits) & (2 ** (64 - bits) - 1))


def test_blocks_over_a_channel_complete_both_parties_material() -> None:
    secrets = os.urandom(32), os.urandom(32)
    dealer, developer_end = memory_pair("dealer", "developer")

    def streams() -> tuple[SecretStream, SecretStream]:
        return SecretStream(secrets[0], "dealer"), SecretStream(secrets[1], "dealer")

    served: list[str] = []
    thread = threading.Thread(target=lambda: served.append(serve(dealer, streams(), [PLAN] * 3).hex()))
    thread.start()
    mine, theirs = streams()
    developer = Supply(mine, DEVELOPER, developer_end)
    auditor = Supply(theirs, AUDITOR)
    for step in range(3):
        check(developer.take(step, PLAN), auditor.take(step, PLAN))
    thread.join()
    assert served == [developer.chain.hex()]
    assert developer.chain.blocks == 3
    assert developer_end.stats.frames_sent == 0  # the dealer hears nothing
    dealer.close()
    with pytest.raises(PeerError):
        developer.take(3, PLAN)


@pytest.mark.parametrize("steps", [[1], [0, 0], [0, 2]])
@pytest.mark.parametrize("party", [DEVELOPER, AUDITOR])
def test_lost_repeated_and_skipped_blocks_are_refused(steps: list[int], party: int) -> None:
    supply = local_supplies([PLAN] * 3)[party]
    for step in steps[:-1]:
        supply.take(step, PLAN)
    with pytest.raises(ProtocolError, match="the next one is"):
        supply.take(steps[-1], PLAN)


def test_a_lost_block_on_the_wire_is_refused() -> None:
    dealer, developer_end = memory_pair("dealer", "developer")
    dealer.send("block", 1, torch.zeros(9, dtype=torch.int64))
    supply = Supply(SecretStream(bytes(32), "dealer"), DEVELOPER, developer_end)
    with pytest.raises(ProtocolError, match="step 1"):
        supply.take(0, PLAN)


def test_a_block_of_another_plan_is_refused() -> None:
    dealer, developer_end = memory_pair("dealer", "developer")
    other: Plan = {"t": OpenedTruncationMasks((5,), 16)}
    serve(dealer, (SecretStream(bytes(32), "dealer"), SecretStream(bytes(32), "dealer")), [other])
    with pytest.raises(ProtocolError, match="block"):
        Supply(SecretStream(bytes(32), "dealer"), DEVELOPER, developer_end).take(0, PLAN)


def test_the_auditor_has_no_dealer_link() -> None:
    _, end = memory_pair("dealer", "developer")
    with pytest.raises(ValueError, match="auditor has none"):
        Supply(SecretStream(bytes(32), "dealer"), AUDITOR, end)
    assert issubclass(ProtocolError, AmintError)
