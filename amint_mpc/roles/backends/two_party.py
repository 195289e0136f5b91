"""A head between the two parties and nobody else, under SPU (`amint_mpc.mpc.two_party`), not CrypTen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from amint_mpc.config import Party
from amint_mpc.errors import UsageError
from amint_mpc.memory import keep_freed
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import plain_descent
from amint_mpc.mpc.two_party.engine import ENGINE_NOTICE, INSTALL, SpuEngine
from amint_mpc.mpc.two_party.head import SpuHead
from amint_mpc.roles.backends.base import Backing, Connected
from amint_mpc.roles.heads import Dense, head_kind, secure_optimizer
from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.connect import connect


class TwoParty:
    """See `Backend`. SPU's messages have a second link, which it reads by itself."""

    read_ahead_mb = 16.0
    links_to_peer = 2
    packages: Mapping[str, str] = {"spu": INSTALL}

    def check(self, party: Party) -> None:
        """See `Backend.check`."""

    @contextmanager
    def developer(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.developer`."""
        at.on_notice(ENGINE_NOTICE)
        assert at.party.auditor is not None
        wait = at.party.connect_timeout_s
        second = connect(at.party.auditor, at.own, "auditor", wait, at.on_notice, idle_timeout_s=None)
        with _heads(at, second, DEVELOPER) as backing:
            yield backing

    @contextmanager
    def auditor(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.auditor`."""
        at.on_notice(ENGINE_NOTICE)
        assert at.listener is not None
        second = at.listener.accept("developer", at.party.connect_timeout_s, idle_timeout_s=None)
        with _heads(at, second, AUDITOR) as backing:
            yield backing


@contextmanager
def _heads(at: Connected, second: FramedChannel, party: int) -> Iterator[Backing]:
    kind = head_kind(at.experiment)
    if not isinstance(kind, Dense):
        raise UsageError("a convolutional head needs a dealer", "Set head.input to pooled or maps")
    keep_freed()
    rate = plain_descent(secure_optimizer(at.experiment), "a head between two parties alone")
    with SpuEngine(at.links.also(second), party, at.peer.check, at.party.idle_timeout_s) as spu:
        yield Backing(lambda channel: SpuHead(channel, party, spu, kind.inputs, kind.hidden, rate))
