"""What a run and its backend have to do with each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from amint_mpc.config import Experiment, Party
from amint_mpc.identity import Identity
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.roles.links import Links
from amint_mpc.roles.masks import Finish, QueryMasks, nothing_dealt
from amint_mpc.runlog.interface import NamedDealer
from amint_mpc.runlog.kept_frames import KeptFrames
from amint_mpc.transport.channel import Channel, FramedChannel
from amint_mpc.transport.connect import connect
from amint_mpc.transport.listener import Listener

MakeHead = Callable[[Channel], SharedHead]
"""The head at one party, without weights yet, on its link to the other one."""


@dataclass(frozen=True)
class Backing:
    """What a backend gives to a party.

    Args:
        dealer: who deals, if that is somebody with a key. finish: called after the last step of a run; returns what
            the log is told of the masks.
        ahead: how many steps have their masks ready; None: that is not known.
    """

    make_head: MakeHead
    dealer: NamedDealer | None = None
    finish: Finish = nothing_dealt
    ahead: Callable[[], int | None] = lambda: None


@dataclass(frozen=True)
class Asked:
    """What a backend gives to a party of a query.

    Args:
        supply: of masks. tell: called once it is known how many images are scored, before any mask is taken.
    """

    supply: QueryMasks
    tell: Callable[[int], None]


@dataclass(frozen=True)
class Connected:
    """A party that has agreed with its peer on the experiment.

    Args:
        peer: the link to the other party. links: of this party; a backend adds its own.
        coin: the secret of the two parties. listener: the auditor's, still open.
        kept: at the developer, gets the seed and the blocks of a dealer.
    """

    experiment: Experiment
    party: Party
    own: Identity
    links: Links
    peer: FramedChannel
    on_notice: Callable[[str], None]
    coin: bytes
    listener: Listener | None = None
    kept: KeptFrames | None = None

    def to_dealer(self, idle_timeout_s: float | None, prefetch_bytes: int) -> FramedChannel:
        """Connect to the dealer, and agree with it on the experiment."""
        address = self.party.dealer
        assert address is not None  # see `Backend.check`
        self.on_notice(f"connecting to the dealer at {address}")
        limits = {"idle_timeout_s": idle_timeout_s, "prefetch_bytes": prefetch_bytes}
        return self.links.add(
            connect(address, self.own, "dealer", self.party.connect_timeout_s, self.on_notice, **limits)
        )


class Backend(Protocol):
    """One way of computing a secure head, at either party."""

    read_ahead_mb: float
    """Read ahead on the link of the two parties, where nothing else would notice a loss for seconds."""
    links_to_peer: int
    """How many links the developer opens to the auditor: 1, or at least 2."""

    def check(self, party: Party) -> None:
        """What can be checked before a peer is asked.

        Raises:
            UsageError: an address is missing.
        """

    def developer(self, at: Connected) -> AbstractContextManager[Backing]:
        """At the developer, for as long as the head is used."""

    def auditor(self, at: Connected) -> AbstractContextManager[Backing]:
        """At the auditor, for as long as the head is used."""

    def query(self, at: Connected) -> AbstractContextManager[Asked]:
        """At either party, for a query after a run."""
