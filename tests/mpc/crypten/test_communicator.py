"""CrypTen's collectives between two parties, point to point and without pickle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributed import ReduceOp

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.crypten.communicator import TwoPartyCommunicator, plain
from amint_mpc.transport.channel import memory_pair


def both(work: Callable[[TwoPartyCommunicator, int], Any]) -> tuple[list[Any], list[Any]]:
    """Run `work` as both parties; their results, and their channels."""
    channels = memory_pair()
    results: list[Any] = [None, None]

    def run(party: int) -> None:
        try:
            results[party] = work(TwoPartyCommunicator(channels[party], party), party)
        except BaseException as error:
            results[party] = error

    threads = [threading.Thread(target=run, args=(party,)) for party in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results, list(channels)


def mine(party: int) -> torch.Tensor:
    return torch.tensor([[1, 2], [3, 2**62]]) * (party + 1)


def test_all_reduce_sums_and_xors_in_one_round() -> None:
    results, channels = both(lambda c, p: (c.all_reduce(mine(p)), c.all_reduce(mine(p), op=ReduceOp.BXOR)))
    for total, xor in results:
        assert torch.equal(total, mine(0) + mine(1))
        assert torch.equal(xor, mine(0) ^ mine(1))
    assert channels[0].stats.rounds == 2


@pytest.mark.parametrize("dst", [0, 1])
def test_to_one_alone(dst: int) -> None:
    """The other party gets no message at all, and its buffer stays as it was."""

    def work(c: TwoPartyCommunicator, p: int) -> Any:
        buffer = mine(p)
        batch = [mine(p), mine(p)]
        result = (c.reduce(buffer, dst), c.reduce(batch, dst, batched=True), c.gather(buffer, dst))
        assert torch.equal(buffer, mine(p))
        assert all(torch.equal(part, mine(p)) for part in batch)
        return result

    results, channels = both(work)
    total, batch, gathered = results[dst]
    assert torch.equal(total, mine(0) + mine(1))
    assert all(torch.equal(part, total) for part in batch)
    assert [torch.equal(part, mine(p)) for p, part in enumerate(gathered)] == [True, True]
    assert results[1 - dst] == (None, None, [None])
    assert channels[1 - dst].stats.bytes_received == 0
    assert channels[dst].stats.frames_sent == 0


def test_other_collectives() -> None:
    def work(c: TwoPartyCommunicator, p: int) -> None:
        assert [torch.equal(t, mine(i)) for i, t in enumerate(c.all_gather(mine(p)))] == [True, True]
        assert torch.equal(c.scatter([mine(0), mine(1)] if p == 1 else [], 1, size=(2, 2)), mine(p))
        assert torch.equal(c.scatter([mine(0), mine(1)], 0), mine(p))
        buffer = mine(p)
        assert c.broadcast(buffer, 1) is buffer
        assert torch.equal(buffer, mine(1))
        batch = [torch.tensor(p), torch.tensor([p])]
        c.broadcast(batch, 0, batched=True)
        assert [t.sum().item() for t in batch] == [0, 0]
        c.barrier()
        target = torch.zeros(3, dtype=torch.int64)
        waiting = c.irecv(target, 1 - p)
        c.isend(torch.full((3,), p), 1 - p).wait()
        waiting.wait()
        waiting.wait()
        assert torch.equal(target, torch.full((3,), 1 - p))
        if p == 0:
            c.send(mine(0), 1)
        else:
            assert torch.equal(c.recv(torch.zeros(2, 2, dtype=torch.int64), 0), mine(0))
        assert (c.get_rank(), c.get_world_size()) == (p, 2)

    both(work)


def test_plain_objects_only() -> None:
    value = {"size": torch.Size([2, 3]), "list": [1, None, 0.5, "a"], "flag": True}
    results, _ = both(lambda c, p: c.broadcast_obj(value if p == 0 else None, 0))
    assert results[1] == {"size": [2, 3], "list": [1, None, 0.5, "a"], "flag": True}
    results, channels = both(lambda c, p: None)
    for bad in (torch.nn.Linear(1, 1), object(), {1: 2}, [print], b"bytes"):
        with pytest.raises(ProtocolError, match="not sent"):
            plain(bad)
        for send in (lambda c, o: c.send_obj(o, 1), lambda c, o: c.broadcast_obj(o, 0)):
            with pytest.raises(ProtocolError, match="not sent"):
                send(TwoPartyCommunicator(channels[0], 0), bad)
    assert channels[0].stats.frames_sent == 0


def test_programs_that_differ_are_found_out() -> None:
    for other in (
        lambda c: c.all_gather(mine(1)),
        lambda c: c.all_reduce(mine(1)[0]),
        lambda c: c.all_reduce(mine(1).int()),
    ):
        with pytest.raises(ProtocolError, match="expected 'crypten"):
            both(lambda c, p, other=other: c.all_reduce(mine(0)) if p == 0 else other(c))


def test_misuse_is_refused() -> None:
    c = TwoPartyCommunicator(memory_pair()[0], 0)
    for call in (
        lambda: c.send(mine(0), 0),
        lambda: c.recv(mine(0), 0),
        lambda: c.send_obj(1, 0),
        lambda: c.recv_obj(0),
        lambda: c.reduce(mine(0), 2),
        lambda: c.all_reduce(mine(0), op=ReduceOp.MAX),
    ):
        with pytest.raises(ProtocolError):
            call()
    with pytest.raises(ValueError, match="0 and 1"):
        TwoPartyCommunicator(memory_pair()[0], 2)


def test_counts_come_from_the_channel() -> None:
    def work(c: TwoPartyCommunicator, p: int) -> dict[str, float]:
        c.barrier()
        c.reset_communication_stats()
        c.all_reduce(mine(p))
        return c.get_communication_stats()

    results, _ = both(work)
    assert results[0]["rounds"] == 1
    assert results[0]["bytes"] > 2 * mine(0).nbytes
