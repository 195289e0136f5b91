"""The link of the benchmark that is slower than loopback: when bytes arrive, by a clock that the test moves."""

import pytest
import torch

from amint_mpc.bench.delay import DelayedLink, DelayingWire, Line, slow_down
from amint_mpc.errors import UsageError
from amint_mpc.transport.channel import memory_pair
from amint_mpc.transport.wire import memory_wires


def test_bytes_arrive_half_a_round_trip_later_and_not_before() -> None:
    line = Line(DelayedLink(rtt_s=0.05))
    line.put(10.0, b"one")
    line.put(10.001, b"two")
    assert line.next_arrival == pytest.approx(10.025)
    assert line.take(10.0249) == []
    assert line.take(10.0255) == [b"one"]
    assert line.take(10.1) == [b"two"]
    assert line.next_arrival is None
    assert line.held == 0


def test_a_rate_makes_large_frames_late_and_what_follows_them() -> None:
    line = Line(DelayedLink(rtt_s=0.01, bytes_per_s=1000))
    line.put(0.0, bytes(500))
    line.put(0.0, bytes(100))
    line.put(5.0, bytes(100))  # the line was free again
    arrivals = []
    while (due := line.next_arrival) is not None:
        arrivals.append(due)
        line.take(due)
    assert arrivals == pytest.approx([0.505, 0.605, 5.105])


def test_the_units_of_the_command_line() -> None:
    assert DelayedLink.of(20, 80) == DelayedLink(0.02, 1e7)
    assert DelayedLink.of(0, None) == DelayedLink()


def test_bytes_and_order_stay_what_they_are() -> None:
    left, right = memory_wires()
    wire = DelayingWire(left)
    wire.become(DelayedLink(0.002, 1e8))
    sent = bytes(range(256)) * 4000  # almost as much as the carrier holds
    for start in range(0, len(sent), 100_001):
        wire.write(memoryview(sent)[start : start + 100_001], 1.0)
    got = bytearray()
    while len(got) < len(sent):
        view = memoryview(bytearray(65536))
        got += view[: right.read_into(view, 5.0)]
    assert bytes(got) == sent
    wire.shut()
    wire.close()


def test_a_goodbye_that_is_under_way_arrives() -> None:
    here, there = memory_pair()
    slow_down(here).become(DelayedLink(0.01))
    here.send("value", 1, torch.arange(3))
    here.close()
    assert torch.equal(there.receive("value", 1, (torch.int64, (3,)))[0], torch.arange(3))
    with pytest.raises(Exception, match="ended the session"):
        there.receive("value", 2, (torch.int64, (3,)))
    there.close()


def write_on(wire: DelayingWire) -> None:
    while wire.try_write(memoryview(b"more")):
        pass


def test_a_lost_carrier_is_noticed_by_the_writer() -> None:
    left, right = memory_wires()
    wire = DelayingWire(left)
    right.shut()
    wire.try_write(memoryview(b"lost"))
    with pytest.raises(ConnectionResetError):
        write_on(wire)
    wire.shut()


def test_a_link_that_cannot_be() -> None:
    from amint_mpc.bench.ours import EmulatedLink

    with pytest.raises(UsageError):
        EmulatedLink(-1.0)
