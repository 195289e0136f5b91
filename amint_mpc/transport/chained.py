"""A channel with a hash over all its frames, each direction by itself: what binds a party to what it sent, in 32 bytes.

The hash is BLAKE3 (Aumasson, Neves, O'Connor and Wilcox-O'Hearn 2020) over the frames one after another, described as
`hashing` describes them. It is computed in the thread that sends and receives, without Python's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blake3 import blake3
from torch import Tensor

from amint_mpc.transport.channel import Channel, ForwardingChannel
from amint_mpc.transport.frames import Spec
from amint_mpc.transport.hashing import described


class ChainedChannel(ForwardingChannel):
    """`Channel` over another one, for tensors alone. One thread uses it at a time."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.sent, self.received = blake3(), blake3()

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """See `Channel.send`."""
        super().send(tag, step, *tensors)
        _add(self.sent, tag, step, tensors)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        tensors = super().receive(tag, step, *specs)
        _add(self.received, tag, step, tensors)
        return tensors


def chain_of(links: Iterable[ChainedChannel]) -> tuple[str, str]:
    """Of all links, in order: BLAKE3 (hex) over the hashes of what this end has sent, and of what it has received."""
    sent, received = blake3(), blake3()
    for link in links:
        sent.update(link.sent.digest())
        received.update(link.received.digest())
    return sent.hexdigest(), received.hexdigest()


def _add(running: blake3, tag: str, step: int, tensors: Sequence[Tensor]) -> None:
    for piece in described(tag, step, tensors):
        running.update(piece)
