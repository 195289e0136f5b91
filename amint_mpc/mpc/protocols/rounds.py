"""Openings, gathered into rounds: everything posted is exchanged in one frame each way.

A protocol posts what it needs opened and says `exchange` only when it can do nothing more without it. Protocols of
two layers can so share a round, and the rounds of a step can be read off its code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

from amint_mpc.transport.channel import Channel

T = TypeVar("T")

InRounds = Generator[None, None, T]
"""A protocol that posts what it needs opened, yields where it waits for a round, and ends with a result."""


class Opened:
    """A value that is there after the next exchange."""

    def __init__(self) -> None:
        self._value: Tensor | None = None

    @property
    def value(self) -> Tensor:
        if self._value is None:
            raise RuntimeError("read before the exchange that opens it")
        return self._value


class Rounds:
    """The openings of one party on its link to the other."""

    def __init__(self, channel: Channel, party: int) -> None:
        self.channel = channel
        self.party = party
        self._step = 0
        self._round = 0
        self._outgoing: list[Tensor] = []
        self._meanwhile: list[Callable[[], None]] = []
        self._incoming: list[tuple[Opened, Tensor | None, str, tuple[torch.dtype, tuple[int, ...]]]] = []

    def begin(self, step: int) -> None:
        """Start the rounds of a step; frames of another step are then refused."""
        self._step, self._round = step, 0

    def open(self, share: Tensor) -> Opened:
        """Open an additively shared ring value to both."""
        return self._both(share, "sum")

    def open_bits(self, share: Tensor) -> Opened:
        """Open an XOR-shared value to both."""
        return self._both(share, "xor")

    def _both(self, share: Tensor, rule: str) -> Opened:
        opened = Opened()
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
            opened._value = tensor
        else:
            self._incoming.append((opened, None, "take", (dtype, shape)))
        return opened

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Have something done in the next exchange, between sending and receiving: while the other party computes."""
        self._meanwhile.append(work)

    def exchange(self) -> None:
        """One round: send all that was posted, receive the other party's part of it."""
        tag = f"round-{self._round}"
        self._round += 1
        outgoing, incoming = self._outgoing, self._incoming
        self._outgoing, self._incoming = [], []
        if outgoing:
            self.channel.send(tag, self._step, *outgoing)
        while self._meanwhile:
            self._meanwhile.pop(0)()
        if not incoming:
            return
        received = self.channel.receive(tag, self._step, *(spec for _, _, _, spec in incoming))
        for (opened, share, rule, _), theirs in zip(incoming, received, strict=True):
            if share is None:
                opened._value = theirs
            else:
                opened._value = theirs.add_(share) if rule == "sum" else theirs.bitwise_xor_(share)
