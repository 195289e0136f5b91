"""How every kind of link ends: silence, a loss, a goodbye, a reason; and what keeps it alive."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.wire import memory_wires
from tests.transport.conftest import MakePair
from tests.transport.test_channel import X_SPEC, X, keep_sending


def test_signs_of_life_keep_a_link_and_count_nothing(make_pair: MakePair) -> None:
    here, there = make_pair(heartbeat_s=0.05, idle_timeout_s=0.4)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.receive, "x", 0, X_SPEC)
        time.sleep(0.6)  # longer than the timeout: the peer computes
        here.send("x", 0, X)
        waiting.result(timeout=5)
    assert here.stats.frames_sent == 1
    assert there.stats.bytes_received == here.stats.bytes_sent


def dealing(**peer: Any) -> tuple[FramedChannel, FramedChannel]:
    """An end that reads ahead and waits for ever to send, and a peer that takes nothing by itself."""
    left, right = memory_wires()
    ours = FramedChannel(left, "auditor", idle_timeout_s=0.4, send_timeout_s=None, prefetch_bytes=4096)
    return ours, FramedChannel(right, "developer", **peer)


@pytest.mark.parametrize("queue", [1, 256 << 20], ids=["send", "flush"])
def test_frozen_peer_ends_a_wait_to_send(queue: int) -> None:
    here, there = dealing()
    here.outgoing.queue_bytes = queue
    with ThreadPoolExecutor(1) as pool:
        here.send("x", 0, torch.zeros(4 << 20, dtype=torch.uint8))  # more than the wire holds
        waiting = pool.submit(here.send, "x", 1, X) if queue == 1 else pool.submit(here.flush)
        try:
            with pytest.raises(PeerError, match=r"silent for 0.4 s"):
                waiting.result(timeout=10)
        finally:
            here.abort("peer")
            there.abort("peer")


def test_busy_peer_may_take_nothing_while_it_gives_signs_of_life() -> None:
    here, there = dealing(heartbeat_s=0.05)
    with here, there, ThreadPoolExecutor(1) as pool:
        here.send("x", 0, torch.zeros(4 << 20, dtype=torch.uint8))
        waiting = pool.submit(here.flush)
        time.sleep(1.0)  # longer than the timeout
        assert not waiting.done()
        there.receive("x", 0, (torch.uint8, (4 << 20,)))
        waiting.result(timeout=10)


def test_goodbye_to_a_frozen_peer_ends() -> None:
    here, there = dealing()
    with ThreadPoolExecutor(1) as pool:
        here.send("x", 0, torch.zeros(4 << 20, dtype=torch.uint8))
        waiting = pool.submit(here.close)
        try:
            waiting.result(timeout=10)
        finally:
            there.link.wire.shut()
            there.close()


def test_goodbye_is_no_loss(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.send("x", 0, torch.zeros(1_000_000))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(here.close)
        there.receive("x", 0, (torch.float32, (1_000_000,)))  # what was sent before the goodbye still arrives
    for _ in range(2):
        with pytest.raises(PeerError, match="the developer ended the session while 'y' was expected"):
            there.receive("y", 0)


def test_abort_says_why(make_pair: MakePair) -> None:
    here, there = make_pair()
    with pytest.raises(ProtocolError), here:
        raise ProtocolError("out of range")
    with pytest.raises(PeerError, match="the developer received a message that the protocol does not allow"):
        there.receive("x", 0, X_SPEC)


def test_what_was_said_before_an_abort_is_heard(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.send_json("hello", 1)
    here.send_json("terms", 2)
    here.abort("peer")
    time.sleep(0.1)  # an end that reads ahead knows of it by now
    assert there.receive_json("hello") == 1
    for _ in range(2):
        with pytest.raises(ProtocolError, match="other"):
            there.receive_json("other")
    here, there = make_pair()
    here.send_json("hello", 1)
    here.abort("peer")
    time.sleep(0.1)
    assert there.receive_json("hello") == 1
    with pytest.raises(PeerError, match="the developer lost another party"):
        there.receive_json("terms")


def test_abort_is_known_by_its_code(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.abort("peer")
    for _ in range(2):
        with pytest.raises(PeerError) as caught:
            there.receive("x", 0, X_SPEC)
        assert (caught.value.peer, caught.value.reason) == ("developer", "peer")


def test_text_in_the_place_of_a_code_is_not_shown(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.abort("call+me.at:555-1234")
    with pytest.raises(PeerError, match=r"^the developer stopped for an unknown reason$") as caught:
        there.receive("x", 0, X_SPEC)
    assert "555" not in repr(vars(caught.value))


def test_sender_learns_why_too(make_pair: MakePair) -> None:
    here, there = make_pair()
    there.abort("interrupted")
    with pytest.raises(PeerError, match="the auditor was stopped by its user"):
        keep_sending(here)


def test_loss_is_noticed_in_receive_and_in_send(make_pair: MakePair) -> None:
    here, there = make_pair()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.receive, "x", 0, X_SPEC)
        time.sleep(0.05)
        here.link.wire.shut()
        with pytest.raises(PeerError, match="the developer was lost"):
            waiting.result(timeout=5)
    with pytest.raises(PeerError, match="the developer was lost"):
        keep_sending(there)


def test_silence_is_a_loss(make_pair: MakePair) -> None:
    _, there = make_pair(idle_timeout_s=0.05)
    with pytest.raises(PeerError, match=r"silent for 0.05 s"):
        there.receive("x", 0, X_SPEC)


def test_closed_link_says_so_and_wakes_who_waits(make_pair: MakePair) -> None:
    _, there = make_pair()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.receive, "x", 0, X_SPEC)
        time.sleep(0.05)
        there.close()
        with pytest.raises(PeerError):
            waiting.result(timeout=5)
    there.close()
    with pytest.raises(PeerError, match="closed"):
        there.send("x", 0, X)
    with pytest.raises(PeerError):
        there.receive("x", 0, X_SPEC)
    assert "developer" in repr(there)
