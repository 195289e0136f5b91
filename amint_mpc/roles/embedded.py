"""INSECURE: the auditor plays the dealer itself, for trials on one's own machine.

The auditor then knows every mask and could read all that the developer shares: activations, gradients, scores. The
messages and the computation are those of the secure run; only the protection is missing. The blocks travel on the
link between the two, each before the step that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from amint_mpc.errors import IdentityError, PeerError
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.correlations.base import AUDITOR, DEVELOPER, Memory, Plan
from amint_mpc.mpc.correlations.feed import Supply, serve_step
from amint_mpc.mpc.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.two_party.engine import INSTALL
from amint_mpc.roles.session import DEALT


@contextmanager
def offered() -> Iterator[None]:
    """Around connecting to a dealer: who has none is told of the trial without one."""
    try:
        yield
    except IdentityError:
        raise  # there is a dealer
    except PeerError as error:
        hint = (
            f"{error.hint}\nwithout a dealer, give --set security.correlations=two-party to developer and auditor; it "
            f"needs SPU: {INSTALL}\nfor a trial without one, give --insecure-embedded-dealer to developer and auditor"
        )
        raise PeerError(error.message, hint) from None


class EmbeddedDealer(Supply):
    """The auditor's masks, with the dealer's work done before each step."""

    def __init__(self, developer: Channel, seeds: tuple[bytes, bytes]) -> None:
        super().__init__(SecretStream(seeds[AUDITOR], DEALT), AUDITOR)
        self._developer = developer
        self._streams = SecretStream(seeds[DEVELOPER], DEALT), SecretStream(seeds[AUDITOR], DEALT)
        self._memory = Memory()

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, torch.Tensor]]:
        serve_step(self._developer, self._streams, step, plan, self._memory)
        return super().take(step, plan)

    def skip(self, step: int, plan: Plan) -> None:
        # the developer reads it, as it would a dealer's
        serve_step(self._developer, self._streams, step, plan, self._memory)
        super().skip(step, plan)


def auditors_supply(developer: Channel) -> Supply:
    """Make both seeds and send the developer its own."""
    seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
    developer.send("seed", 0, torch.frombuffer(bytearray(seeds[DEVELOPER]), dtype=torch.uint8))
    return EmbeddedDealer(developer, seeds)


def developers_supply(auditor: Channel) -> Supply:
    """Receive the seed; blocks come on the same link."""
    (seed,) = auditor.receive("seed", 0, (torch.uint8, (SEED_BYTES,)))
    return Supply(SecretStream(seed.numpy().tobytes(), DEALT), DEVELOPER, auditor)
