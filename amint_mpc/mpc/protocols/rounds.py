"""A protocol is a generator in which `yield` is the round.

It posts on `Rounds` what it needs opened, yields where it can do nothing more without it, and returns its result, so
that its body reads as the numbered steps of its docstring. `yield from` puts protocols one after the other,
`side_by_side` into the same rounds.

`Rounds.run` drives a protocol, with as many exchanges as it needs. A protocol that was `start`ed goes on by itself with
every exchange that another one causes, until it ends; whoever keeps its handle then reads the result. So the layers of
the head each run a protocol of their own, in rounds that are shared with what goes on beside them.

All that was posted since the last exchange travels in one frame each way, in the order in which it was posted; in
more frames, if it is more tensors than one has room for. After an exchange, protocols that were started go on first, in
the order of their starts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import MAX_TENSORS

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)

InRounds = Generator[None, None, T]
"""A protocol with a result."""


class Opened:
    """A value that is there after the next exchange."""

    def __init__(self) -> None:
        self._value: Tensor | None = None

    @property
    def value(self) -> Tensor:
        if self._value is None:
            raise RuntimeError("read before the exchange that opens it")
        return self._value

    def put(self, value: Tensor) -> None:
        """Called by `Rounds` alone."""
        self._value = value


class Concurrent(Generic[T_co]):
    """A protocol on its way: it has posted what its first round needs.

    Args:
        protocol: not begun yet.
    """

    def __init__(self, protocol: InRounds[T_co]) -> None:
        self._protocol = protocol
        self._results: list[T_co] = []  # none before the end, then one, which may be None
        self.advance()

    @property
    def ended(self) -> bool:
        return bool(self._results)

    @property
    def result(self) -> T_co:
        if not self._results:
            raise RuntimeError("a protocol's result is read before the rounds that lead to it")
        return self._results[0]

    def advance(self) -> None:
        """After an exchange: go on to the next one that has to be waited for, or to the end."""
        if not self._results:
            try:
                next(self._protocol)
            except StopIteration as end:
                self._results.append(end.value)


def side_by_side(first: InRounds[T], second: InRounds[U]) -> InRounds[tuple[T, U]]:
    """Two protocols in the same rounds, as many as the longer one has. In a frame the first comes first."""
    one, other = Concurrent(first), Concurrent(second)
    while not (one.ended and other.ended):
        yield
        one.advance()
        other.advance()
    return one.result, other.result


class Rounds:
    """The openings of one party on its link to the other, and the protocols that wait for them."""

    def __init__(self, channel: Channel, party: int) -> None:
        self.channel = channel
        self.party = party
        self._step = 0
        self._round = 0
        self._outgoing: list[Tensor] = []
        self._meanwhile: list[tuple[Opened, Callable[[], Tensor]]] = []
        self._incoming: list[tuple[Opened, Tensor | None, str, tuple[torch.dtype, tuple[int, ...]]]] = []
        self._started: list[Concurrent[object]] = []

    def begin(self, step: int) -> None:
        """Start the rounds of a step; frames of another step are then refused, and its protocols forgotten."""
        self._step, self._round = step, 0
        self._started = []

    def run(self, protocol: InRounds[T]) -> T:
        """Go through a protocol, with as many exchanges as it needs."""
        running = Concurrent(protocol)
        while not running.ended:
            self.exchange()
            running.advance()
        return running.result

    def start(self, protocol: InRounds[T]) -> Concurrent[T]:
        """Begin a protocol that goes on with every exchange of this step."""
        started = Concurrent(protocol)
        self._started.append(started)
        return started

    def open(self, share: Tensor, to: Opened | None = None) -> Opened:
        """Open an additively shared ring value to both.

        Args:
            to: where the value is put, if others wait for it already.
        """
        return self._both(share, "sum", to)

    def open_bits(self, share: Tensor) -> Opened:
        """Open an XOR-shared value to both."""
        return self._both(share, "xor", None)

    def _both(self, share: Tensor, rule: str, to: Opened | None) -> Opened:
        opened = Opened() if to is None else to
        self._outgoing.append(share)
        self._incoming.append((opened, share, rule, (share.dtype, tuple(share.shape))))
        return opened

    def hand_over(self, sender: int, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> Opened:
        """Send a tensor from one party to the other, point to point.

        Args:
            tensor: what is sent; None at the party that receives.
        """
        opened = Opened()
        if self.party == sender:
            if tensor is None:
                raise ValueError("the sender has nothing to send")
            self._outgoing.append(tensor)
            opened.put(tensor)
        else:
            self._incoming.append((opened, None, "take", (dtype, shape)))
        return opened

    def meanwhile(self, work: Callable[[], Tensor]) -> Opened:
        """Have something computed in the next exchange, between sending and receiving: while the other one computes."""
        computed = Opened()
        self._meanwhile.append((computed, work))
        return computed

    def exchange(self) -> None:
        """One round: send all that was posted, receive the other party's part of it, go on with what was started."""
        tag = f"round-{self._round}"
        self._round += 1
        outgoing, incoming = self._outgoing, self._incoming
        self._outgoing, self._incoming = [], []
        for start in range(0, len(outgoing), MAX_TENSORS):
            self.channel.send(tag, self._step, *outgoing[start : start + MAX_TENSORS])
        while self._meanwhile:
            computed, work = self._meanwhile.pop(0)
            computed.put(work())
        for start in range(0, len(incoming), MAX_TENSORS):
            part = incoming[start : start + MAX_TENSORS]
            received = self.channel.receive(tag, self._step, *(spec for _, _, _, spec in part))
            for (opened, share, rule, _), theirs in zip(part, received, strict=True):
                if share is None:
                    opened.put(theirs)
                else:
                    opened.put(theirs.add_(share) if rule == "sum" else theirs.bitwise_xor_(share))
        for protocol in tuple(self._started):
            protocol.advance()
