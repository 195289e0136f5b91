"""Base transfers: one pad of two, points that say nothing of the choice, and bad points refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.ot.base import BaseReceiver, BaseSender, Randomness
from tests.mpc.views import SIGNIFICANCE, p_value


def seeded(seed: int) -> Randomness:
    return random.Random(seed).randbytes


def test_the_receiver_has_the_chosen_pad_and_not_the_other() -> None:
    choices = np.array([0, 1, 1, 0, 1] * 5, dtype=np.uint8)
    sender, receiver = BaseSender(seeded(1)), BaseReceiver(choices, seeded(2))
    both, chosen = sender.pads(receiver.message), receiver.pads(sender.message)
    assert both.shape == (25, 2, 16)
    assert np.array_equal(both[np.arange(25), choices], chosen)
    assert len(np.unique(both.reshape(50, 16), axis=0)) == 50  # no pad twice, so none of the others is known


@pytest.mark.parametrize("choice", [0, 1])
def test_both_places_look_alike_and_uniform(choice: int) -> None:
    message = BaseReceiver(np.full(800, choice, dtype=np.uint8), seeded(3 + choice)).message
    for place in range(2):
        # the top four bytes of the curve's prime are ones, and half of all x are points: nothing of that shows in bits
        words = torch.from_numpy(message[:, place].copy()).view(torch.int64)
        assert p_value(words, 64) > SIGNIFICANCE


def test_what_is_no_point_is_refused() -> None:
    sender, receiver = BaseSender(seeded(6)), BaseReceiver(np.zeros(4, dtype=np.uint8), seeded(7))
    for wrong in (bytes([255] * 32), (1).to_bytes(32, "big")):  # above the prime; x = 1 is on no point
        message = receiver.message
        message[2, 1] = np.frombuffer(wrong, dtype=np.uint8)
        with pytest.raises(ProtocolError, match="no point"):
            sender.pads(message)
        with pytest.raises(ProtocolError, match="no point"):
            receiver.pads(wrong)


def test_pads_depend_on_all_that_was_sent() -> None:
    sender, receiver = BaseSender(seeded(8)), BaseReceiver(np.zeros(2, dtype=np.uint8), seeded(9))
    message = receiver.message
    twice = message[[0, 0]]
    pads = sender.pads(twice)
    assert not np.array_equal(pads[0], pads[1])  # the same points at another place
    changed = message.copy()
    changed[0, 1] = message[1, 1]
    assert not np.array_equal(sender.pads(changed)[0, 0], sender.pads(message)[0, 0])
