"""The secret of the two parties: the same at both, another one each time, and bound before it is known."""

import threading

import pytest
import torch

from amint_mpc.errors import ProtocolError
from amint_mpc.roles import coin
from amint_mpc.transport.channel import memory_pair
from amint_mpc.transport.frames import as_tensor


def tossed() -> tuple[bytes, bytes]:
    here, there = memory_pair()
    found: list[bytes] = []
    auditor = threading.Thread(target=lambda: found.append(coin.toss(there, "auditor")))
    auditor.start()
    mine = coin.toss(here, "developer")
    auditor.join()
    return mine, found[0]


def test_both_have_the_same_secret_and_never_the_same_twice() -> None:
    first, second = tossed(), tossed()
    assert first[0] == first[1] != second[0] == second[1]
    assert len(first[0]) == coin.SIZE


def test_an_auditor_that_changes_its_mind_is_caught() -> None:
    """It is bound to its number before it sees the developer's; without that it could choose the secret."""
    here, there = memory_pair()
    there.send(coin.TAG, 0, as_tensor(bytes(32)))
    there.send(coin.TAG, 2, torch.ones(coin.SIZE, dtype=torch.uint8))
    with pytest.raises(ProtocolError, match="another number than it was bound to"):
        coin.toss(here, "developer")
