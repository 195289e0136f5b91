"""INSECURE: the auditor plays the dealer itself, for trials on one's own machine.

The auditor then knows every mask and could read all that the developer shares: activations, gradients, scores. The
messages and the computation are those of the secure run; only the protection is missing. The blocks travel on the
link between the two, each before the step that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from amint_mpc.config import Party
from amint_mpc.errors import UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve_step
from amint_mpc.roles.backends.base import Asked, Backing, Connected
from amint_mpc.roles.heads import shared_head
from amint_mpc.roles.seeds import DEALT, both_seeds
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import as_bytes, as_tensor


class Embedded:
    """See `Backend`."""

    read_ahead_mb = 0.0
    links_to_peer = 1

    def check(self, party: Party) -> None:
        """See `Backend.check`."""

    @contextmanager
    def developer(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.developer`."""
        supply = developers_supply(at.peer)
        yield Backing(lambda channel: shared_head(at.experiment, channel, DEVELOPER, supply))

    @contextmanager
    def auditor(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.auditor`."""
        supply = auditors_supply(at.peer)
        yield Backing(lambda channel: shared_head(at.experiment, channel, AUDITOR, supply))

    @contextmanager
    def query(self, at: Connected) -> Iterator[Asked]:
        """See `Backend.query`."""
        raise UsageError("a run that gave up a security claim is not queried", "Query with --local")
        yield


class EmbeddedDealer(Supply):
    """The auditor's masks, with the dealer's work done before each step."""

    def __init__(self, developer: Channel, seeds: tuple[bytes, bytes]) -> None:
        super().__init__(SecretStream(seeds[AUDITOR], DEALT), AUDITOR)
        self._developer = developer
        self._streams = SecretStream(seeds[DEVELOPER], DEALT), SecretStream(seeds[AUDITOR], DEALT)
        self._memory = Memory()

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, torch.Tensor]]:
        """See `Supply.take`."""
        serve_step(self._developer, self._streams, step, plan, self._memory)
        return super().take(step, plan)

    def skip(self, step: int, plan: Plan) -> None:
        """See `Supply.skip`; the developer reads the block, as it would a dealer's."""
        serve_step(self._developer, self._streams, step, plan, self._memory)
        super().skip(step, plan)


def auditors_supply(developer: Channel) -> Supply:
    """Make both seeds and send the developer its own."""
    seeds = both_seeds()
    developer.send("seed", 0, as_tensor(seeds[DEVELOPER]))
    return EmbeddedDealer(developer, seeds)


def developers_supply(auditor: Channel) -> Supply:
    """Receive the seed; blocks come on the same link."""
    (seed,) = auditor.receive("seed", 0, (torch.uint8, (SEED_BYTES,)))
    return Supply(SecretStream(as_bytes(seed), DEALT), DEVELOPER, auditor)
