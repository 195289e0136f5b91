"""The plan of a step, derived by a dry run on zeros: what CrypTen will ask the dealer for, and in which order.

A step on shares is the same sequence of operations whatever the values are and whichever party runs it, so one
party's side of it, with nobody at the other end, is enough. Each of the three parties derives the plan for itself
from the agreed experiment: no name of an operation ever comes from the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation
from amint_mpc.mpc.correlations.prg import SEED_BYTES
from amint_mpc.mpc.crypten.communicator import TwoPartyCommunicator
from amint_mpc.mpc.crypten.provider import RecordingProvider
from amint_mpc.mpc.crypten.session import Binding, bind
from amint_mpc.transport.channel import ChannelStats
from amint_mpc.transport.frames import JsonValue, Spec


class _Nobody:
    """A link whose other end sends zeros."""

    def __init__(self) -> None:
        self.stats = ChannelStats()

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        pass

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        return [torch.zeros(shape, dtype=dtype) for dtype, shape in specs]

    def send_json(self, tag: str, value: JsonValue) -> None:
        pass

    def receive_json(self, tag: str) -> JsonValue:
        raise ProtocolError(
            "a step waits for an object of the other party, so that its plan cannot be known beforehand",
            "Give sizes in the experiment instead of sending them (no broadcast_size)",
        )


def trace(step: Callable[[], Any], party: int = DEVELOPER) -> dict[str, Correlation]:
    """The plan of `step`.

    Args:
        step: builds its module and inputs of zeros, of the agreed shapes, and does what a step does. Its control
            flow must not depend on values that it opens.
        party: whose side is run; the plan is the same for both.

    Returns:
        the plan, in the order of the requests.
    """
    provider = RecordingProvider()
    zeros = bytes(SEED_BYTES)  # there is nothing to protect
    with bind(Binding(TwoPartyCommunicator(_Nobody(), party), provider, zeros, zeros)):
        step()
    return provider.plan
